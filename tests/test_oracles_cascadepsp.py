"""CascadePSP gives the outputs, losses and gradients of its authors' code under equal weights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs import cascade_psp
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.models.cascade_segmentor import CascadeSegmentor
from segkit.registry import ConfigError, build_model
from tests.archs_table import build
from tests.oracles import ROOT, TOLERANCE, error, fixture, image, reference_model
from tests.refiners.cascades import TINY

NAMES = {
    "out_224": "logits",
    "out_28": "pass1.os8.logits",
    "out_56": "pass2.os4.logits",
    "out_28_2": "pass2.os8.logits",
    "out_28_3": "pass3.os8.logits",
    "out_56_2": "pass3.os4.logits",
}
"""Names of the outputs, in the order of the published loss."""

NO_WEIGHTS = ("num_classes=1", "model.backbone.pretrained=None")


def given(seed: int) -> torch.Tensor:
    """The masks that stand for results of earlier passes."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((1, 1, 64, 80)).astype(np.float32)).tanh()


@torch.no_grad()
def test_three_passes_give_the_published_maps(monkeypatch):
    content, stored = fixture("refine", "cascadepsp")
    net = reference_model("cascadepsp_r50", "cascadepsp", content["names"], NO_WEIGHTS)
    x, coarse = image(0, (64, 80)), torch.from_numpy(stored["A/seg"]).float()
    outputs = net.run(x, coarse)
    assert set(outputs) == set(NAMES.values())
    for theirs, ours in NAMES.items():
        difference = error(outputs[ours], stored[f"A/{theirs}"], content["outputs"][f"A/{theirs}"])
        assert difference < TOLERANCE, f"{ours}: {difference:.1e}"
    # with one mask given the first pass is left out, with two the second, too
    two = net.run(x, coarse, given(5))
    name = "A_s8given/out_224"
    assert set(outputs) - set(two) == {"pass1.os8.logits"}
    assert error(two["logits"], stored[name], content["outputs"][name]) < TOLERANCE
    assert set(net.run(x, coarse, given(5), given(6))) == {"logits", "pass3.os8.logits", "pass3.os4.logits"}
    # in strips of rows the maps are the same
    monkeypatch.setattr(cascade_psp, "MOST_VALUES", 2**14)
    assert torch.allclose(net.run(x, coarse)["logits"], outputs["logits"], atol=1e-5)


def test_counts_are_the_published_ones():
    content, _ = fixture("refine", "cascadepsp")
    net = build("cascadepsp_r50", 1, NO_WEIGHTS[1:], device="meta").eval()
    assert sum(p.numel() for p in net.parameters()) == content["params"]
    masks = torch.empty(1, 4, 224, 224, device="meta")
    with FlopCounterMode(display=False) as counter:
        net.run(masks[:, :3], masks[:, 3:])
    assert counter.get_total_flops() // 2 == content["macs"]


def test_released_files_have_a_prefix():
    content, _ = fixture("refine", "cascadepsp")
    net = build("cascadepsp_r50", 1, NO_WEIGHTS[1:], device="meta")
    names = {f"module.{name}": tuple(shape) for name, shape in content["names"].items()}
    load_map("cascadepsp").check(names, net.state_dict())


def test_losses_and_gradients_are_the_published_ones():
    content, stored = fixture("refine", "cascadepsp_loss")
    rows = load_config(ROOT / "configs/_base_/models/cascadepsp_r50.py", ["num_classes=1"])["losses"]
    outputs = {}
    for k, (theirs, ours) in enumerate(NAMES.items()):
        small = 3 * np.random.RandomState(30 + k).standard_normal((2, 1, 12, 16)).astype(np.float32)
        outputs[ours] = F.interpolate(torch.from_numpy(small), (48, 64), mode="bilinear", align_corners=False)
        outputs[ours].requires_grad_()
        del theirs
    target = torch.from_numpy(stored["gt"])
    terms = build_criterion(rows)(outputs, {"mask": target, "image": target}, 0)
    sum(terms.values()).backward()
    assert sum(terms.values()).item() == pytest.approx(float(stored["total_loss"]), rel=1e-5)
    assert terms["SobelL1"].item() == pytest.approx(5 * float(stored["grad_loss"]), rel=1e-5)
    weights = {"pass2.os4": 0.25, "pass3.os4": 0.25}
    for k, ours in enumerate(NAMES.values()):
        branch = ours.removesuffix("logits")
        scale = weights.get(branch.rstrip("."), 1.0)
        for name, factor in (("l1", scale), ("l2", scale), ("bce", 2 * scale if branch.endswith("os4.") else 1.0)):
            value = terms.get(f"{branch}MaskDistance.{name}")
            if value is not None:
                theirs = float(stored[f"{'ce' if name == 'bce' else name}_loss_s_{k}"])
                assert value.item() == pytest.approx(theirs * factor, rel=1e-5), f"{ours} {name}"
    for theirs, ours in NAMES.items():
        entry = content["outputs"][f"grad/{theirs}"]
        stride = entry["stride_kept"]
        gradient = outputs[ours].grad[..., ::stride, ::stride].numpy()
        assert np.abs(gradient - stored[f"grad/{theirs}"]).max() < 1e-5 * entry["absmax"], ours


def test_three_steps_of_statistics_in_training():
    net = build_model(TINY).train()
    net(torch.rand(2, 3, 32, 40) * 255, torch.ones(2, 1, 32, 40))
    counts = {name: int(value) for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts["backbone.encoder.bn1.num_batches_tracked"] == 3
    assert counts["head.up.0.first.0.num_batches_tracked"] == 2
    assert counts["head.up.2.first.0.num_batches_tracked"] == 1


def test_pretrained_weights_keep_the_image_and_start_masks_at_0(tmp_path):
    timm = pytest.importorskip("timm")
    weights = timm.create_model("resnet18").state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    row = {**TINY, "backbone": {**TINY["backbone"], "pretrained": str(tmp_path / "resnet18.pth")}}
    conv = build_model(row).backbone.encoder.conv1.weight
    assert torch.allclose(conv[:, :3], weights["conv1.weight"]) and conv[:, 3:].eq(0).all()


def test_other_parts_are_refused():
    with pytest.raises(ConfigError, match=r"model.num_classes = 2: the model refines the mask of one object, set 1"):
        build_model({**TINY, "num_classes": 2, "head": dict(type="FCNHead", channels=4, num_convs=1)})
    with pytest.raises(ConfigError, match=r"model.backbone = PlainEncoder.*use TimmRawStem"):
        build_model({**TINY, "backbone": dict(type="PlainEncoder", channels=[4, 8, 8, 8, 8])})
    with pytest.raises(ConfigError, match=r"model.head = FCNHead.*use CascadePSPHead"):
        build_model({**TINY, "head": dict(type="FCNHead", channels=4, num_convs=1)})
    with pytest.raises(ConfigError, match="level -5: the backbone gives 4 feature maps"):
        build_model({**TINY, "backbone": dict(type="TimmRawStem", name="convnext_atto", output_stride=32)})
    net = build_model(TINY)
    assert isinstance(net, CascadeSegmentor)
    with pytest.raises(ValueError, match="os4 without os8"):
        net.run(torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8), os4=torch.ones(1, 1, 8, 8))
