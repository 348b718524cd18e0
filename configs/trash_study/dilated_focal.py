"""The trash study on CamVid, row 5: a dilated convolution instead of max pooling, and focal loss."""

_base_ = ["dilated.py"]
losses = [dict(type="Focal")]
