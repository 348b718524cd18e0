"""COCO+LVIS: 104,000 images, 1.6 million objects; RITM's crops and clicks. Other sets replace the data alone.

batch_size is that of all GPUs together: with n of them set train.batch_size to a n-th.
"""

from segkit.config import ref

_base_ = "clicks_evaluation.py"
crop_size, min_area, keep_background = (320, 480), 1000, 0.05
train = dict(
    batch_size=28,
    workers=8,
    dataset=dict(type="COCOLVISClicks", stuff_prob=0.30),
    sampler=dict(type="Uniform"),
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            transforms=[
                dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.75, high=1.40, centred=True),
                dict(type="Flip"),
                dict(type="BrightnessContrast", brightness=(-0.25, 0.25), contrast=(-0.15, 0.40), p=0.75),
                dict(type="ChannelShift", limit=10, p=0.75),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
hooks = [dict(type="TrainIoU")]
