"""Joint training on all CamVid classes, as long as both steps of 7-4 take; scored as 7-4 is."""

_base_ = "finetune_7-4.py"
task = "camvid_offline"
metrics = [dict(type="IncrementalIoU", sizes=(8, 4))]
loop = dict(steps=780)
