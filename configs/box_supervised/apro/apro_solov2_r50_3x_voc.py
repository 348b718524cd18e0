"""APro on SOLOv2, ResNet-50, Pascal VOC: 38.4 AP."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxlevelset_3x_voc.py",
]
model = dict(head=dict(level_features=0, mask_threshold=0.7))
losses = [dict(type="APro")]
