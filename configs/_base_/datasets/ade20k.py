"""ADE20K: 20,210 train, 2,000 val images, 150 classes; resized to a short side of 512, scored at original size."""

from segkit.config import ref

num_classes, crop_size = 150, (512, 512)
train = dict(
    batch_size=4,
    dataset=dict(type="ADE20K", root=None, split="train"),
    transforms=[
        dict(type="RandomResize", scale=(512, 2048), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size"), cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(
    dataset=dict(type="ADE20K", root=None, split="val"),
    transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
)
test = dict(
    dataset=dict(type="ADE20K", root=None, split="val"),
    transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
)
