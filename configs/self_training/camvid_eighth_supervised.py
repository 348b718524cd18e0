"""An eighth of CamVid's labels: 46 of the 367 training images, fold 0 of 8 of a fixed permutation; 400 steps.

Semantic FPN by the recipe of configs/camvid_study, on images of half the size, so that 400 steps, which see each of the
46 images seventy times, take minutes on two CPU cores. With fewer steps an eighth of the labels is as good as all.
"""

from segkit.config import ref

_base_ = ["../camvid_study/fpn.py"]
crop_size = (176, 240)
train = dict(
    dataset=dict(type="Fold", dataset=dict(type="CamVid", root=None, split="train"), folds=8, fold=0, only=True),
    transforms=[
        dict(type="RandomScaleCrop", low=0.3, high=0.8, size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
_half = [dict(type="Resize", size=(180, 240))]
val = dict(transforms=_half)
test = dict(transforms=_half)
loop = dict(steps=400, amp="off", log_every=50, eval_every=0, save_every=100)
