"""SegFormer-B0 in the form of mmsegmentation; B1 to B5 differ in the encoder's name alone."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    # Its ImageNet weights, from the authors, mmsegmentation or nvidia/mit-b0: init = dict(path=FILE, drop=["head."])
    backbone=dict(type="Timm", name="mit_b0", drop_path_rate=0.1, norm_eps=1e-6),
    head=dict(type="SegFormerHead", norm=True),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
