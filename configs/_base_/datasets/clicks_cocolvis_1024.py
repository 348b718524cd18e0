"""COCO+LVIS as SegNext trains on it: whole images of a longest side of 1024 pixels, padded; and its protocol of scores.

Scores squeeze whole images to 1024 x 1024, as published, HQSeg-44K's among them; training keeps their shape. batch_size
is that of all GPUs.
"""

from segkit.config import ref

_base_ = "clicks_cocolvis.py"
crop_size = (1024, 1024)
train = dict(
    batch_size=16,
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            transforms=[
                dict(type="RandomScale", low=0.75, high=1.40),
                dict(type="Flip", direction=("horizontal", "vertical", "both")),
                dict(type="Rot90"),
                dict(type="RandomAffine", degrees=3.0, shift=0.03, p=0.75),
                dict(type="BrightnessContrast", brightness=(-0.25, 0.25), contrast=(-0.15, 0.40), p=0.75),
                dict(type="ChannelShift", limit=10, p=0.75),
                dict(type="Resize", size=ref("crop_size"), keep_ratio=True),
                dict(type="Pad", size=ref("crop_size")),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
# every object gets all its clicks, for NoC95 and 5-mIoU
inference = dict(clicks=dict(flip=False, target_iou=1.01, zoom=dict(squash=True, target=(1024, 1024))))
test = dict(
    DAVIS=dict(inference=dict(clicks=dict(zoom=dict(target=(1024, 1024))))),
    HQSeg44K=dict(dataset=dict(type="HQSeg44K"), batch_size=4),
)
