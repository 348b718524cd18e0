"""Dynamic Routing of 16 layers with budget C, Cityscapes; published: val mIoU 74.8, 59.8 G.

The budget sets in after 40 % of the training and rises over 2 %; 26,300 MFLOPs are those of 768 x 768 pixels.
"""

_base_ = ["dynamic_routing_l16_190k_cityscapes_768x768.py"]
model = dict(backbone=dict(small_gate=True))
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="FLOPsBudget", total=26300.0, share=0.2, weight=dict(value=0.5, after=76000, warmup=3800)),
]
