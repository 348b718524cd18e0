"""SSUL-M, VOC 15-1: half of each batch is of 100 images of earlier steps."""

_base_ = "ssul_voc_15-1.py"
runner = dict(memory=dict(size=100, rule="round_robin", mix="half"))
