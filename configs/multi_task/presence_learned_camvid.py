"""The multi-task study on CamVid with learned weights of the losses."""

_base_ = ["presence_camvid.py"]
weighting = dict(type="Uncertainty")
