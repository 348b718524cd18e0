"""FasterSeg's teacher with auxiliary heads: full width, no operation skipped."""

_base_ = ["fasterseg_student.py"]
model = dict(backbone=dict(genotype="fasterseg_teacher"))
