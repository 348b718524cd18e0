"""DiscoBox, 36 epochs of batches of 16 (2 on each of 8 processes): SGD, half precision (loop.amp="off" on the CPU)."""

runner = dict(type="BoxSupervised", teacher_decay=0.999, teacher_start=13000)
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
schedule = dict(type="MultiStep", milestones=(33 / 36, 35 / 36), warmup=dict(steps=2000, factor=0.01))
loop = dict(epochs=36, clip=35.0, amp="fp16", monitor="segm.AP", eval_every=7330, save_every=1000)
