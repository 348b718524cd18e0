"""Labels of any format as maps of classes: COCO, YOLO, Pascal VOC, folders of masks ...; `segkit new` writes over it.

A config over this base sets root, classes and num_classes. Data that names its splits has train_split, val_split =
"train", "val"; else its images, or those of the split `of`, are shared out by `ratios`, and by groups that `by` names.
"""

from segkit.config import ref

root, format, classes, num_classes = "data/labelled", None, None, 2
ratios, by, seed, of = (0.8, 0.2), None, 0, None
crop_size, palette, skip_unlabelled = (512, 512), None, False
channels, exif, nodata, scale, bands = 3, False, None, None, None
train_split = dict(ratios=ref("ratios"), by=ref("by"), seed=ref("seed"), of=ref("of"))
val_split = ref("train_split")
_labels = dict(
    type="Labelled",
    root=ref("root"),
    format=ref("format"),
    classes=ref("classes"),
    channels=ref("channels"),
    exif=ref("exif"),
    nodata=ref("nodata"),
    scale=ref("scale"),
    bands=ref("bands"),
    palette=ref("palette"),
    skip_unlabelled=ref("skip_unlabelled"),
)
train = dict(
    batch_size=8,
    dataset=dict(_labels, split=ref("train_split")),
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.6, high=1.6),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(dataset=dict(_labels, split=ref("val_split")))
