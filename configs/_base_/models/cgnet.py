"""CGNet M3N21; its images are less Cityscapes' mean, as the authors and mmsegmentation have them."""

from segkit.config import ref

class_weight = None  # one number per class
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="CGNet", mean=(72.39239876, 82.90891754, 73.15835921), std=(1.0, 1.0, 1.0)),
    head=dict(type="FCNHead", num_convs=0, dropout=0.0),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", class_weight=ref("class_weight"))]
