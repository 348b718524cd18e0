"""BoxLevelSet, ResNet-50, iSAID in patches, batches of 8."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/isaid_instances.py",
    "../../_base_/schedules/boxlevelset_1x_voc.py",
]
model = dict(head=dict(mask_threshold=0.45))
schedule = dict(warmup=dict(factor=0.0005))
