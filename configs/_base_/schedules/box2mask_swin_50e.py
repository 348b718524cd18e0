"""Box2Mask-T on Swin and COCO, 50 epochs of batches of 32 (4 on each of 8 processes) at twice the rate."""

_base_ = "box2mask_50e.py"
optimizer = dict(
    lr=2e-4,
    groups=[
        dict(match=r"^backbone\.", lr=0.1),
        dict(kind="norm", decay=0),
        dict(match=r"^head\.(query_embedding|query_features|level_embedding)$", decay=0),
        dict(match=r"relative_position_bias_table$", decay=0),
    ],
)
schedule = dict(milestones=(163890, 177546))
loop = dict(steps=184376)
