"""SFNet on ResNet-18, Cityscapes; published: 180 epochs at 1024x1024, batch 16, validation mIoU 79.0."""

_base_ = ["../_base_/models/sfnet_r18.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
losses = [dict(type="OHEM", on="logits", target="mask")]
