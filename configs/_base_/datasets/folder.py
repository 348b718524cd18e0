"""One's own images and masks: root/images/{train,val}/NAME.jpg and root/masks/{train,val}/NAME.png.

A config over this base sets root, classes and num_classes, and label_map or palette where they are needed.
"""

from segkit.config import ref

root, classes, num_classes = "data/folder", ("background", "object"), 2
label_map, palette, crop_size = None, None, (512, 512)
train = dict(
    batch_size=4,
    dataset=dict(
        type="Folder",
        root=ref("root"),
        classes=ref("classes"),
        split="train",
        label_map=ref("label_map"),
        palette=ref("palette"),
    ),
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(
    dataset=dict(
        type="Folder",
        root=ref("root"),
        classes=ref("classes"),
        split="val",
        label_map=ref("label_map"),
        palette=ref("palette"),
    )
)
test = dict(
    dataset=dict(
        type="Folder",
        root=ref("root"),
        classes=ref("classes"),
        split="val",
        label_map=ref("label_map"),
        palette=ref("palette"),
    )
)
