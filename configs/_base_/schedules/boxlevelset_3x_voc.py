"""BoxLevelSet on Pascal VOC, 36 epochs of batches of 8 (2 on each of 4 processes); else as on COCO."""

_base_ = "boxlevelset_3x.py"
optimizer = dict(lr=5e-5)
schedule = dict(warmup=dict(factor=0.001))
loop = dict(eval_every=1323)
