"""Pascal VOC 2012 and SBD, 1,464 and 8,498 images, each once per epoch; crops with an object, no background."""

_base_ = "clicks_cocolvis.py"
min_area, keep_background = 80, 0.0
train = dict(
    dataset=dict(type="Concat", datasets=[dict(type="SBDClicks"), dict(type="VOCClicks")]),
    sampler=dict(type="Shuffle"),
)
