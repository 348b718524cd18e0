"""PI, VOC 15-5: weights along whose way the loss fell stay."""

_base_ = "finetune_voc_15-5.py"
runner = dict(regulariser=dict(type="PI", importance=500.0))
