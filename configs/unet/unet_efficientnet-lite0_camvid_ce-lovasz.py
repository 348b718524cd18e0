"""The twelve-minute study of losses on CamVid: cross entropy and the Lovasz surrogate of the mean IoU."""

_base_ = ["unet_efficientnet-lite0_camvid.py"]
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="LovaszSoftmax", on="logits", target="mask"),
]
loop = dict(steps=260, eval_every=260, save_every=120)
