"""Pyramid, encoding, predicted-filter, point and real-time models under mmsegmentation's weights give its outputs, and
every published name finds its place."""

import pytest
import torch
from torch import Tensor, nn

from segkit.models.layers import resize
from tests.oracles import TOLERANCE, error, fixture, image, reference_model

INPUTS = {"A": (0, (128, 160)), "B": (1, (97, 131)), "C": (1, (97, 131)), "L": (5, (312, 328))}
"""Case -> seed and size of the input. C is B with align_corners in the heads; in L every dilation reaches."""

MODELS = {
    "fpn_r50": ("semfpn_r50", "mmseg_context", "ABC"),
    "encnet_r50-d8": ("encnet_r50", "mmseg_context", "ABC"),
    "apcnet_r50-d8": ("apcnet_r50", "mmseg_context", "ABC"),
    "fastfcn_r50-d32_jpu_enc": ("fastfcn_r50", "mmseg_context", "ABC"),
    "fastfcn_r50-d32_jpu_psp": ("fastfcn_psp_r50", "mmseg_context", "ABC"),
    "fastfcn_r50-d32_jpu_aspp": ("fastfcn_deeplabv3_r50", "mmseg_context", "ABCL"),
    "upernet_r50": ("upernet_r50", "mmseg_context", "AB"),
    "dmnet_r50-d8": ("dmnet_r50", "mmseg_context", "AB"),
    "pointrend_r50": ("pointrend_r50", "mmseg_pointrend", "ABC"),
    "icnet_r50-d8": ("icnet_r50", "mmseg_icnet", "ABC"),
    "fast_scnn": ("fast_scnn", "mmseg_fast_scnn", "ABC"),
}
"""Fixture -> config, key map, cases."""

OPTIONS = ("num_classes=19", "model.backbone.pretrained=None")
QUICK = {"fpn_r50", "encnet_r50-d8", "pointrend_r50", "fast_scnn"}


@torch.inference_mode()
@pytest.mark.parametrize("model", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MODELS])
def test_outputs_are_mmsegmentations(model):
    config, key_map, cases = MODELS[model]
    content, stored = fixture("mmseg", model)
    net = reference_model(config, key_map, content["names"], OPTIONS[: 2 if "fastfcn" in config else 1])
    for case in cases:
        align(net, case == "C")
        ours = outputs_of(net, image(*INPUTS[case]), case == "C")
        names = [name for name in stored if name.startswith(f"{case}/")]
        assert len(names) >= 2
        for name in names:
            entry = content["outputs"][name]
            entry["slice"] = entry["slice"].replace("...", ":, :")
            difference = error(ours[name.partition("/")[2]], stored[name], entry)
            assert difference < TOLERANCE, f"{name}: {difference:.1e}"


def outputs_of(net: nn.Module, x: Tensor, align_corners: bool) -> dict[str, Tensor]:
    """Our outputs by the reference's names."""
    features = net.backbone(x)
    if net.neck is not None:
        features = net.neck(features)
    head = net.head(features)
    final = resize(head["logits"], like=x, align_corners=align_corners)
    ours = {"decode_head": head["logits"], "final": final}
    if "presence" in head:
        ours |= {"decode_head.0": head["logits"], "decode_head.1": head["presence"]}
    if "coarse.logits" in head:
        ours |= {"decode_head.0": head["coarse.logits"], "decode_head.1": final}
    ours |= {f"neck.{i}": feature for i, feature in enumerate(features[-4:] if len(features) == 4 else features[-3:])}
    aux = [part(features)["logits"] for part in net.aux]
    return ours | {f"auxiliary_head.{i}": x for i, x in enumerate(aux)} | {"auxiliary_head": aux[0] if aux else None}


def align(net: nn.Module, align_corners: bool) -> None:
    """Sets align_corners in heads; the reference's backbones and necks have their own setting."""
    for part in (net.head, net.aux):
        for module in part.modules():
            if hasattr(module, "align_corners"):
                module.align_corners = align_corners


@torch.inference_mode()
def test_point_rend_refines_the_points_the_reference_refines():
    content, _ = fixture("mmseg", "pointrend_r50")
    few, stored = fixture("mmseg", "pointrend_r50_points")
    net = reference_model("pointrend_r50", "mmseg_pointrend", content["names"], OPTIONS[:1])
    x = image(*INPUTS["A"])
    features = net.neck(net.backbone(x))
    for points in (64, 512):
        net.head.subdivision_points = points
        logits = resize(net.head(features)["logits"], like=x)
        assert error(logits, stored[f"n{points}"], few["outputs"][f"n{points}"]) < TOLERANCE
