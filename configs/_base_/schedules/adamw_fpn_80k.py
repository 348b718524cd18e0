"""80,000 steps of AdamW with the poly rate, as the Semantic FPN on Twins, 32 images a step by four processes."""

optimizer = dict(type="AdamW", lr=1e-4, weight_decay=1e-4)
schedule = dict(type="Poly", power=0.9, min_lr=1e-4)
loop = dict(steps=80000, eval_every=8000, save_every=8000)
