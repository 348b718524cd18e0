"""CamVid from five scribbles of each class and image, on two CPU cores: the network of the study and TreeEnergy.

The scribbles: segkit prepare scribbles --config THIS_FILE.
"""

from segkit.config import ref

_base_ = ["../camvid_study/deeplabv3plus.py"]
train = dict(
    dataset=dict(type="PartialLabels", dataset=dict(type="CamVid", root=None, split="train")),
    transforms=[
        dict(type="MarkUnlabelled"),
        dict(type="RandomScaleCrop", low=0.6, high=1.6, size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="Photometric"),
    ],
)
model = dict(projection=64)
losses = [dict(type="CrossEntropy"), dict(type="TreeEnergy", target=["clean", "unlabelled"], weight=0.4)]
