"""SSUL-M, CamVid 7-4: half of each batch is of 30 images of earlier steps."""

_base_ = "ssul_7-4.py"
runner = dict(memory=dict(size=30, rule="round_robin", mix="half"))
