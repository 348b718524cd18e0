"""160,000 steps of AdamW as Mask2Former: the encoder at a tenth of the rate, no decay of normalizations and of what the
queries start from; batches of 16."""

optimizer = dict(
    type="AdamW",
    lr=1e-4,
    weight_decay=0.05,
    groups=[
        dict(match=r"^backbone\.", lr=0.1),
        dict(kind="norm", decay=0),
        dict(
            match=r"^head\.(query_embedding|query_features|level_embedding)$|relative_position_bias_table$",
            decay=0,
        ),
    ],
)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=160000, clip=0.01, amp="auto", eval_every=5000, save_every=5000)
