"""Understanding clouds: U-Net on a ResNet-34, a sigmoid for each of 4 overlapping classes."""

_base_ = [
    "../_base_/models/unet_r34.py",
    "../_base_/datasets/clouds.py",
    "../_base_/schedules/masks_40e.py",
]
losses = [
    dict(type="BinaryCrossEntropy", on="logits", target="mask"),
    dict(type="Dice", activation="sigmoid", smooth=1.0, absent="count", on="logits", target="mask"),
]
