"""TreeEnergy on DeepLabv3+, ResNet-101, Pascal VOC from points: published mIoU 65.4."""

from segkit.config import ref

_base_ = ["../_base_/models/deeplabv3plus_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_80k.py"]
train = dict(
    dataset=dict(type="PartialLabels", kind="points", dataset=dict(type="VOC", root=None, split="train_aug")),
    transforms=[
        dict(type="MarkUnlabelled"),
        dict(type="RandomResize", scale=(512, 2048), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="Photometric"),
    ],
)
model = dict(backbone=dict(name="resnet101c", output_stride=16), aux=[], projection=256)
losses = [dict(type="CrossEntropy"), dict(type="TreeEnergy", target=["clean", "unlabelled"], weight=0.4)]
optimizer = dict(lr=1e-3, groups=[dict(match=r"^(head|projection)\.", lr=10.0)])
