"""The trash study on CamVid, row 1: U-Net, cross entropy, images with rare classes drawn more often.

A stand-in of minutes on two cores, since the study's photographs cannot be had: ResNet-18 with random weights instead
of ResNet-34 with those of ImageNet, whose config is ../unet/unet_r34_40k_trash_512x512.py.
"""

from segkit.config import ref

_base_ = ["../_base_/models/unet_r34.py", "../_base_/datasets/camvid_study.py"]
crop_size = (240, 320)
model = dict(
    backbone=dict(name="resnet18", pretrained=None),
    head=dict(channels=(128, 64, 48, 32)),
)
train = dict(
    transforms=[
        dict(type="RandomScaleCrop", low=0.5, high=1.2, size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
    sampler=dict(type="ClassBalanced", weight="mean"),
)
loop = dict(steps=250, eval_every=250, save_every=125)
