"""EWF with MiB, ADE20K 100-10."""

_base_ = "mib_ade_100-10.py"
setting = "overlapped"
runner = dict(
    convention="csseg",
    train_only=[r"^(?!head\.classifier\.)", r"head\.classifier\.steps\.{new}\."],
    fuse="endpoints",
)
