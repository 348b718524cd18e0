"""Crops around COCO's boxes of more than 2,048 pixels, on which MAL learns; scores are of masks in the true boxes."""

from segkit.config import ref

num_classes, side = 1, 512  # an object in its box, whatever it is; another side is runner.side too
train = dict(
    batch_size=4,
    dataset=dict(
        type="BoxCrops",
        dataset=dict(type="COCOInstances", root=None, split="train2017", filtered=True),
        side=ref("side"),
    ),
    transforms=[
        dict(type="Flip"),
        dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, p=0.5),
        dict(type="Grayscale", p=0.2),
        dict(type="Blur", p=0.5),
    ],
)
val = dict(dataset=dict(type="COCOInstances", root=None, split="val2017"))
test = dict(dataset=dict(type="COCOInstances", root=None, split="val2017"))
metrics = [dict(type="MatchedMaskIoU")]
