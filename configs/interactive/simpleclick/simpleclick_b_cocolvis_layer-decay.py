"""SimpleClick on ViT-B, COCO+LVIS, with the published option of lower rates for lower layers.

The published code leaves the embedding of the clicks out of every group, so that it keeps its random start; to have it
so, append dict(match=r"^guide\\.", lr=0.0) to optimizer.groups. Here it trains.
"""

_base_ = "simpleclick_b_cocolvis.py"
optimizer = dict(
    weight_decay=0.02,
    layer_decay=dict(rate=0.75),
    groups=[
        dict(match=r"^backbone\.pos_embed$", decay=0.0),
        dict(match=r"^backbone\.", kind="vector", decay=0.0),
    ],
)
