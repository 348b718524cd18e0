"""SegFix on HRNet2x-W20, Cityscapes, four images for each of four GPUs, in the published setting.

segkit prepare segfix --config configs/segfix/segfix_hr2x20_80k_cityscapes_512x512.py makes the targets first. It needs
an encoder that was trained on ImageNet, of the authors: model.backbone.pretrained=FILE.
"""

_base_ = ["../_base_/models/segfix_hr2x20.py", "../_base_/datasets/segfix_cityscapes.py"]
optimizer = dict(type="SGD", lr=0.04, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=80000, sync_bn=True, eval_every=2000, save_every=2000)
