"""DiscoBox on Pascal VOC, 36 epochs of batches of 8 (2 on each of 4 processes) at half the rate."""

_base_ = "discobox_3x.py"
optimizer = dict(lr=0.005)
loop = dict(eval_every=1323)
