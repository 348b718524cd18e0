"""120,000 steps of SGD with the poly rate down to 0, as mmsegmentation's DDRNet and PIDNet."""

optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="Poly", power=0.9)
loop = dict(steps=120000, eval_every=12000, save_every=12000)
