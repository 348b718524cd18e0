"""318 images of COCO, in its layout (coco_mini/train2017, val2017, annotations), and Penn-Fudan; scored on GrabCut."""

import os

_coco = os.path.join(os.environ.get("SEGKIT_DATA", "data"), "coco_mini")
num_classes = 1
train = dict(
    batch_size=8,
    workers=1,
    dataset=dict(
        type="Concat",
        datasets=[
            dict(type="COCOClicks", root=_coco, split="train2017"),
            dict(type="COCOClicks", root=_coco, split="val2017"),
            dict(type="PennFudanClicks"),
        ],
    ),
    transforms=[
        dict(
            type="UntilObject",
            keep_background=0.05,
            min_area=500,
            transforms=[
                dict(type="RandomScaleCrop", low=0.5, high=1.2, size=(256, 320), centred=True),
                dict(type="Flip"),
                dict(type="Photometric"),
            ],
        ),
        dict(type="SampleClicks"),
    ],
)
val = dict(dataset=dict(type="GrabCut"), batch_size=8, workers=0)
metrics = [dict(type="NoC")]
