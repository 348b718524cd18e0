"""FasterSeg's student with auxiliary heads. Another derived network: model.backbone.genotype, a genotype.json."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="FasterSegEncoder", genotype="fasterseg_student"),
    head=dict(type="FasterSegHead"),
    aux=[dict(type="FasterSegAux", stride=stride) for stride in (16, 32)],
    align_corners=True,
)
losses = [
    dict(type="OHEM", on="logits", threshold=0.7, min_kept=ref("min_kept")),
    dict(type="OHEM", on="aux*.logits", threshold=0.7, min_kept=ref("min_kept"), weight=0.2),
]
min_kept = 100_000
