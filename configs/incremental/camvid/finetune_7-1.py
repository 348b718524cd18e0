"""Fine-tuning, CamVid 7-1."""

_base_ = "finetune_7-4.py"
task = "camvid_7-1"
runner = dict(start="work_dirs/finetune_7-4/step0/last.pt")
