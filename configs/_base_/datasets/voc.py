"""Pascal VOC 2012 with SBD: 10,582 train, 1,449 val images, 21 classes; scored at original size."""

from segkit.config import ref

num_classes, crop_size = 21, (512, 512)
train = dict(
    batch_size=4,
    dataset=dict(type="VOC", root=None, split="train_aug"),
    transforms=[
        dict(type="RandomResize", scale=(512, 2048), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size"), cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(
    dataset=dict(type="VOC", root=None, split="val"),
    transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
)
test = dict(
    dataset=dict(type="VOC", root=None, split="val"),
    transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
)
