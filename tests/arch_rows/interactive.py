"""Rows of models that take clicks."""

import torch
from torch import Tensor

from tests.arch_rows.row import Row

HR4 = (
    "model.backbone.width=4",
    "model.backbone.num_modules=[1,1,1]",
    "model.backbone.num_blocks=1",
    "model.backbone.pretrained=None",
    "model.head.ocr_width=8",
)
R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=16")
R26 = ("model.backbone.name='resnet26t'", "model.guidance_channels=32", *R18[1:])
"""The deep stem has 64 channels, half of which take the clicks; in the full networks 64 of 128 do."""

VIT = (
    *("model.backbone.width=16", "model.backbone.depth=2", "model.backbone.heads=2", "model.backbone.patch_size=8"),
    *("model.backbone.img_size=[64,64]", "model.backbone.window=32", "model.backbone.global_every=2"),
    *("model.backbone.pretrained=None", "model.neck.channels=[8,8,8,8]", "model.head.channels=16"),
)
LATE = ("model.fusion_heads=2", "model.fusion_depth=1", *VIT)


def clicked(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Makes the arguments of a click model.

    Args:
        image: [B,3,H,W].

    Returns:
        The image, two clicks per sign of which one is empty, and a mask for the previous prediction.
    """
    batch, _, height, width = image.shape
    rows = [[height // 3, width // 2, 0], [-1, -1, -1], [height - 1, 0, 1], [3, width - 2, 2]]
    clicks = torch.tensor(rows, dtype=torch.float32, device=image.device).expand(batch, -1, -1)
    return image, clicks, (image[:, :1] / 255).float()


def focused(image: Tensor) -> tuple[Tensor | None, ...]:
    """As clicked, and a part of each image that FocalClick refines."""
    batch, _, height, width = image.shape
    box = torch.tensor([[3.0, 2.0, height - 4.0, width - 9.0]], device=image.device).expand(batch, -1)
    return *clicked(image), None, box, image[..., :64, :48]


MIT = ("model.head.channels=32", "model.backbone.name='mit_b0'")

ROWS = {
    # The published counts of the HRNets (14.50, 25.04, 67.59) include work whose result is equal at all positions.
    "ritm_hrnet18s": Row(4_220_047, 349_982, 14.120, classes=1, small=HR4, inputs=clicked),
    "ritm_hrnet18": Row(10_032_019, 460_414, 24.331, classes=1, small=HR4, inputs=clicked),
    "ritm_hrnet32": Row(30_951_363, 1_636_482, 64.830, classes=1, small=HR4, inputs=clicked),
    # Published without what no network runs: 5,122 of the numbers of SegFormer's files.
    "focalclick_hrnet18s": Row(4_231_377, 349_982, classes=1, small=HR4, inputs=focused),
    "focalclick_hrnet32": Row(30_967_813, 1_636_482, classes=1, small=HR4, inputs=focused),
    "focalclick_segformer-b0": Row(3_735_651, 395_009, classes=1, small=MIT, inputs=focused),
    "focalclick_segformer-b3": Row(45_682_819, 1_576_449, classes=1, small=MIT, inputs=focused),
    "ritm_r34": Row(23_350_930, 2_056_929, 100.05, classes=1, small=R18, inputs=clicked),
    "ritm_r50": Row(31_405_842, 7_764_705, 139.04, classes=1, small=R26, inputs=clicked),
    "ritm_r101": Row(58_440_850, 15_807_585, 250.85, classes=1, small=R26, inputs=clicked),
    # Published for 448 and 1024 pixels, see tests/interactive; the counts here are without what no network runs.
    "simpleclick_xt": Row(3_845_281, 189_185, classes=1, small=VIT, inputs=clicked),
    "simpleclick_b": Row(97_067_969, 755_201, classes=1, small=VIT, inputs=clicked),
    "simpleclick_l": Row(322_991_809, 1_000_961, classes=1, small=VIT, inputs=clicked),
    "simpleclick_h": Row(660_713_201, 1_185_281, classes=1, small=VIT, inputs=clicked),
    "segnext_clicks_b": Row(113_787_329, 755_201, classes=1, small=LATE, inputs=clicked),
}
