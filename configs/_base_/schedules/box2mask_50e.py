"""Box2Mask-T on COCO, 50 epochs of batches of 16 (2 on each of 8 processes): AdamW, the backbone at a tenth of the
rate, no decay of normalizations and of what the queries start from."""

runner = dict(type="BoxSupervised", padding=128)
optimizer = dict(
    type="AdamW",
    lr=1e-4,
    weight_decay=0.05,
    groups=[
        dict(match=r"^backbone\.", lr=0.1),
        dict(kind="norm", decay=0),
        dict(match=r"^head\.(query_embedding|query_features|level_embedding)$", decay=0),
    ],
)
schedule = dict(type="MultiStep", milestones=(327778, 355092))
loop = dict(steps=368750, clip=0.01, monitor="segm.AP", eval_every=5000, save_every=1000)
