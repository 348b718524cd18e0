"""TreeEnergy on HRNet-W48, Cityscapes from blocks of 10, 20 or 50 %: published mIoU 61.8, 66.8, 72.2.

Half precision needs a GPU: on the CPU loop.amp="off".
"""

from segkit.config import ref

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_40k.py"]
train = dict(
    dataset=dict(type="PartialLabels", kind="blocks", dataset=dict(type="Cityscapes", root=None, split="train")),
    transforms=[
        dict(type="MarkUnlabelled"),
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="Photometric", brightness=10, contrast=(1, 1), saturation=(1, 1), hue=0, p=1.0),
    ],
)
model = dict(backbone=dict(width=48), head=dict(channels=720), projection=256)
losses = [dict(type="CrossEntropy"), dict(type="TreeEnergy", target=["clean", "unlabelled"], sigma=0.002, weight=0.4)]
schedule = dict(min_lr=0.0)
loop = dict(amp="fp16")
