"""Images with one object each, root/train/images/NAME.jpg and root/train/masks/NAME.png (0 and 255), the same below
root/val; crops and coarse masks as CascadePSP's, whose authors join FSS-1000, DUTS, ECSSD and MSRA-10K.

Masks with further values, which blur outlines, are thresholded first.
"""

from segkit.config import ref

num_classes, root, crop_size = 1, "masks", 224
_files = dict(type="Folder", root=ref("root"), classes=("background", "object"), label_map={255: 1})
train = dict(
    batch_size=12,
    dataset=dict(_files, split="train"),
    transforms=[
        dict(type="RandomCrop", size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="ColorJitter", brightness=0.2, contrast=0.05, saturation=0.05, hue=0.0, p=1.0),
        dict(type="Grayscale", p=0.1),
        dict(type="CoarseMask", least=0.8, most=1.0),
    ],
)
val = dict(dataset=dict(_files, split="val"), batch_size=1)
metrics = [dict(type="Confusion"), dict(type="BoundaryAccuracy")]
