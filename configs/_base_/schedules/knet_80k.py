"""80,000 steps of AdamW as K-Net: a tenth of the rate after 60,000 and after 72,000 steps; batches of 16."""

optimizer = dict(type="AdamW", lr=1e-4, weight_decay=5e-4)
schedule = dict(type="MultiStep", milestones=(60000, 72000), warmup=dict(steps=1000, factor=0.001))
loop = dict(steps=80000, clip=1.0, eval_every=8000, save_every=8000)
