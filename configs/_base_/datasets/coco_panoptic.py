"""COCO panoptic as Mask2Former reads it: 80 things and 53 classes of stuff, large-scale jitter on 1024 x 1024 pixels.

Objects that a crop cuts off are left out; the published code keeps their empty masks.
"""

num_classes = 133
runner = dict(type="Panoptic", things=tuple(range(80)))
train = dict(
    batch_size=16,
    dataset=dict(type="COCOPanoptic", root=None, split="train2017", filtered=True),
    transforms=[
        dict(type="Flip"),
        dict(type="RandomResize", scale=(1024, 1024), ratio_range=(0.1, 2.0)),
        dict(type="RandomCrop", size=(1024, 1024), fill=(128, 128, 128)),
    ],
)
val = dict(
    dataset=dict(type="COCOPanoptic", root=None, split="val2017"),
    transforms=[dict(type="Resize", size=(800, 1333), keep_ratio=True)],
)
test = dict(
    dataset=dict(type="COCOPanoptic", root=None, split="val2017"),
    transforms=[dict(type="Resize", size=(800, 1333), keep_ratio=True)],
)
metrics = [dict(type="PQ")]
