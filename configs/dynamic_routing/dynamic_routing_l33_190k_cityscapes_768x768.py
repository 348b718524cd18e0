"""Dynamic Routing of 33 layers, Cityscapes, without a budget; published: val mIoU 79.4, 243.1 G, from ImageNet weights.

The rates are those of a network that starts from weights: init.path=FILE names them.
"""

_base_ = ["dynamic_routing_l16_190k_cityscapes_768x768.py"]
model = dict(backbone=dict(layers=33))
optimizer = dict(lr=0.02, groups=[dict(kind="norm", decay=0.0), dict(match=r"\.gate\.", lr=2.5)])
