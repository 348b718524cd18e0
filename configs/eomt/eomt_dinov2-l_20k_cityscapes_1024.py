"""EoMT on DINOv2-L, Cityscapes at 1024, the authors' setting: 107 epochs of batches of 16; published mIoU 84.2."""

_base_ = ["eomt_dinov2-l_39k_ade_512.py"]
num_classes, crop_size = 19, (1024, 1024)
model = dict(
    backbone=dict(img_size=(1024, 1024)), head=dict(starts=(3317, 6634, 9951, 13268), ends=(6634, 9951, 13268, 16585))
)
train = dict(dataset=dict(type="Cityscapes", root=None, split="train"))
val = dict(dataset=dict(type="Cityscapes", root=None, split="val"))
test = dict(dataset=dict(type="Cityscapes", root=None, split="val"))
loop = dict(steps=19902, eval_every=1860, save_every=1860)
