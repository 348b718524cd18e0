"""COCO+LVIS as FocalClick trains on it: stretched crops of 256 x 256, the clicked object's part for the refiner.

Its scores read COCO_MVal's masks as its code does, and hold DAVIS-585 from nothing and from masks with faults.
"""

from segkit.config import ref

_base_ = "clicks_cocolvis.py"
crop_size, min_area, keep_background = 256, 1000, 0.05
object_transforms = [
    # to_right_edge=True crops as the published code does
    dict(type="StretchedCrop", size=ref("crop_size"), law="normal"),
    dict(type="Flip", p=0.3, direction="vertical"),
    dict(type="Flip", p=0.3),
]
train = dict(
    dataset=dict(stuff_prob=0.20),
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            max_share=0.85,
            transforms=ref("object_transforms"),
        ),
        dict(type="SampleClicks", first_click_center=True),
        dict(type="FocusOnObject", size=ref("crop_size")),
    ],
)
test = dict(
    COCO_MVal=dict(dataset=dict(above=128)),
    DAVIS585=dict(dataset=dict(type="DAVIS585"), batch_size=16),
    DAVIS585_init=dict(
        dataset=dict(type="DAVIS585", start="sp"),
        batch_size=16,
        inference=dict(clicks=dict(merge=True, merge_rest=True)),
    ),
)
