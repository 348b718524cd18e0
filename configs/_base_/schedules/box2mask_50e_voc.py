"""Box2Mask-T on Pascal VOC, 50 epochs of 10,582 images in batches of 16; else as on COCO."""

_base_ = "box2mask_50e.py"
schedule = dict(milestones=(29390, 31840))
loop = dict(steps=33065, eval_every=2000)
