"""APro on SOLOv2, ResNet-50, COCO: 32.9 AP."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
model = dict(head=dict(level_features=0, mask_threshold=0.45))
losses = [dict(type="APro", kernel=3)]
