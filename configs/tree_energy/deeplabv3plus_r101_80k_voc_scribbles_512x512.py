"""TreeEnergy on DeepLabv3+, ResNet-101, Pascal VOC from scribbles: published mIoU 77.6.

Half precision needs a GPU: on the CPU loop.amp="off".
"""

from segkit.config import ref

_base_ = ["../_base_/models/deeplabv3plus_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_80k.py"]
train = dict(
    dataset=dict(type="PartialLabels", kind="scribbles", dataset=dict(type="VOC", root=None, split="train_aug")),
    transforms=[
        dict(type="MarkUnlabelled"),
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="Photometric", brightness=10, contrast=(1, 1), saturation=(1, 1), hue=0, p=1.0),
    ],
)
model = dict(backbone=dict(name="resnet101c", output_stride=16), aux=[], projection=256)
losses = [dict(type="CrossEntropy"), dict(type="TreeEnergy", target=["clean", "unlabelled"], weight=0.4)]
optimizer = dict(lr=1e-3, groups=[dict(match=r"^(head|projection)\.", lr=10.0)])
schedule = dict(min_lr=0.0)
loop = dict(amp="fp16")
