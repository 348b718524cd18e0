"""EWF with PLOP, VOC 15-1: old classifiers are frozen, and weights of before and after a step are fused."""

_base_ = "plop_voc_15-5.py"
task = "voc_15-1"
runner = dict(
    train_only=[r"^(?!head\.classifier\.)", r"head\.classifier\.steps\.{new}\."],
    fuse="endpoints",
)
