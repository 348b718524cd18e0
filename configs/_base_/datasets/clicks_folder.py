"""One's own images and masks of objects: root/train/images/NAME.jpg with root/train/masks/NAME_1.png, NAME_2.png, ...,
the same below root/val; crops and clicks as RITM's. batch_size is that of one GPU.
"""

from segkit.config import ref

num_classes, root = 1, "objects"
crop_size, min_area, keep_background = (320, 480), 80, 0.05
train = dict(
    batch_size=8,
    dataset=dict(type="FolderClicks", root=ref("root"), images="train/images", masks="train/masks"),
    sampler=dict(type="Uniform"),
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            transforms=[
                dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.75, high=1.40, centred=True),
                dict(type="Flip"),
                dict(type="BrightnessContrast", brightness=(-0.25, 0.25), contrast=(-0.15, 0.40), p=0.75),
                dict(type="ChannelShift", limit=10, p=0.75),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
val = dict(
    batch_size=16,
    dataset=dict(type="FolderClicksEval", root=ref("root"), images="val/images", masks="val/masks"),
)
metrics = [dict(type="NoC")]
hooks = [dict(type="TrainIoU")]
