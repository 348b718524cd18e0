"""The search network of FasterSeg: a teacher and a student on shared cells. passes: what a step trains."""

from segkit.config import ref

passes = ("teacher.widest", "student.sampled", "student.widest", "student.narrowest")
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="FasterSegSearch", passes=ref("passes")),
    head=dict(type="FasterSegSearchHead", passes=ref("passes")),
    align_corners=True,
)
losses = [dict(type="OHEM", on="*.logits_*", threshold=0.7, min_kept=ref("min_kept"))]
min_kept = 100_000
