"""Gated-SCNN on WideResNet-38, Cityscapes, 175 epochs on eight GPUs of one image each; published: val mIoU 80.8.

As the authors' code: colors and blur of every image, rates that fall linearly (theirs once an epoch, here at each
step), from ImageNet weights (model.backbone.pretrained=FILE). Set loop.sync_bn=False to train on a CPU.
"""

from segkit.config import ref

_base_ = ["../_base_/models/gscnn_wrn38.py", "../_base_/datasets/cityscapes.py"]
crop_size = (720, 720)
train = dict(
    batch_size=1,
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0),
        dict(type="Flip"),
        dict(type="ColorJitter", brightness=0.25, contrast=0.25, saturation=0.25, hue=0.25, p=1.0),
        dict(type="Blur", low=0.15, high=1.3, p=1.0),
    ],
)
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
schedule = dict(type="Poly", power=1.0)
loop = dict(epochs=175, sync_bn=True)
