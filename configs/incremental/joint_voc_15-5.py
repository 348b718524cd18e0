"""Joint training on all VOC classes, the upper bound; scored as 15-5 is."""

_base_ = "finetune_voc_15-5.py"
task = "voc_offline"
metrics = [dict(type="IncrementalIoU", sizes=(16, 5))]
