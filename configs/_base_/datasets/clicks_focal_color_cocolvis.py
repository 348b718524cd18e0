"""COCO+LVIS as the larger networks of FocalClick train on it: as the smaller ones, with other colors."""

from segkit.config import ref

_base_ = "clicks_focal_cocolvis.py"
train = dict(
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            max_share=0.85,
            transforms=[
                dict(type="StretchedCrop", size=ref("crop_size"), law="normal"),
                dict(type="Flip", p=0.3, direction="vertical"),
                dict(type="Flip", p=0.3),
                dict(type="BrightnessContrast", brightness=(-0.25, 0.25), contrast=(-0.15, 0.40), p=0.75),
                dict(type="ChannelShift", limit=10, p=0.75),
            ],
        ),
        dict(type="SampleClicks", first_click_center=True),
        dict(type="FocusOnObject", size=ref("crop_size")),
    ],
)
