"""The multi-task study on CamVid: the plain network, scored image by image as well, where absent classes count."""

_base_ = ["../unet/unet_efficientnet-lite0_camvid.py"]
losses = [dict(type="CrossEntropy"), dict(type="Jaccard")]
metrics = [dict(type="Confusion"), dict(type="Samplewise", absent="one")]
loop = dict(steps=250, eval_every=250, save_every=125)
