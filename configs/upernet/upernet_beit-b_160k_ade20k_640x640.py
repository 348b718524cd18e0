"""UPerNet on BEiT-B, ADE20K, mmsegmentation's setting; published mIoU 53.08, with scales and flips 53.84."""

_base_ = [
    "../_base_/models/upernet_beit-b.py",
    "../_base_/datasets/ade20k_640.py",
    "../_base_/schedules/layer_decay_160k.py",
]
inference = dict(mode="slide", crop=(640, 640), stride=(426, 426))
