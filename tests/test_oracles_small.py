"""Small published networks under published weights' names give the published outputs, at odd sizes too."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs.segnext import NonNegativeFactors
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from segkit.registry import build_model
from tests.oracles import ROOT, fixture, image
from tests.test_layer_decay import PUBLISHED, given
from tests.test_oracles_modern import CASES, compare, weights_of

NETWORKS = {
    "segnext_mscan-t": ("segnext_t", "mmseg_segnext", 150),
    "lraspp_mobilenet-v3-l": ("lraspp_mobilenet-v3-l", "mmseg_lraspp", 19),
    "torchvision_lraspp_mobilenet_v3_large": ("lraspp_torchvision", "torchvision_lraspp", 21),
    "deeplabv3plus_mobilenet-v2": ("deeplabv3plus_mobilenet-v2", "mmseg_mobilenet_v2", 19),
    "poolformer_s12_fpn": ("semfpn_poolformer_s12", "mmseg_poolformer", 150),
    "hf_mobilevit-s_deeplabv3": ("deeplabv3_mobilevit-s", "hf_mobilevit", 21),
}
"""Fixture -> config of the model zoo, key map, classes."""


@cache
def reference(name: str) -> tuple[nn.Module, dict, dict]:
    """The network with the reference's weights, in eval, and the fixture."""
    config, key_map, classes = NETWORKS[name]
    content, stored = fixture("modern", name)
    path: Path = ROOT / f"configs/_base_/models/{config}.py"
    cfg = load_config(path, ["model.backbone.pretrained=None", f"num_classes={classes}"])
    with torch.device("meta"):
        net = build_model(cfg["model"])
    keys = load_map(key_map)
    names = {key: tuple(shape) for key, shape in content["names"].items()}
    keys.check(names, net.state_dict())
    kept = {key: shape for key, shape in content["names"].items() if keys.rename(key)[0] is not None}
    net.load_state_dict(keys.apply(weights_of(kept)), strict=True, assign=True)
    return net.eval(), content, stored


def outputs_of(net: nn.Module, x: Tensor, first: int) -> dict[str, Tensor]:
    """All maps of a network by the references' names; the backbone's from the level `first` on."""
    features = net.backbone(x)
    maps = features if net.neck is None else net.neck(features)
    logits = net.head(maps)["logits"]
    outputs = {f"backbone.{i}": feature for i, feature in enumerate(features[first:])}
    outputs |= {f"neck.{i}": feature for i, feature in enumerate(maps)} if net.neck is not None else {}
    outputs |= {"auxiliary_head": net.aux[0](maps)["logits"]} if len(net.aux) else {}
    return outputs | {"decode_head": logits, "final": resize(logits, like=x)}


@torch.inference_mode()
@pytest.mark.parametrize("name", ["segnext_mscan-t", "deeplabv3plus_mobilenet-v2", "poolformer_s12_fpn"])
def test_networks_are_mmsegmentations(name):
    """SegNeXt's bases start where the reference's did; the dilations of MobileNetV2 differ from block to block."""
    net, content, stored = reference(name)
    for case in ("A", "B"):
        compare(outputs_of(net, image(*CASES[case]), -4), case, stored, content)


@torch.inference_mode()
def test_lraspp_is_mmsegmentations():
    net, content, stored = reference("lraspp_mobilenet-v3-l")
    x = image(*CASES["L"])
    logits = net.head(net.backbone(x))["logits"]
    compare({"decode_head": logits, "final": resize(logits, like=x)}, "L", stored, content)
    assert net.head.merges[0].bn.eps == 1e-3
    small = net.head([torch.rand(1, width, 4, 5) for width in net.backbone.channels])["logits"]
    assert small.isfinite().all()  # mmsegmentation fails on maps smaller than its window


@torch.inference_mode()
def test_lraspp_is_torchvisions():
    net, content, stored = reference("torchvision_lraspp_mobilenet_v3_large")
    for case in ("A", "B"):
        x = image(*CASES[case])
        features = net.backbone(x)
        logits = net.head(features)["logits"]
        outputs = {"backbone.low": features[2], "backbone.high": features[4], "logits": logits}
        compare({**outputs, "final": resize(logits, like=x)}, case, stored, content)


@torch.inference_mode()
def test_mobilevit_is_hugging_faces():
    """The published network reads BGR; the key map turns its first convolution around."""
    net, content, stored = reference("hf_mobilevit-s_deeplabv3")
    x = image(*CASES["A"])
    compare({"logits": net.head(net.backbone(x.flip(1)))["logits"]}, "A", stored, content)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(
    "name, config, key_map",
    [
        ("lraspp_mobilenet_v3_large", "_base_/models/lraspp_torchvision", "torchvision_lraspp"),
        (
            "deeplabv3_mobilenet_v3_large",
            "deeplabv3/deeplabv3_mobilenet-v3-l_40k_voc_512x512",
            "torchvision_deeplabv3_mobilenet",
        ),
    ],
)
def test_outputs_are_torchvisions(name, config, key_map):
    import torchvision.models.segmentation as published

    torch.manual_seed(0)
    theirs = getattr(published, name)(weights=None, weights_backbone=None, num_classes=5, aux_loss="deep" in name)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.weight, 1.5, 2.5)
    cfg = load_config(ROOT / f"configs/{config}.py", ["num_classes=5", "model.backbone.pretrained=None"])
    ours = build_model(cfg["model"]).eval()
    ours.load_state_dict(load_map(key_map).apply(theirs.eval().state_dict()), strict=True)
    x = torch.randn(1, 3, 200, 264)
    features, results = ours.backbone(x), theirs(x)
    for head, key in ((ours.head, "out"), *((aux, "aux") for aux in ours.aux)):
        expected = results[key]
        difference = resize(head(features)["logits"], like=x) - expected
        assert difference.abs().max() < 1e-4 * (expected - expected.mean((2, 3), keepdim=True)).std()


SIZES = {
    "t": (4_263_414, 6.404),
    "s": (13_932_886, 15.646),
    "b": (27_636_310, 32.686),
    "l": (48_926_550, 65.968),
}
"""SegNeXt -> parameters and 1e9 multiply-additions at 512 x 512."""


@pytest.mark.parametrize("size", SIZES)
def test_segnext_has_the_published_sizes(size):
    cfg = load_config(ROOT / f"configs/segnext/segnext_{size}_160k_ade20k_512x512.py")
    with torch.device("meta"):
        net = build_model(cfg["model"]).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 512, 512, device="meta"))
    assert sum(p.numel() for p in net.parameters()) == SIZES[size][0]
    assert counter.get_total_flops() / 2e9 == pytest.approx(SIZES[size][1], rel=0.01)


def test_rates_and_decays_of_segnext_are_mmsegmentations():
    net, _, _ = reference("segnext_mscan-t")
    section = load_config(ROOT / "configs/segnext/segnext_t_160k_ade20k_512x512.py")["optimizer"]
    found, base = given(net, section), PUBLISHED["segnext_mscan-t"]["base"]
    assert (section["lr"], section["weight_decay"]) == (base["lr"], base["weight_decay"])
    keys = load_map("mmseg_segnext")
    published = {keys.rename(name)[0]: factors for name, factors in PUBLISHED["segnext_mscan-t"]["factors"].items()}
    assert found.keys() == published.keys()
    for name, factors in published.items():
        assert found[name] == pytest.approx(tuple(factors), rel=1e-6), name


def test_factors_are_fitted_by_multiplicative_updates():
    """One update by hand; in training the bases are drawn anew, in evaluation they are not."""
    product, left, right = torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[0.5]]]), torch.tensor([[[1.0, 1.0]]])
    # 0.5 * (2 + 4) / (0.5 * (1 + 1)) = 3, the mean of both
    assert NonNegativeFactors.update(product, left, right).item() == pytest.approx(3, abs=1e-5)
    factors, x = NonNegativeFactors(8, 4, 6, 7, 0), torch.rand(1, 8, 6, 6)
    assert not torch.equal(factors(x), factors(x))
    factors.eval()
    assert torch.equal(factors(x), factors(x))
    x.requires_grad_()
    factors(x).sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0
