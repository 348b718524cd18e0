"""EWC, VOC 15-5: weights with large squared gradients stay."""

_base_ = "finetune_voc_15-5.py"
runner = dict(regulariser=dict(type="EWC", importance=500.0))
