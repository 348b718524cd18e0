"""One's own images with labels in any known format, as objects to click on: data/train and data/val.

`segkit new` writes configs over the recipes that stand on this base, with the data set's own place and splits.
"""

from segkit.config import ref

root, num_classes, crop_size = "data", 1, (256, 320)
train = dict(
    batch_size=8,
    dataset=dict(type="LabelledClicks", root=ref("root"), split="train"),
    transforms=[
        dict(
            type="UntilObject",
            min_area=500,
            keep_background=0.05,
            transforms=[
                dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.75, high=1.4, centred=True),
                dict(type="Flip"),
                dict(type="Photometric"),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
val = dict(batch_size=8, dataset=dict(type="LabelledClicksEval", root=ref("root"), split="val"))
metrics = [dict(type="NoC")]
