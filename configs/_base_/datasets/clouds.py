"""Understanding clouds: 5,546 labelled images of 2100x1400, 4 overlapping classes; scored at 525x350."""

from segkit.config import ref

num_classes, crop_size = 4, (384, 576)
runner = dict(type="MultiLabel", threshold=0.5, min_component=10_000)
metrics = [dict(type="MeanDice")]
train = dict(
    batch_size=16,
    workers=4,
    dataset=dict(type="Clouds", root=None, split="train"),
    transforms=[
        dict(type="Resize", size=ref("crop_size"), area=True),
        dict(type="Flip", direction=("horizontal", "vertical")),
        dict(type="RandomAffine", degrees=10.0, scale=(0.8, 1.2), shift=0.1),
        dict(type="BrightnessContrast", p=0.5),
    ],
)
val = dict(
    batch_size=16,
    workers=4,
    dataset=dict(type="Clouds", root=None, split="val", scored_size=(350, 525)),
    transforms=[dict(type="Resize", size=ref("crop_size"), area=True)],
)
test = dict(
    batch_size=16,
    workers=4,
    dataset=dict(type="Clouds", root=None, split="test", scored_size=(350, 525)),
    transforms=[dict(type="Resize", size=ref("crop_size"), area=True)],
)
