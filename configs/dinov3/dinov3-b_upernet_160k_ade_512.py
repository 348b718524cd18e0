"""DINOv3-B trained with UPerNet, ADE20K. Its authors publish no such network: MAE's setting, rate .8."""

_base_ = [
    "../_base_/models/dinov3-s_upernet.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/layer_decay_160k.py",
]
model = dict(backbone=dict(name="vit_base_patch16_dinov3_qkvb"))
optimizer = dict(lr=1e-4, layer_decay=dict(rate=0.8))
inference = dict(mode="slide", crop=(512, 512), stride=(341, 341))
loop = dict(amp="auto")
