"""Fast-SCNN, Cityscapes, mmsegmentation's setting (eight processes); published mIoU 70.96."""

_base_ = ["../_base_/models/fast_scnn.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_160k.py"]
train = dict(batch_size=4)
optimizer = dict(lr=0.12, weight_decay=4e-5)
