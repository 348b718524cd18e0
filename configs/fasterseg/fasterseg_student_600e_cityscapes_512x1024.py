"""FasterSeg, last of four: the published student, distilled from the teacher; published: val mIoU 73.1, test 71.5.

A student of your own search: model.backbone.genotype=.../genotype.json. The authors average the divergence over pixels
and classes, hence the weight 1 / 19.
"""

from segkit.config import ref

_base_ = ["fasterseg_teacher_600e_cityscapes_512x1024.py"]
model = dict(backbone=dict(genotype="fasterseg_student"))
losses = [
    dict(type="OHEM", on="logits", threshold=0.7, min_kept=ref("min_kept")),
    dict(type="OHEM", on="aux*.logits", threshold=0.7, min_kept=ref("min_kept"), weight=0.2),
    dict(type="KLDistillation", average="all", weight=1 / 19),
]
runner = dict(type="Distillation", teacher="work_dirs/fasterseg_teacher_600e_cityscapes_512x1024/best.pt")
