"""APro on SOLOv2, ResNet-101, COCO: 34.3 AP."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"), head=dict(level_features=0, mask_threshold=0.55))
losses = [dict(type="APro", kernel=3)]
