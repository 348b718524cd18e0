"""SFNet on ResNet-50, Cityscapes, 180 epochs, batch 16 on four GPUs; published validation mIoU 80.4."""

_base_ = ["../_base_/models/sfnet_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
crop_size, train = (1024, 1024), dict(batch_size=4)
losses = [dict(type="OHEM", on="logits", target="mask")]
loop = dict(steps=0, epochs=180)
