"""One's own images with labels in any known format, as maps of classes: data/train and data/val.

`segkit new` writes configs over the recipes that stand on this base, with the data set's own place and splits.
"""

from segkit.config import ref

root, num_classes, crop_size = "data", 2, (512, 512)
train = dict(
    batch_size=8,
    dataset=dict(type="Labelled", root=ref("root"), split="train"),
    transforms=[
        dict(type="RandomScaleCrop", low=0.6, high=1.6, size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(dataset=dict(type="Labelled", root=ref("root"), split="val"))
