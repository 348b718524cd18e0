"""FocalClick on SegFormer-B0: clicks enter behind the first stage, by an embedding of their own.

S2 reads 256 x 256 pixels; S1 has model.reduction = 2 and, drawn before the reduction, disks of model.radius = 3.
"""

from segkit.config import ref

model = dict(
    type="FocalClick",
    num_classes=ref("num_classes"),
    align_corners=True,
    scheme="Side",
    as_published=True,
    # its ImageNet weights, from the authors of SegFormer or nvidia/mit-b0: init = dict(path=FILE, drop=["head."])
    backbone=dict(type="TimmLate", name="mit_b0", drop_path_rate=0.1),
    head=dict(type="SegFormerHead", align_maps=False),
)
losses = [
    dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0),
    dict(type="WeightedFocal", on="refined", share=0.5),
    dict(type="BinaryCrossEntropy", on="boundary", target="boundary", ignore=-1, average="all"),
]
# the clicks' embedding is a part of the trunk there, and learns at its rate
optimizer = dict(type="Adam", lr=5e-3, groups=[dict(match=r"^(backbone|guide)\.", lr=0.1)])
inference = dict(
    clicks=dict(
        zoom=dict(min_crop=10, recompute_iou=1.0, threshold=0.49, encloses_start=False),
        flip=False,
        stale_roi=True,
        threshold=0.5,
    )
)
