"""DFT*, VOC 15-1: 257 numbers train in the last step."""

_base_ = "finetune_voc_15-5.py"
task = "voc_15-1"
optimizer = dict(lr=0.02)
runner = dict(
    convention="csseg",
    init="reserved",
    train_only=[r"head\.classifier\.steps\.{new}\."],
    later=dict(optimizer=dict(lr=5e-4)),
)
