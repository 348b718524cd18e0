"""DFT*, ADE20K 100-10: 30 epochs, then 60 at a high rate for the classifier alone."""

_base_ = [
    "../_base_/incremental/mib_net.py",
    "../_base_/datasets/ade20k_incremental.py",
    "../_base_/incremental/finetune.py",
    "../_base_/schedules/mib_30e.py",
]
task = "ade_100-10"
optimizer = dict(lr=0.02)
runner = dict(
    convention="csseg",
    init="reserved",
    train_only=[r"head\.classifier\.steps\.{new}\."],
    later=dict(optimizer=dict(lr=0.1), loop=dict(epochs=60)),
)
