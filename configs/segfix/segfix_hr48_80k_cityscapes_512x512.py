"""SegFix on HRNet-W48, Cityscapes, four images for each of four GPUs, in the published setting.

segkit prepare segfix --config configs/segfix/segfix_hr48_80k_cityscapes_512x512.py makes the targets first. Published:
the validation mIoU of HRNet-W48 rises from 81.1 to 81.6.
"""

_base_ = ["../_base_/models/segfix_hr48.py", "../_base_/datasets/segfix_cityscapes.py"]
optimizer = dict(type="SGD", lr=0.04, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=80000, sync_bn=True, eval_every=2000, save_every=2000)
