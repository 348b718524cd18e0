"""Labels of any format as boxes and masks, short side about 320; `segkit new` writes over it. Names as in labelled.py.

Images are shared out as the whole set has them, since training leaves out those without an object.
"""

from segkit.config import ref

root, format, classes, num_classes = "data/labelled", None, None, 1
ratios, by, seed, of = (0.8, 0.2), None, 0, None
exif, nodata, scale, bands = False, None, None, None
_labels = dict(
    type="LabelledInstances",
    root=ref("root"),
    format=ref("format"),
    classes=ref("classes"),
    exif=ref("exif"),
    nodata=ref("nodata"),
    scale=ref("scale"),
    bands=ref("bands"),
)
train_split = dict(
    ratios=ref("ratios"), by=ref("by"), seed=ref("seed"), of=ref("of"), like=dict(_labels, split=ref("of"))
)
val_split = ref("train_split")
train = dict(
    batch_size=4,
    dataset=dict(_labels, split=ref("train_split"), filtered=True, boxes_only=False),
    transforms=[
        dict(type="RandomShortSide", sides=(256, 288, 320, 352, 384), long=640),
        dict(type="Flip"),
        dict(type="Pad", divisor=32),
    ],
)
val = dict(
    dataset=dict(_labels, split=ref("val_split"), boxes_only=False),
    transforms=[dict(type="Resize", short=320, long=640), dict(type="Pad", divisor=32)],
)
metrics = [dict(type="CocoAP"), dict(type="MatchedMaskIoU")]
