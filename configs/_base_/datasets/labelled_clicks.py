"""Labels of any format as objects to click on; `segkit new` writes over it. Names as in labelled.py.

Images are shared out as the whole set has them, since both sets leave out images of their own.
"""

from segkit.config import ref

root, format, classes, num_classes = "data/labelled", None, None, 1
ratios, by, seed, of = (0.8, 0.2), None, 0, None
crop_size = (256, 320)
exif, nodata, scale, bands = False, None, None, None
_labels = dict(
    root=ref("root"),
    format=ref("format"),
    classes=ref("classes"),
    exif=ref("exif"),
    nodata=ref("nodata"),
    scale=ref("scale"),
    bands=ref("bands"),
)
train_split = dict(
    ratios=ref("ratios"),
    by=ref("by"),
    seed=ref("seed"),
    of=ref("of"),
    like=dict(_labels, type="LabelledInstances", split=ref("of")),
)
val_split = ref("train_split")
train = dict(
    batch_size=8,
    dataset=dict(_labels, type="LabelledClicks", split=ref("train_split")),
    transforms=[
        dict(
            type="UntilObject",
            keep_background=0.05,
            min_area=500,
            transforms=[
                dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.75, high=1.4, centred=True),
                dict(type="Flip"),
                dict(type="Photometric"),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
val = dict(batch_size=8, dataset=dict(_labels, type="LabelledClicksEval", split=ref("val_split")))
metrics = [dict(type="NoC")]
