"""SIIM-ACR pneumothorax: U-Net with scSE on a ResNet-34; cross entropy, Dice and focal loss weighted 3 : 1 : 4.

The weights of the losses and the three thresholds are those of the winning solution,
https://github.com/sneddy/pneumothorax-segmentation. It samples images with a pneumothorax at a share that falls from
0.8 to 0.4; here the repeat factor shows each about twice as often as the others.
"""

_base_ = [
    "../_base_/models/unet_r34_scse.py",
    "../_base_/datasets/siim.py",
    "../_base_/schedules/masks_40e.py",
]
losses = [
    dict(type="BinaryCrossEntropy", on="logits", target="mask", weight=3.0),
    dict(type="Dice", activation="sigmoid", smooth=1.0, absent="count", on="logits", target="mask"),
    dict(type="SigmoidFocal", on="logits", target="mask", weight=4.0),
]
