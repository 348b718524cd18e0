"""BiSeNet V2, 32 images a step, Cityscapes, mmsegmentation's setting (four processes); published mIoU 75.76."""

_base_ = [
    "../_base_/models/bisenetv2.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_160k_warmup.py",
]
crop_size = (1024, 1024)
train = dict(batch_size=8)
optimizer = dict(lr=0.05)
