"""60,000 steps of Adam with the poly rate, as mmsegmentation's CGNet."""

optimizer = dict(type="Adam", lr=0.001, weight_decay=5e-4)
schedule = dict(type="Poly", power=0.9, min_lr=1e-4)
loop = dict(steps=60000, eval_every=4000, save_every=4000)
