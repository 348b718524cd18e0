"""COCO's panoptic annotations, things and with probability .3 stuff: 118,287 images; else as COCO+LVIS."""

_base_ = "clicks_cocolvis.py"
train = dict(dataset=dict(type="COCOPanopticClicks", stuff_prob=0.30))
