"""SegFormer-B0 in the form of the authors and Hugging Face; the heads of B2 to B5 have 768 channels."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="mit_b0", drop_path_rate=0.1),
    head=dict(type="SegFormerHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
