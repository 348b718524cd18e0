"""Rows of SegFormer."""

from tests.arch_rows.row import Row

SMALL = ("model.head.channels=32",)
R18 = (*SMALL, "model.backbone.name='resnet18'")

ROWS = {
    # With 150 classes the published 3,753,718 (mmsegmentation) and 3,752,694 (Hugging Face).
    "segformer_mit-b0": Row(3_753_718, 434_326, 8.388, classes=150, small=SMALL, compiles_slowly=True),
    "segformer_original_mit-b0": Row(3_752_694, 433_302, classes=150, small=R18),
}
