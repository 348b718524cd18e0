"""CamVid with hard augmentation for 90 % of the steps, and flips and small changes of scale for the rest."""

from segkit.config import ref

_base_ = ["unet_efficientnet-lite0_camvid.py"]
train = dict(
    transforms=[
        dict(
            type="HardThenSoft",
            share=0.9,
            hard=[
                dict(type="RandomScaleCrop", low=0.6, high=1.6, size=ref("crop_size")),
                dict(type="Elastic", p=0.2),
                dict(type="GridDistortion", p=0.2),
                dict(type="RandAugment", count=2, magnitude=5.0),
                dict(type="CutMix", p=0.5),
                dict(type="CutOut", ratio=(0.2, 0.2), p=0.2),
            ],
            soft=[dict(type="RandomScaleCrop", low=0.9, high=1.1, size=ref("crop_size"))],
        ),
        dict(type="Flip"),
    ],
)
