"""Masks from boxes alone on the embedded data set in minutes on two CPU cores: a small BoxLevelSet."""

model = dict(
    num_classes=5,
    backbone=dict(type="PlainEncoder", channels=(24, 48, 96, 128)),
    neck=dict(type="FPN", channels=48),
    head=dict(type="SOLOv2Head", channels=48, depth=2, grids=(12, 10, 8, 6), groups=8, level_features=3),
)
losses = [
    dict(
        type="BoxLevelSet",
        # for objects of 30 to 70 pixels in images of 96, masks of half and a quarter of the image's size
        ranges=((1, 36), (30, 46), (40, 58), (50, 200)),
        strides=(2, 2, 4, 4),
    )
]
runner = dict(type="BoxSupervised", divisor=16)
train = dict(
    batch_size=16,
    workers=0,
    dataset=dict(type="ShapesInstances", split="train", cache=True),
    transforms=[dict(type="BoxMasks"), dict(type="Flip")],
)
val = dict(batch_size=20, workers=0, dataset=dict(type="ShapesInstances", split="val", length=60))
test = dict(batch_size=20, workers=0, dataset=dict(type="ShapesInstances", split="test", length=100))
metrics = [dict(type="CocoAP"), dict(type="MatchedMaskIoU")]
optimizer = dict(type="AdamW", lr=3e-3, weight_decay=1e-2)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(steps=300, channels_last=True, clip=10.0, log_every=25, eval_every=150, save_every=150, monitor="segm.AP50")
