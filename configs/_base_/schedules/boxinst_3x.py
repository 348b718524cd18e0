"""BoxInst, 36 epochs of batches of 16 (2 on each of 8 processes): SGD."""

runner = dict(type="BoxSupervised")
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
schedule = dict(type="MultiStep", milestones=(27 / 36, 33 / 36), warmup=dict(steps=500, factor=0.001))
loop = dict(epochs=36, monitor="segm.AP", eval_every=7330, save_every=1000)
