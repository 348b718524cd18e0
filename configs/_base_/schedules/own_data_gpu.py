"""For one's own data on a GPU: AdamW with a short warm-up, a linear fall, a moving average of the weights."""

optimizer = dict(type="AdamW", lr=1e-4, weight_decay=0.05, groups=[dict(kind="vector", decay=0.0)])
schedule = dict(type="Poly", power=1.0, warmup=dict(steps=20, factor=0.01))
loop = dict(steps=8000, amp="auto", channels_last=True, ema=0.999, clip=1.0, log_every=50, save_every=500)
