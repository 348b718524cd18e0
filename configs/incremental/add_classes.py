"""A class added to a trained checkpoint from images labelled for it alone: docs/incremental.md."""

_base_ = [
    "../_base_/models/unet_r34.py",
    "../_base_/datasets/folder.py",  # the checkpoint's model
    "../_base_/incremental/mib.py",
    "../_base_/schedules/sgd_20k.py",
]
root = "new_data"  # training masks: 3 is stone, 0 all else
classes, num_classes = ("ground", "crop", "weed", "stone"), 4
task, kd_weight, crop_size = None, 100.0, (384, 384)
runner = dict(steps=[["ground", "crop", "weed"], ["stone"]], background="ground", start="work_dirs/my/best.pt")
loop = dict(steps=2000, eval_every=500)
