"""HANet on ResNet-101 at output stride 8, Cityscapes, half of the crops around a class; published: test mIoU 80.9."""

from segkit.config import ref

_base_ = ["../_base_/models/hanet_r101.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_40k.py"]
crop_size = (768, 768)
train = dict(
    batch_size=4,
    sampler=dict(type="ClassUniform", fraction=0.5, tile=1024),
    transforms=[dict(type="FocusCrop", size=ref("crop_size")), dict(type="Flip"), dict(type="Photometric")],
)
schedule = dict(min_lr=0.0)
