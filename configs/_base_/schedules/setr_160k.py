"""160,000 steps of SGD without decay, as mmsegmentation trains SETR: heads at ten times the rate."""

optimizer = dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=0.0, groups=[dict(match=r"^(head|aux)\.", lr=10.0)])
schedule = dict(type="Poly", power=0.9, min_lr=1e-4)
loop = dict(steps=160000, eval_every=16000, save_every=16000)
