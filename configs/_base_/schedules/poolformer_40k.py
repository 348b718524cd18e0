"""40,000 steps of AdamW as the Semantic FPN on PoolFormer, 32 images a step by four processes."""

optimizer = dict(type="AdamW", lr=2e-4, weight_decay=1e-4)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=40000, amp="auto", eval_every=4000, save_every=4000)
