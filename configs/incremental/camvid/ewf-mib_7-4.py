"""EWF with MiB, CamVid 7-4."""

_base_ = "mib_7-4.py"
runner = dict(train_only=[r"^(?!head\.classifier\.)", r"head\.classifier\.steps\.{new}\."], fuse="endpoints")
