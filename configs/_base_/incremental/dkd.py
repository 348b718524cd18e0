"""DKD: old classes and their reasoning scores are kept, new ones start as the auxiliary output.

After the first step no normalization trains.
"""

from segkit.config import ref

_base_ = "finetune.py"
pos_weight = 1.0
runner = dict(
    convention="dkd",
    init="auxiliary",
    evaluation_mode=True,
    losses=[
        dict(type="NewClassBCE", skip=1, pos_weight=ref("pos_weight")),
        dict(type="OldClassBCE", skip=1, weight=5.0),
        dict(type="DecomposedKD", skip=1, weight=5.0),
        dict(type="AuxiliaryBCE"),
    ],
)
