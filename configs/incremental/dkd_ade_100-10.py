"""DKD, ADE20K 100-10: 100 epochs a step, a fifth of them a warm-up."""

from segkit.config import ref

_base_ = [
    "../_base_/incremental/dkd_net.py",
    "../_base_/datasets/ade20k_incremental.py",
    "../_base_/incremental/dkd.py",
    "../_base_/schedules/mib_60e.py",
]
task, pos_weight = "ade_100-10", 35.0
losses = [dict(type="NewClassBCE", on="logits", skip=1, pos_weight=ref("pos_weight")), dict(type="AuxiliaryBCE")]
_head = dict(match=r"^head\.", lr=10.0)
optimizer = dict(lr=2.5e-3, groups=[_head])
schedule = dict(warmup=dict(steps=0.2, factor=0.001))
loop = dict(epochs=100)
_old = dict(match=r"^(?!head\.classifier\.steps\.{new}\.)", decay=0.0)
runner = dict(later=dict(optimizer=dict(lr=2.5e-4, groups=[_head, _old])))
