"""STAR: each class is there or not on its own; features of the old classes are replayed from stored prototypes.

pos_weight: 4 on VOC, 30 on ADE20K. After the first step normalizations are fixed, and new outputs train at a hundred
times the encoder's rate.
"""

from segkit.config import ref

_base_ = ["../models/star_r101_os16.py", "../schedules/mib_60e.py", "finetune.py"]
pos_weight = 4.0
losses = [dict(type="NewClassBCE", on="logits", target="mask", pos_weight=ref("pos_weight"))]
optimizer = dict(lr=1e-3, groups=[dict(match=r"^head", lr=10.0)])
runner = dict(
    convention="dkd",
    init="random",
    evaluation_mode=True,
    losses=[
        dict(type="ReplayBCE", pos_weight=ref("pos_weight")),
        dict(type="PseudoRegionMSE", weight=5.0),
        dict(type="PrototypeContrast", weight=0.05),
    ],
    later=dict(
        optimizer=dict(
            lr=1e-4,
            groups=[dict(match=r"^head", lr=10.0), dict(match=r"classifier\.steps\.{new}\.", lr=10.0)],
        )
    ),
)
