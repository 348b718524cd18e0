"""ADE20K as EoMT reads it: images scaled by .5 to 2 of the crop; tests cover the crop's size with windows on one side.

The authors change contrast behind saturation and hue half of the time, and draw a crop without any class again.
"""

from segkit.config import ref

_as_it_is = dict(type="ColorJitter", brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, p=0.5)
num_classes, crop_size = 150, (512, 512)
train = dict(
    batch_size=4,
    dataset=dict(type="ADE20K", root=None, split="train"),
    transforms=[
        dict(_as_it_is, brightness=32 / 255),
        dict(_as_it_is, contrast=0.5),
        dict(_as_it_is, saturation=0.5),
        dict(_as_it_is, hue=18 / 360),
        dict(type="Flip"),
        dict(type="RandomResize", scale=ref("crop_size"), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size")),
    ],
)
val = dict(
    dataset=dict(type="ADE20K", root=None, split="val"), transforms=[dict(type="Resize", short=ref("crop_size.0"))]
)
test = dict(
    dataset=dict(type="ADE20K", root=None, split="val"), transforms=[dict(type="Resize", short=ref("crop_size.0"))]
)
inference = dict(mode="slide", crop=ref("crop_size"), stride="even")
