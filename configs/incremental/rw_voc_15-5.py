"""RW, VOC 15-5: Riemannian Walk, both kinds of importance."""

_base_ = "finetune_voc_15-5.py"
runner = dict(regulariser=dict(type="RW", importance=100.0))
