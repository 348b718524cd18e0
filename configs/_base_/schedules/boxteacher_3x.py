"""BoxTeacher, 270,000 steps of batches of 16 (2 on each of 8 processes): SGD."""

_base_ = "boxteacher_1x.py"
schedule = dict(milestones=(210000, 250000))
loop = dict(steps=270000)
