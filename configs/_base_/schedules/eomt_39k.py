"""EoMT: AdamW and poly, 500 steps of warm-up, which the encoder waits for before its own of 1,000 (batches of 16).

In the encoder each block trains at .8 of the rate of the next.
"""

optimizer = dict(
    type="AdamW",
    lr=1e-4,
    weight_decay=0.05,
    layer_decay=dict(rate=0.8, law="block_wise"),
    groups=[dict(match=r"^backbone\.", wait=500, warmup=1000)],
)
schedule = dict(type="Poly", power=0.9, warmup=dict(steps=500, factor=0.0, law="before"))
loop = dict(steps=39153, clip=0.01, amp="fp16", eval_every=2526, save_every=2526)
