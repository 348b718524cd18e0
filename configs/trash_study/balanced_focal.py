"""The trash study on CamVid, row 3: focal loss, classes weighted by 1 / their share of the pixels."""

_base_ = ["base.py"]
losses = [dict(type="Focal", alpha="balanced")]
