"""Rows of DINOv2 and DINOv3 with linear heads, UPerNet and DPT: of the encoders, less the mask token, and of the head.

UPerNet's counts are the published ones on DeiT-S with a multi-level neck; DPT's those of ViT-B, whose maps are wider.
"""

from tests.arch_rows.row import Row

SMALL = ("model.backbone.name='test_vit'", "model.backbone.pretrained=None", "model.backbone.out_indices=[5]")
FOUR = (*SMALL[:2], "model.backbone.out_indices=[2,3,4,5]", "model.backbone.img_size=(64,96)", "model.head.channels=16")
HEAD = 2 * 384 + 384 * 150 + 150

DINOV2, DINOV3 = 22_056_576 - 384, 21_596_544 - 384
PATCHES = DINOV2 + 3 * 384 * (16**2 - 14**2) + 384 * (32**2 - 37**2)
"""With patches of 16 pixels and positions for an image of 512 x 512 in place of 14 and 518."""

UPER, NECK, AUX = 29_187_222, 5_901_312, 923_798
WIDTHS, VIT_B = 48 + 96 + 192 + 384, 96 + 192 + 384 + 768
DPT = 12_474_518 - 9 * 256 * (VIT_B - WIDTHS)
REASSEMBLE = 4 * (2 * 384 + 1) * 384 + (384 + 1) * WIDTHS + (16 * 48 + 1) * 48 + (4 * 96 + 1) * 96 + (9 * 384 + 1) * 384
# timm's encoder without final_norm has no last normalization
LAST = 2 * 384

ROWS = {
    "dinov2-s_linear": Row(DINOV2 + HEAD, HEAD, classes=150, small=SMALL),
    "dinov3-s_linear": Row(DINOV3 + HEAD, HEAD, classes=150, small=SMALL),
    "dinov2-s_upernet": Row(PATCHES + UPER + NECK + AUX, UPER, classes=150, small=FOUR, compiles_slowly=True),
    "dinov3-s_upernet": Row(DINOV3 + UPER + NECK + AUX, UPER, classes=150, small=FOUR, compiles_slowly=True),
    "dinov2-s_dpt": Row(PATCHES - LAST + REASSEMBLE + DPT, DPT, classes=150, small=FOUR, compiles_slowly=True),
    "dinov3-s_dpt": Row(DINOV3 - LAST + REASSEMBLE + DPT, DPT, classes=150, small=FOUR, compiles_slowly=True),
}
