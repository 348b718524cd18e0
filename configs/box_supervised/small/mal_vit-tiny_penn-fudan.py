"""Pedestrians' masks from boxes on two CPU cores: MAL on a small Vision Transformer of random weights."""

from segkit.config import ref

_base_ = ["../../_base_/models/mal_vit-b.py", "../../_base_/datasets/coco_box_crops.py"]
side = 128
train = dict(
    batch_size=8,
    dataset=dict(dataset=dict(type="PennFudanInstances", root=None, split="train", filtered=True)),
)
val = dict(dataset=dict(type="PennFudanInstances", root=None, split="test"))
test = dict(dataset=dict(type="PennFudanInstances", root=None, split="test"))
model = dict(size="tiny", pretrained=None)
losses = [dict(type="MAL", mil_warm_up=50, crf_warm_up=200)]
runner = dict(side=ref("side"))
optimizer = dict(type="AdamW", lr=2e-4, betas=(0.9, 0.9), weight_decay=5e-4)
schedule = dict(type="Cosine", min_lr=4e-5, warmup=dict(steps=0.1, factor=0.0, law="before"))
loop = dict(
    steps=1200,
    amp="auto",
    clip=1.0,  # not the paper's, which starts from trained weights
    ema=0.996,
    ema_rise=1,
    ema_buffers=False,
    log_every=25,
    save_every=100,
    eval_every=300,
    monitor="matched.mask_IoU",
)
