"""BoxLevelSet on Pascal VOC, 12 epochs of batches of 8."""

_base_ = "boxlevelset_3x_voc.py"
schedule = dict(milestones=(9 / 12, 11 / 12))
loop = dict(epochs=12)
