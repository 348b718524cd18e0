"""Dynamic Routing with 33 layers, without a budget."""

_base_ = ["dynamic_routing_l16.py"]
model = dict(backbone=dict(layers=33))
