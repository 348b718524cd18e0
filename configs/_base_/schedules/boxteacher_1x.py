"""BoxTeacher, 90,000 steps of batches of 16 (2 on each of 8 processes): SGD."""

runner = dict(type="BoxTeacher")
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4, groups=[dict(kind="norm", decay=0)])
schedule = dict(type="MultiStep", milestones=(60000, 80000), warmup=dict(steps=1000, factor=0.001))
loop = dict(steps=90000, ema=0.999, ema_rise=2, ema_buffers=False, monitor="segm.AP", eval_every=10000, save_every=1000)
