"""DKD, VOC 15-1."""

_base_ = [
    "../_base_/incremental/dkd_net.py",
    "../_base_/datasets/voc_incremental.py",
    "../_base_/incremental/dkd.py",
    "../_base_/schedules/mib_60e.py",
]
task = "voc_15-1"
_head = dict(match=r"^head\.", lr=10.0)
optimizer = dict(lr=1e-3, groups=[_head])
_old = dict(match=r"^(?!head\.classifier\.steps\.{new}\.)", decay=0.0)
runner = dict(later=dict(optimizer=dict(lr=1e-4, groups=[_head, _old])))
