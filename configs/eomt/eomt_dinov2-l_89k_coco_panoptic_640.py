"""EoMT on DINOv2-L, COCO panoptic at 640, the authors' setting: 12 epochs of batches of 16; published PQ 56.0."""

_base_ = [
    "../_base_/models/eomt_dinov2-l.py",
    "../_base_/datasets/coco_panoptic_640.py",
    "../_base_/schedules/eomt_39k.py",
]
model = dict(
    backbone=dict(img_size=(640, 640)),
    head=dict(num_queries=200, starts=(14782, 29564, 44346, 59128), ends=(29564, 44346, 59128, 73910)),
)
losses = [dict(type="Mask2FormerMasks")]
loop = dict(steps=88692, eval_every=7391, save_every=7391)
