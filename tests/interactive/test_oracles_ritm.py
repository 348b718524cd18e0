"""RITM's networks give the published code's numbers: outputs, names, sizes, operations, learning rates."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs.click_deeplab import ClickDeepLabHead
from segkit.archs.click_ocr import ClickOCRHead
from segkit.backbones.hrnet import HRNet
from segkit.backbones.timm import Timm
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.engine.optim import build_optimizer
from segkit.models.layers import resize
from segkit.registry import build_model
from tests.archs_table import MODELS
from tests.interactive.ritm import FIXTURES, inputs, model_of, networks

BASES = {
    "hrnet18s_itermask": ("ritm_hrnet18s", ()),
    "hrnet18_itermask": ("ritm_hrnet18", ()),
    "hrnet32_itermask": ("ritm_hrnet32", ()),
    "hrnet18_baseline": ("ritm_hrnet18", ("model.previous_mask=False",)),
    "r34_dh128": ("ritm_r34", ()),
    "r50_dh128": ("ritm_r50", ()),
    "r101_dh256": ("ritm_r101", ()),
    "hrnet18_dmf_dt": ("ritm_hrnet18", ("model.previous_mask=False", "model.scheme=DMF", "model.encoding=distance")),
    "hrnet18_conv1e_disk5": ("ritm_hrnet18", ("model.previous_mask=False", "model.scheme=Conv1E")),
    "r34_dmf_dt": ("ritm_r34", ("model.scheme=DMF", "model.encoding=distance")),
    "hrnet18s_noocr": ("ritm_hrnet18s", ("model.head.ocr_width=0",)),
    "hrnet18s_clickgroups": ("ritm_hrnet18s", ("model.groups=[4,5,6]",)),
    "hrnet18s_binprev": ("ritm_hrnet18s", ("model.binary_previous=True",)),
}
"""Variant of the published code -> file of configs/_base_/models and what differs from it."""

QUICK = {"hrnet18s_itermask", "hrnet18s_clickgroups", "r34_dh128", "hrnet18_dmf_dt"}
STORED = sorted({name.partition("/")[0] for name in np.load(FIXTURES / "forward.npz").files})


@torch.inference_mode()
@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in STORED])
def test_outputs_are_published(variant):
    model = model_of(variant)
    image, clicks, previous = inputs()
    outputs = model(image, clicks, previous if model.has_previous else None)
    stored = np.load(FIXTURES / "forward.npz")
    pairs = {"instances": "logits", "instances_aux": "coarse.logits"}
    names = [name for name in pairs if f"{variant}/{name}" in stored.files]
    assert len(names) == (2 if "coarse.logits" in outputs else 1)
    for name in names:
        ours = resize(outputs[pairs[name]], like=image, align_corners=True)[:, 0, ::8, ::8].numpy()
        difference = np.abs(ours - stored[f"{variant}/{name}"]).max() / stored[f"{variant}/{name}.std"]
        assert difference < 3e-5, f"{name}: {difference:.1e}"


@pytest.mark.parametrize("variant", BASES)
def test_names_sizes_rates_and_operations_are_published(variant):
    expected, (base, options) = networks()[variant], BASES[variant]
    cfg = load_config(MODELS / f"{base}.py", ["num_classes=1", *options])
    with torch.device("meta"):
        model = build_model(cfg["model"])
    keys = load_map("ritm")
    assert "0 dropped" in keys.check(expected["shapes"], model.state_dict())
    assert sum(p.numel() for p in model.parameters()) == expected["params"]
    with FlopCounterMode(display=False) as counter:
        clicks = torch.full((1, 2, 3), -1.0, device="meta")
        model.eval().to("meta")(torch.empty(1, 3, 400, 400, device="meta"), clicks)
    assert counter.get_total_flops() + dead_work(model.head) == pytest.approx(expected["giga"] * 1e9, rel=1e-9)
    slow = {keys.rename(name)[0] for name in expected["slow"]}
    rates = {
        id(p): group["lr"] for group in build_optimizer(cfg["optimizer"], model).param_groups for p in group["params"]
    }
    ours = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert ours == {name: 5e-4 * (0.1 if name in slow else 1.0) for name in ours}


def dead_work(head: nn.Module) -> int:
    """Operations of the published forward on 400 x 400 pixels whose result is known before, or equal everywhere."""
    if not getattr(head, "has_context", False):
        return 0
    positions, k = 100 * 100, head.relation.query[0].conv.out_channels
    compare = 2 * (2 * k * k + k * k)
    out, fuse = 2 * k * 2 * k, 2 * 2 * k * 2 * k
    products = 2 * positions * k * 2
    return compare * (positions + 1) + products + (out + fuse) * (positions - 1)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def published_context(head: ClickOCRHead, x: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Object attention as the paper words it, for any number of classes and with everything computed."""
    share = coarse.flatten(2).softmax(2)
    vectors = torch.einsum("bkn,bcn->bck", share, x.flatten(2)).unsqueeze(3)
    query, key, value = head.relation.query(x), head.relation.key(vectors), head.relation.value(vectors)
    similar = (torch.einsum("bdhw,bdkz->bkhw", query, key) * head.relation.scale).softmax(1)
    context = head.relation.out(torch.einsum("bkhw,bckz->bchw", similar, value))
    return head.fuse(torch.cat([context, x], dim=1))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("training", [False, True])
def test_context_is_that_of_the_whole_attention(classes, training):
    torch.manual_seed(0)
    heads = [ClickOCRHead((2, 3), classes, ocr_width=4, levels=(-2, -1), dropout=0.0).train(training) for _ in "ab"]
    heads[1].load_state_dict(heads[0].state_dict())
    x, coarse = random(3, 8, 5, 6), random(3, classes, 5, 6, seed=1)
    ours, plain = heads[0]._with_context(x, coarse), published_context(heads[1], x, coarse)
    assert torch.allclose(ours, plain, atol=1e-6)
    for one in (ours, plain):
        (one * random(*ours.shape, seed=2)).sum().backward()
    for (name, p), q in zip(heads[0].named_parameters(), heads[1].parameters()):
        if training and q.grad is not None:
            assert torch.allclose(p.grad, q.grad, atol=1e-5), name
            assert classes > 1 or not name.startswith(("relation.query", "relation.key")) or not p.grad.any()
    for (name, b), other in zip(heads[0].named_buffers(), heads[1].buffers()):
        assert torch.allclose(b, other, atol=1e-6), name


def test_dilations_are_the_papers():
    # Of the 3x3 convolutions: in the first block of a stage, and in its others.
    expected = {"resnet34": (([1, 2], [2, 2]), ([2, 4], [4, 4])), "resnet50s": (([1], [2]), ([2], [4]))}
    for name, stages in expected.items():
        with torch.device("meta"):
            encoder = Timm(name, 8).encoder
        for stage, (first, others) in zip((encoder.layer3, encoder.layer4), stages):
            found = [
                [c.dilation[0] for c in block.modules() if isinstance(c, nn.Conv2d) and c.kernel_size == (3, 3)]
                for block in stage
            ]
            assert found == [first, *[others] * (len(stage) - 1)]
            assert all(c.stride == (1, 1) for c in stage.modules() if isinstance(c, nn.Conv2d))


@torch.no_grad()
def test_clicks_enter_a_deep_stem_before_its_pool():
    torch.manual_seed(0)
    cfg = load_config(MODELS / "ritm_r50.py", ["num_classes=1", "model.backbone.pretrained=None"])["model"]
    cfg["backbone"]["name"] = "resnet14t"
    model = build_model(cfg | {"guidance_channels": 24, "head": dict(type="ClickDeepLabHead", channels=8)}).eval()
    image, guidance = random(1, 3, 65, 97), random(1, 2, 65, 97, seed=1)
    encoder = model.backbone.encoder
    stem = encoder.act1(encoder.bn1(encoder.conv1(image)))
    width = stem.shape[1]
    assert width > 24
    stem[:, :24] += model.guide.layers(guidance) * 0.05
    assert torch.allclose(model.features(image, guidance)[1], encoder.layer1(encoder.maxpool(stem)), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "head, features, widths",
    [
        (ClickOCRHead((2, 3, 4, 5), 1, ocr_width=6), [(2, 8, 8), (3, 4, 4), (4, 2, 2), (5, 1, 1)], (14, 14, 12)),
        (ClickOCRHead((2, 3, 4, 5), 1, ocr_width=0), [(2, 8, 8), (3, 4, 4), (4, 2, 2), (5, 1, 1)], (14, 14, 14)),
        (
            ClickDeepLabHead((2, 3, 4, 5, 6), 1, channels=8),
            [(2, 9, 9), (3, 8, 8), (4, 4, 4), (5, 4, 4), (6, 4, 4)],
            (6, 8 + 32, 8),
        ),
    ],
)
def test_what_f_brs_scales(head, features, widths):
    head.eval()
    maps = [random(1, *shape) for shape in features]
    before = head(maps)["logits"]
    for letter, width in zip("ABC", widths):
        (path,) = head.scale_points[letter]
        seen = []
        module = head.get_submodule(path)
        handle = module.register_forward_hook(lambda _module, _inputs, out, seen=seen: seen.append(out) or 2 * out)
        changed = head(maps)["logits"]
        handle.remove()
        assert seen[0].shape[1] == width
        assert not torch.allclose(changed, before)
    assert torch.equal(head(maps)["logits"], before)


def test_start_weights_are_named_as_timm_names_them(monkeypatch):
    names = []

    def create(name, pretrained):
        names.append((name, pretrained))
        return nn.Module()

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr("segkit.backbones.hrnet.load_encoder", lambda *_: None)
    small = dict(num_modules=(1, 3, 2), num_blocks=2)
    HRNet(18, pretrained=True, **small)
    HRNet(18, pretrained="hrnet_w18_small_v2.ms_in1k", **small)
    assert names == [("hrnet_w18_small_v2", True), ("hrnet_w18_small_v2.ms_in1k", True)]
    for path in MODELS.glob("ritm_*.py"):
        backbone = load_config(path, ["num_classes=1"])["model"]["backbone"]
        name = backbone["name"] if backbone["pretrained"] is True else backbone["pretrained"]
        assert timm.models.is_model_pretrained(name), name


def test_start_of_all_but_pretrained_parts():
    torch.manual_seed(0)
    cfg = load_config(MODELS / "ritm_hrnet18s.py", ["num_classes=1", "model.backbone.pretrained=None"])["model"]
    cfg["head"]["ocr_width"] = 32
    start = HRNet(18, num_modules=(1, 3, 2), num_blocks=2).state_dict()
    pretrained = build_model(cfg | {"backbone": cfg["backbone"] | {"pretrained": lambda: start}})
    assert all(torch.equal(value, start[key]) for key, value in pretrained.backbone.state_dict().items())
    for model in (pretrained, build_model(cfg)):
        # fan in and fan out of the 3x3 convolution from 270 to 64 channels
        weight = model.head.embed[0].weight
        assert weight.std().item() == pytest.approx((2 / ((270 * 9 + 64 * 9) / 2)) ** 0.5, rel=0.02)
        assert not model.head.classifier.bias.any() and not model.guide.layers[2].bias.any()
        assert model.guide.scale.item() == pytest.approx(0.05)
    # fan in 27, fan out 576; the encoder's own law has the fan out alone
    assert model.backbone.conv1.weight.std().item() == pytest.approx((2 / ((27 + 576) / 2)) ** 0.5, rel=0.05)


def test_start_weights_of_a_file_load_one_to_one(tmp_path):
    torch.manual_seed(0)
    weights = timm.create_model("resnet34").state_dict()
    torch.save(weights, tmp_path / "resnet34.pth")
    options = ["num_classes=1", f"model.backbone.pretrained={str(tmp_path / 'resnet34.pth')!r}"]
    model = build_model(load_config(MODELS / "ritm_r34.py", options)["model"])
    own = {f"backbone.encoder.{name}": value for name, value in weights.items() if not name.startswith("fc.")}
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in own.items())
    assert {name for name in state if name.startswith("backbone.")} == own.keys()
