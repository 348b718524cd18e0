"""Published counts of parameters and multiply-additions of systems that no config of the contract has by itself."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.archs_table import build
from tests.test_oracles_smp import ASPP3, ASPP3P

HR48 = ["model.backbone.width=48"]
SEMSEG = ["model.backbone.name='resnet50'", "model.backbone.deep_stem=64", "model.backbone.contract_dilation=False"]
R50 = "model.backbone.name='resnet50'"


def of_smp(options: str) -> list[str]:
    return [option for option in options.split() if "num_classes" not in option]


WHOLE = {
    "SFNet on ResNet-101": ("sfnet_r50", 19, ["model.backbone.name='resnet101s'"], 50_317_267, 102.3),
    "HRNet W48": ("fcn_hr18", 19, [*HR48, "model.head.channels=720"], 65_858_659, 93.4),
    "OCRNet on HRNet W48": ("ocrnet_hr18", 19, [*HR48, "model.head.coarse_channels=720"], 70_371_446, 162.2),
    "OCRNet on ResNet-101": ("ocrnet_r50", 19, ["model.backbone.name=resnet101c"], 55_516_294, 230.5),
    "semseg's PSPNet": ("pspnet_r50", 19, SEMSEG, 49_080_038, None),
    "SMP's DeepLabV3": ("deeplabv3_r50", 19, [*of_smp(ASPP3), "model.aux=[]"], 39_638_355, None),
    "SMP's DeepLabV3+": ("deeplabv3plus_r50", 19, [*of_smp(ASPP3P), R50], 26_682_211, None),
    "SMP's U-Net, one class": ("unet_r34", 1, [], 24_436_369, None),
    "Fast-SCNN without auxiliary heads": ("fast_scnn", 19, ["model.aux=[]"], 1_399_939, None),
    # SegmenTron counts 1,153,283: see the class for the 15,488 between them
    "Fast-SCNN, 1x1 after the pools": (
        "fast_scnn",
        19,
        ["model.aux=[]", "model.backbone.out_kernel=1"],
        1_153_283 - 15_488,
        None,
    ),
    "ESPNet p2 q3 in the authors' code": ("espnet_p2_q3", 20, ["model.backbone.image_in_first=True"], 203_189, None),
}
"""Name -> config, classes, options, trainable parameters, 1e9 multiply-additions of a 512 x 512 image."""

PARTS = {
    "semfpn_r50": ("neck", 3_344_384),
    "fastfcn_r50": ("neck", 19_735_552),
    "icnet_r50": ("neck", 484_352),
    "unet_s5-d16": ("backbone", 28_949_568),
    "fcn_r50": ("backbone", 23_527_264),
}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", WHOLE)
def test_whole(name):
    config, classes, options, parameters, gmac = WHOLE[name]
    model = build(config, classes, tuple(options), device="meta").eval()
    assert count(model) == parameters
    if gmac is not None:
        with FlopCounterMode(display=False) as counter:
            model.to("meta")(torch.empty(1, 3, 512, 512, device="meta"))
        assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("config", PARTS)
def test_part(config):
    part, parameters = PARTS[config]
    assert count(getattr(build(config, 19, device="meta"), part)) == parameters


def test_icnet_backbone_and_pan_decoder():
    assert count(build("icnet_r50", 19, device="meta").backbone) == 46_892_992
    head = build("pan_r50", 19, device="meta").head
    assert count(head) - count(head.classifier) == 751_495
