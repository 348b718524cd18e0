"""TreeEnergy on HRNet-W48, ADE20K from blocks of 10, 20 or 50 %: published mIoU 34.7, 36.5, 40.3.

Half precision needs a GPU: on the CPU loop.amp="off".
"""

from segkit.config import ref

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
train = dict(
    dataset=dict(type="PartialLabels", kind="blocks", dataset=dict(type="ADE20K", root=None, split="train")),
    transforms=[
        dict(type="MarkUnlabelled"),
        dict(type="RandomResize", scale=(512, 2048), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="Photometric", brightness=10, contrast=(1, 1), saturation=(1, 1), hue=0, p=1.0),
    ],
)
model = dict(backbone=dict(width=48), head=dict(channels=720), projection=256)
losses = [dict(type="CrossEntropy"), dict(type="TreeEnergy", target=["clean", "unlabelled"], sigma=0.002, weight=0.4)]
optimizer = dict(lr=0.02)
schedule = dict(min_lr=0.0)
loop = dict(steps=150000, amp="fp16")
