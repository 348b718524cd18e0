"""COCO-Stuff 164k: 118,287 train, 5,000 val images, 171 classes; scored at original size."""

from segkit.config import ref

num_classes, crop_size = 171, (512, 512)
train = dict(
    batch_size=4,
    dataset=dict(type="COCOStuff", root=None, split="train"),
    transforms=[
        dict(type="RandomResize", scale=(512, 2048), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size"), cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(
    dataset=dict(type="COCOStuff", root=None, split="val"),
    transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
)
test = dict(
    dataset=dict(type="COCOStuff", root=None, split="val"),
    transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
)
