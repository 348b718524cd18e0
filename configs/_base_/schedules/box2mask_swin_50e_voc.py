"""Box2Mask-T on Swin and Pascal VOC, 50 epochs of 10,582 images in batches of 32: half the steps of batches of 16."""

_base_ = "box2mask_swin_50e.py"
schedule = dict(milestones=(14695, 15920))
loop = dict(steps=16533, eval_every=1000)
