"""COCO+LVIS as FocalClick trains on it: stretched crops of 256 x 256, the clicked object's part for the refiner."""

from segkit.config import ref

_base_ = "clicks_cocolvis.py"
crop_size, min_area, keep_background = 256, 1000, 0.05
train = dict(
    dataset=dict(stuff_prob=0.20),
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            max_share=0.85,
            transforms=[
                # to_right_edge=True crops as the published code does
                dict(type="StretchedCrop", size=ref("crop_size"), law="normal"),
                dict(type="Flip", p=0.3, direction="vertical"),
                dict(type="Flip", p=0.3),
            ],
        ),
        dict(type="SampleClicks", first_click_center=True),
        dict(type="FocusOnObject", size=ref("crop_size")),
    ],
)
