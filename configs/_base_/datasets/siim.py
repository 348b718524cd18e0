"""SIIM-ACR pneumothorax: radiographs of 1024x1024, one class, most of them empty; predicted at full size."""

from segkit.config import ref

num_classes, crop_size = 1, (1024, 1024)
runner = dict(type="MultiLabel", threshold=0.3, top_threshold=0.75, min_area=2000)
metrics = [dict(type="MeanDice")]
train = dict(
    batch_size=4,
    workers=4,
    dataset=dict(type="Pneumothorax", root=None, split="train"),
    sampler=dict(type="RepeatFactor", threshold=1.0),
    transforms=[
        dict(type="Resize", size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="RandomAffine", degrees=10.0, scale=(0.9, 1.1), shift=0.05),
        dict(type="BrightnessContrast", p=0.3),
    ],
)
val = dict(
    batch_size=4,
    workers=4,
    dataset=dict(type="Pneumothorax", root=None, split="val"),
    transforms=[dict(type="Resize", size=ref("crop_size"))],
)
test = dict(
    batch_size=4,
    workers=4,
    dataset=dict(type="Pneumothorax", root=None, split="test"),
    transforms=[dict(type="Resize", size=ref("crop_size"))],
)
