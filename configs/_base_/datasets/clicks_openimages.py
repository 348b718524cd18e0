"""OpenImages V5: 944,000 images, one of an image's masks at a time; else as COCO+LVIS."""

_base_ = "clicks_cocolvis.py"
train = dict(dataset=dict(type="OpenImagesClicks"))
