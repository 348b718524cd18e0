"""The full ADE20K, objects and their parts, with probability .3 stuff: 20,210 images; smaller objects count."""

_base_ = "clicks_cocolvis.py"
min_area = 80
train = dict(dataset=dict(type="ADE20KClicks", stuff_prob=0.30))
