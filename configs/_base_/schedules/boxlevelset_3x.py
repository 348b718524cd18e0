"""BoxLevelSet on COCO, 36 epochs of batches of 16 (2 on each of 8 processes): AdamW, no decay of normalizations."""

runner = dict(type="BoxSupervised")
optimizer = dict(type="AdamW", lr=1e-4, weight_decay=0.1, groups=[dict(kind="norm", decay=0)])
schedule = dict(type="MultiStep", milestones=(27 / 36, 33 / 36), warmup=dict(steps=2000, factor=0.01))
loop = dict(epochs=36, clip=1.0, monitor="segm.AP", eval_every=7330, save_every=1000)
