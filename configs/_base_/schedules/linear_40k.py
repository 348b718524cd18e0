"""A linear head on a frozen encoder, 40,000 steps as for DINOv3: AdamW, warm-up, half a cosine to 0, batches of 16."""

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=1e-3, freeze="encoder")
schedule = dict(type="Cosine", warmup=dict(steps=1500, factor=0.0, law="before"))
loop = dict(steps=40000, eval_every=4000, save_every=4000)
inference = dict(mode="slide", crop=(512, 512), stride=(341, 341))
