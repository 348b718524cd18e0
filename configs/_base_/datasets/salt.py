"""TGS salt: 4,000 labelled images of 101x101, mirrored to 128x128; the third channel is the depth."""

from segkit.config import ref

num_classes, crop_size = 1, (128, 128)
runner = dict(type="MultiLabel", threshold=0.5)
metrics = [dict(type="MeanPrecision"), dict(type="MeanDice")]
train = dict(
    batch_size=32,
    workers=2,
    dataset=dict(type="Salt", root=None, split="train"),
    transforms=[
        dict(type="Flip"),
        dict(type="RandomAffine", degrees=5.0, scale=(0.9, 1.1), shift=0.05),
        dict(type="ReflectPad", size=ref("crop_size")),
    ],
)
val = dict(
    batch_size=32,
    workers=2,
    dataset=dict(type="Salt", root=None, split="val"),
    transforms=[dict(type="ReflectPad", size=ref("crop_size"))],
)
test = dict(
    batch_size=32,
    workers=2,
    dataset=dict(type="Salt", root=None, split="test"),
    transforms=[dict(type="ReflectPad", size=ref("crop_size"))],
)
