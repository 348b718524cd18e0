"""One's own images and masks: root/images/{train,val}/NAME.jpg and root/masks/{train,val}/NAME.png.

A config over this base sets root, classes and num_classes, and what else its files need of the arguments of `Folder`
below: each once, for training and validation. `segkit test` takes val where a config has no section `test`.
"""

from segkit.config import ref

root, classes, num_classes = "data/folder", ("background", "object"), 2
images, masks, mask_suffix, channels, skip_unlabelled = "images", "masks", "", 3, False
label_map, palette, color_masks, tolerance, reduce_zero_label, ignore = None, None, False, 0, False, 255
crop_size = (512, 512)
exif, nodata = False, None  # whether images are turned as the camera says; the value of pixels without data
scale, bands = None, None  # the stored values that become 0 and 255; which bands are read, counted from 1
_files = dict(
    type="Folder",
    root=ref("root"),
    classes=ref("classes"),
    images=ref("images"),
    masks=ref("masks"),
    mask_suffix=ref("mask_suffix"),
    palette=ref("palette"),
    label_map=ref("label_map"),
    reduce_zero_label=ref("reduce_zero_label"),
    ignore=ref("ignore"),
    color_masks=ref("color_masks"),
    tolerance=ref("tolerance"),
    channels=ref("channels"),
    skip_unlabelled=ref("skip_unlabelled"),
    exif=ref("exif"),
    nodata=ref("nodata"),
    scale=ref("scale"),
    bands=ref("bands"),
)
train = dict(
    batch_size=4,
    dataset=dict(_files, split="train"),
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(dataset=dict(_files, split="val"))
