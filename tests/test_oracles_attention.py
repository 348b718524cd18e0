"""Attention heads and HRNet under mmsegmentation's weights give mmsegmentation's outputs, in its sizes, and every
published name finds its place."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.backbones.hrnet import HRNet
from segkit.backbones.timm_dilated import TimmDilated
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from segkit.registry import build_model
from tests.oracles import ROOT, TOLERANCE, error, fixture, image, reference_model, weights_of

INPUTS = {"A": (0, (128, 160)), "B": (1, (97, 131)), "C": (1, (97, 131)), "L": (5, (312, 328))}
"""Case -> seed and size of the input. C is B with align_corners in the heads; L is large enough for all of a mask."""

R101 = ("model.backbone.name=resnet101c",)
HR48 = ("model.backbone.width=48", "model.head.channels=720")
HR48_OCR = ("model.backbone.width=48", "model.head.coarse_channels=720")

MODELS = {
    "nonlocal_r50-d8": ("nonlocal_r50", "mmseg_attention", "ABC", ()),
    "gcnet_r50-d8": ("gcnet_r50", "mmseg_attention", "ABC", ()),
    "ccnet_r50-d8": ("ccnet_r50", "mmseg_attention", "ABC", ()),
    "danet_r50-d8": ("danet_r50", "mmseg_attention", "ABC", ()),
    "ann_r50-d8": ("ann_r50", "mmseg_ann", "ABC", ()),
    "emanet_r50-d8": ("emanet_r50", "mmseg_attention", "ABC", ()),
    "psanet_r50-d8": ("psanet_r50", "mmseg_psa", "ABCL", ()),
    "ocrnet_r101-d8": ("ocrnet_r50", "mmseg_attention", "ABC", R101),
    "ocrnet_hr18": ("ocrnet_hr18", "mmseg_hrnet", "ABC", ()),
    "fcn_hr18": ("fcn_hr18", "mmseg_hrnet", "ABC", ()),
    "fcn_hr48": ("fcn_hr18", "mmseg_hrnet", "ABC", HR48),
    "dnl_r50-d8": ("dnl_r50", "mmseg_attention", "AB", ()),
    "isanet_r50-d8": ("isanet_r50", "mmseg_attention", "AB", ()),
    "ocrnet_hr48": ("ocrnet_hr18", "mmseg_hrnet", "AB", HR48_OCR),
}
"""Fixture -> config, key map, cases, options."""

SLOW = {"nonlocal_r50-d8", "gcnet_r50-d8", "ocrnet_r101-d8", "fcn_hr48", "ocrnet_hr48"}

NOISY = {"ocrnet_hr48": 1e-3}
"""Fixture -> tolerance where the reference's own rounding is large: float32 and float64 differ by 2e-4 there."""

COUNTS = {
    "nonlocal_r50-d8": (50_023_814, 24_131_859),
    "gcnet_r50-d8": (49_630_215, 23_738_260),
    "dnl_r50-d8": (50_024_327, 24_132_372),
    "ccnet_r50-d8": (49_826_055, 23_934_100),
    "isanet_r50-d8": (37_707_398, 11_815_443),
    "danet_r50-d8": (49_846_574, 23_954_619),
    "ann_r50-d8": (46_228_614, 20_336_659),
    "emanet_r50-d8": (42_349_958, 16_458_003),
    "psanet_r50-d8": (59_138_694, 33_246_739),
    "ocrnet_r101-d8": (55_516_294, 12_996_902),
    "ocrnet_hr18": (12_080_036, 2_517_776),
    "ocrnet_hr48": (70_371_446, 5_046_326),
    "fcn_hr18": (9_640_849, 78_589),
    "fcn_hr48": (65_858_659, 533_539),
}
"""Fixture -> published parameters with 19 classes, of the model and of its head; frozen ones are counted."""


@pytest.mark.parametrize("model", COUNTS)
def test_sizes_and_names_are_the_published_ones(model):
    config, key_map, _, options = MODELS[model]
    cfg = load_config(ROOT / "configs/_base_/models" / f"{config}.py", ["num_classes=19", *options])
    with torch.device("meta"):
        net = build_model(cfg["model"])
    assert (count(net), count(net.head)) == COUNTS[model]
    names = {name: tuple(shape) for name, shape in fixture("mmseg", model)[0]["names"].items()}
    dropped = 6 if model.startswith("ann") else 0
    assert load_map(key_map).check(names, net.state_dict()).endswith(f" {dropped} dropped")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("model", [pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in MODELS])
def test_outputs_are_mmsegmentations(model):
    config, key_map, cases, options = MODELS[model]
    content, stored = fixture("mmseg", model)
    net = reference_model(config, key_map, content["names"], ("num_classes=19", *options))
    for case in cases:
        align(net, case == "C")
        ours = outputs_of(net, features_of(net, config if "hr" in model else options, case), case)
        names = [name for name in stored if name.startswith(f"{case}/")]
        assert len(names) >= 2
        for name in names:
            difference = error(ours[name.partition("/")[2]], stored[name], content["outputs"][name])
            assert difference < NOISY.get(model, TOLERANCE), f"{name}: {difference:.1e}"


FEATURES: dict[tuple, list[Tensor]] = {}


def features_of(net: nn.Module, encoder: object, case: str) -> list[Tensor]:
    """The encoder's maps. All heads on one encoder share its weights, and case C its input with B."""
    key = (encoder, INPUTS[case])
    if key not in FEATURES:
        FEATURES[key] = net.backbone(image(*INPUTS[case]))
    return FEATURES[key]


def outputs_of(net: nn.Module, features: list[Tensor], case: str) -> dict[str, Tensor]:
    """Our outputs by the reference's names."""
    head = net.head(features)
    logits = head["logits"]
    final = resize(logits, size=INPUTS[case][1], align_corners=case == "C")
    ours = {"decode_head": logits, "decode_head.crop": logits, "final": final}
    if "pam.logits" in head:
        ours |= {f"decode_head.{i}": head[f"{name}logits"] for i, name in enumerate(("", "pam.", "cam."))}
    if "coarse.logits" in head:
        ours |= {"decode_head.0": head["coarse.logits"], "decode_head.1": logits}
    return ours | ({"auxiliary_head": net.aux[0](features)["logits"]} if len(net.aux) else {})


def align(net: nn.Module, align_corners: bool) -> None:
    """Sets align_corners in the heads, as the config of a model would."""
    for part in (net.head, net.aux):
        for module in part.modules():
            if hasattr(module, "align_corners"):
                module.align_corners = align_corners


@torch.inference_mode()
@pytest.mark.parametrize("prefix, scale, tolerance", [("", 1, TOLERANCE), ("x20/", 20, 2e-4)])
def test_object_regions_relate_as_the_references_do(prefix, scale, tolerance):
    """On features of the usual size the relation is nearly uniform; twenty times larger ones show its key and query."""
    content, stored = fixture("mmseg", "ocrnet_hr18")
    head = head_of_ocrnet()
    features = [
        torch.from_numpy((scale * np.random.RandomState(3 + i).standard_normal(shape)).astype(np.float32))
        for i, shape in enumerate(content["shapes"])
    ]
    outputs = head(features)
    for i, name in enumerate(("coarse.logits", "logits")):
        place = f"head/{prefix}decode_head.{i}"
        assert error(outputs[name], stored[place], content["outputs"][place]) < tolerance


@lru_cache(maxsize=1)
def head_of_ocrnet() -> nn.Module:
    names = fixture("mmseg", "ocrnet_hr18")[0]["names"]
    return reference_model("ocrnet_hr18", "mmseg_hrnet", names, ("num_classes=19",)).head


@torch.inference_mode()
def test_small_hrnet_is_the_references():
    content, stored = fixture("mmseg", "hrnet_w18small")
    weights = {name.removeprefix("backbone."): value for name, value in weights_of(content["names"]).items()}
    net = HRNet(18, num_modules=(1, 3, 2), num_blocks=2)
    net.load_state_dict(weights, strict=True)
    maps = net.eval()(image(*INPUTS["B"]))
    for i, x in enumerate(maps):
        assert error(x, stored[f"B/{i}"], content["outputs"][f"B/{i}"]) < TOLERANCE


@torch.inference_mode()
def test_multi_grid_is_the_references():
    content, stored = fixture("mmseg", "resnetv1c101_d16_mg124")
    keys = load_map("mmseg")
    weights = {name.removeprefix("backbone."): x for name, x in keys.apply(weights_of(content["names"])).items()}
    with torch.device("meta"):
        net = TimmDilated("resnet101c", ((1, 2, 4),), output_stride=16)
    net.load_state_dict(weights, strict=True, assign=True)
    _, *maps = net.eval()(image(*INPUTS["B"]))  # the stem's map is not among the reference's
    for i, x in enumerate(maps):
        entry = content["outputs"][f"B/{i}"]
        assert error(x, stored[f"B/{i}"], entry) < TOLERANCE
