"""The twelve-minute study of losses on CamVid: cross entropy alone."""

_base_ = ["unet_efficientnet-lite0_camvid.py"]
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
loop = dict(steps=460, eval_every=460, save_every=120)
