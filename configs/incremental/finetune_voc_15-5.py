"""Fine-tuning, VOC 15-5: the lower bound."""

_base_ = [
    "../_base_/incremental/mib_net.py",
    "../_base_/datasets/voc_incremental.py",
    "../_base_/incremental/finetune.py",
    "../_base_/schedules/mib_30e.py",
]
