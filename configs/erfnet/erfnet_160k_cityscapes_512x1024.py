"""ERFNet, Cityscapes, mmsegmentation's setting (four processes); published mIoU 72.5."""

_base_ = ["../_base_/models/erfnet.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_160k.py"]
train = dict(batch_size=4)
