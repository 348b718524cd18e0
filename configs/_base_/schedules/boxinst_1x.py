"""BoxInst, 12 epochs of batches of 16."""

_base_ = "boxinst_3x.py"
schedule = dict(milestones=(8 / 12, 11 / 12))
loop = dict(epochs=12)
