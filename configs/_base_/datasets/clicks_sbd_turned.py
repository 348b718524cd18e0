"""SBD with quarter turns, mirroring both ways and small rotations: RITM's iterative model of this set."""

from segkit.config import ref

_base_ = "clicks_sbd.py"
keep_background = 0.01
train = dict(
    transforms=[
        dict(
            type="UntilObject",
            min_area=ref("min_area"),
            keep_background=ref("keep_background"),
            transforms=[
                dict(type="RandomScale", low=0.75, high=1.25),
                dict(type="Flip", direction=("horizontal", "vertical", "both")),
                dict(type="Rot90"),
                dict(type="RandomAffine", degrees=3.0, shift=0.03, p=0.75),
                dict(type="Pad", size=ref("crop_size"), centred=True),
                dict(type="RandomCrop", size=ref("crop_size")),
                dict(type="BrightnessContrast", brightness=(-0.25, 0.25), contrast=(-0.15, 0.40), p=0.75),
                dict(type="ChannelShift", limit=10, p=0.75),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
