"""Our models under mmsegmentation's weights give mmsegmentation's outputs, before and after the last resize."""

import pytest
import torch

from segkit.models.layers import resize
from tests.oracles import TOLERANCE, error, fixture, image, reference_model

INPUTS = {"A": (0, (128, 160)), "B": (1, (97, 131)), "C": (1, (97, 131)), "L": (5, (312, 328))}
"""Case -> seed and size of the input. C is B with align_corners; L is large enough for every dilation to reach."""

MODELS = {
    "fcn_r50-d8": ("fcn_r50", "mmseg", "ABC"),
    "pspnet_r50-d8": ("pspnet_r50", "mmseg", "ABC"),
    "deeplabv3_r50-d8": ("deeplabv3_r50", "mmseg", "ABCL"),
    "deeplabv3plus_r50-d8": ("deeplabv3plus_r50", "mmseg", "ABCL"),
    "unet-s5-d16_fcn": ("unet_s5-d16", "mmseg_unet", "A"),
}
"""Fixture -> config, key map, cases."""

QUICK = {"deeplabv3plus_r50-d8", "unet-s5-d16_fcn"}


@torch.inference_mode()
@pytest.mark.parametrize("model", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MODELS])
def test_outputs_are_mmsegmentations(model):
    config, key_map, cases = MODELS[model]
    content, stored = fixture("mmseg", model)
    net = reference_model(config, key_map, content["names"], ("num_classes=19",))
    for case in cases:
        align(net, case == "C")
        x = image(*INPUTS[case])
        features = net.backbone(x)
        logits = net.head(features)["logits"]
        ours = {
            "decode_head": logits,
            "decode_head.crop": logits,
            "final": resize(logits, like=x, align_corners=case == "C"),
            "auxiliary_head": net.aux[0](features)["logits"],
        }
        names = [name for name in stored if name.startswith(f"{case}/")]
        assert len(names) >= 3
        for name in names:
            difference = error(ours[name.partition("/")[2]], stored[name], content["outputs"][name])
            assert difference < TOLERANCE, f"{name}: {difference:.1e}"


def align(net: torch.nn.Module, align_corners: bool) -> None:
    """Sets align_corners in every part that resizes, as the config of a model would."""
    for module in net.modules():
        if hasattr(module, "align_corners"):
            module.align_corners = align_corners


R101 = {
    "deeplabv3plus_r101-d8": ("model.backbone.name=resnet101c",),
    "deeplabv3plus_r101-d16-mg124": (
        "model.backbone.type=TimmDilated",
        "model.backbone.name=resnet101c",
        "model.backbone.output_stride=16",
        "model.backbone.dilations=((1,2,4),)",
        "model.head.rates=[6,12,18]",
    ),
}
"""Fixture -> what differs from deeplabv3plus_r50."""


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("model", R101)
def test_outputs_are_mmsegmentations_on_resnet_101(model):
    content, stored = fixture("mmseg", model)
    options = ("num_classes=19", *R101[model])
    net = reference_model("deeplabv3plus_r50", "mmseg", content["names"], options)
    for case in "AL":
        x = image(*INPUTS[case])
        logits = net.head(net.backbone(x))["logits"]
        for name, ours in (("decode_head", logits), ("final", resize(logits, like=x))):
            difference = error(ours, stored[f"{case}/{name}"], content["outputs"][f"{case}/{name}"])
            assert difference < TOLERANCE, f"{case}/{name}: {difference:.1e}"
