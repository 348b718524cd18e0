"""An eighth of CamVid's labels: 46 of the 367 training images, fold 0 of 8 of a fixed permutation; 180 steps.

The recipe of configs/unet/unet_efficientnet-lite0_camvid.py with smaller crops and fewer steps, in float32, since CPUs
without instructions for bf16 are slower with it.
"""

_base_ = ["../unet/unet_efficientnet-lite0_camvid.py"]
crop_size = (256, 352)
train = dict(
    dataset=dict(type="Fold", dataset=dict(type="CamVid", root=None, split="train"), folds=8, fold=0, only=True)
)
loop = dict(steps=180, amp="off", log_every=20, eval_every=0, save_every=60)
