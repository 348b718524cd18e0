"""The twelve-minute study of losses on CamVid: focal loss, classes weighted by 1 / their share of the pixels."""

_base_ = ["unet_efficientnet-lite0_camvid.py"]
losses = [dict(type="Focal", on="logits", target="mask", alpha="balanced")]
loop = dict(steps=460, eval_every=460, save_every=120)
