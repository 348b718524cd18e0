"""EWF with MiB, VOC 15-1: as ewf_voc_15-1; the distillation weighs 10 for all tasks."""

_base_ = "mib_voc_15-5.py"
task = "voc_15-1"
runner = dict(
    convention="csseg",
    train_only=[r"^(?!head\.classifier\.)", r"head\.classifier\.steps\.{new}\."],
    fuse="endpoints",
)
