"""Auto-DeepLab-S on Cityscapes from random weights, 1.5M steps; published: val mIoU 79.74, several scales, flips.

As the paper (section 4): crop, steps, rate and scheduled drop path. It names neither the batch size nor the share of
dropped paths: two images on each of eight GPUs and 0.2 are chosen here. Set loop.sync_bn=False to train on a CPU.
"""

from segkit.config import ref

_base_ = ["../_base_/models/auto_deeplab.py", "../_base_/datasets/cityscapes.py"]
crop_size = (769, 769)
model = dict(
    backbone=dict(drop_path=0.2, drop_path_steps=ref("loop.steps"), norm_momentum=3e-4),
    head=dict(norm_momentum=3e-4),
)
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=4e-5)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=1_500_000, sync_bn=True, eval_every=50_000, save_every=10_000)
