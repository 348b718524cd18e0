"""The trash study on CamVid, row 2: focal loss."""

_base_ = ["base.py"]
losses = [dict(type="Focal")]
