"""DFT*, CamVid 7-4, from the first step of all; outputs of the steps to come begin with step 1."""

_base_ = "finetune_7-4.py"
runner = dict(
    start="work_dirs/finetune_7-4/step0/last.pt",
    init="reserved",
    train_only=[r"head\.classifier\.steps\.{new}\."],
    later=dict(optimizer=dict(lr=5e-3)),
)
