"""Eight training images of a small part of COCO, with their medium and large objects, trained and scored on: what a
network that works learns by heart. coco_mini/ lies beside the other sets in COCO's layout."""

import os

_coco = os.path.join(os.environ.get("SEGKIT_DATA", "data"), "coco_mini")
_eight = dict(type="FewInstances", count=8, dataset=dict(type="COCOInstances", root=_coco, split="train2017"))
num_classes = 80
train = dict(
    batch_size=4,
    workers=1,
    dataset=_eight,
    transforms=[dict(type="BoxMasks"), dict(type="Resize", short=320, long=480), dict(type="Flip")],
)
val = dict(workers=0, dataset=_eight, transforms=[dict(type="Resize", short=320, long=480)])
metrics = [dict(type="CocoAP"), dict(type="CocoAP", filled=True), dict(type="MatchedMaskIoU")]
