"""The multi-task study on CamVid with weights of the losses that follow how fast they fall; a round has 50 steps."""

_base_ = ["presence_camvid.py"]
weighting = dict(type="DWA", every=50)
