"""Rows of Segmenter. mmsegmentation's patch embedding has no bias: its networks have as many parameters fewer as it."""

from tests.arch_rows.row import Row

SMALL = ("model.backbone.name='test_vit'", "model.backbone.pretrained=None", "model.backbone.out_indices=[5]")
HEADS = ("model.head.heads=2", "model.head.layers=1")

ROWS = {
    "segmenter_vit-t_mask": Row(6_713_196 + 192, 1_029_996, 12.641, classes=150, small=(*SMALL, *HEADS)),
    "segmenter_vit-s_mask": Row(26_033_580 + 384, 4_050_348, 38.404, classes=150, small=(*SMALL, *HEADS)),
    "segmenter_vit-b_mask": Row(102_496_812 + 768, 16_063_020, 129.294, classes=150, small=(*SMALL, *HEADS)),
    # 399.637 are counted at 512 x 512, and so many patches of 640 x 640 more have positions
    "segmenter_vit-l_mask": Row(333_233_452 + 1024, 28_495_148, 399.637, classes=150, small=(*SMALL, *HEADS)),
    "segmenter_vit-s_fcn": Row(22_040_982 + 384, 57_750, 31.808, classes=150, small=SMALL),
}
