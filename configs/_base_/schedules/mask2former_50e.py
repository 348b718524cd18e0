"""Mask2Former on COCO: 50 epochs of batches of 16, a tenth of the rate after .89 and .96 of the run."""

_base_ = "mask2former_160k.py"
schedule = dict(type="MultiStep", milestones=(327778, 355092))
loop = dict(steps=368750, amp="fp16")
