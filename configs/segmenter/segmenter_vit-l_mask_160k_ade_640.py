"""Segmenter on ViT-L, mask transformer, ADE20K at 640, mmsegmentation's setting; published mIoU 52.16."""

_base_ = [
    "../_base_/models/segmenter_vit-l_mask.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmenter_160k.py",
]
crop_size = (640, 640)
train = dict(
    batch_size=2,
    transforms=[
        dict(type="RandomResize", scale=(640, 2048), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=crop_size, cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(transforms=[dict(type="Resize", size=(640, 2048), keep_ratio=True)])
test = dict(transforms=[dict(type="Resize", size=(640, 2048), keep_ratio=True)])
inference = dict(crop=(640, 640), stride=(608, 608))
