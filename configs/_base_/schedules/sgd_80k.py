"""80,000 steps of SGD with the poly rate, as mmsegmentation's schedule_80k."""

optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Poly", power=0.9, min_lr=1e-4)
loop = dict(steps=80000, eval_every=8000, save_every=8000)
