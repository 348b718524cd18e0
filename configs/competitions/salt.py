"""TGS salt: U-Net with scSE and hypercolumns on a ResNet-34; cross entropy, and a Lovász hinge of rising weight."""

_base_ = [
    "../_base_/models/unet_r34_scse.py",
    "../_base_/datasets/salt.py",
    "../_base_/schedules/masks_40e.py",
]
model = dict(head=dict(hypercolumns=True))
losses = [
    dict(type="BinaryCrossEntropy", on="logits", target="mask"),
    dict(type="LovaszHinge", elu=True, on="logits", target="mask", weight=dict(value=1.0, start=0.0, warmup=2000)),
]
