"""STAR, CamVid 7-4, on the network of DKD without its auxiliary output; it has a first step of its own.

Positives weigh 4, as on VOC; the new outputs' rate is ten times the head's.
"""

_base_ = "dkd_7-4.py"
model = dict(readout="implicit", reasoning=False)
losses = [dict(type="NewClassBCE", on="logits", pos_weight=4.0)]
runner = dict(
    init="random",
    losses=[
        dict(type="ReplayBCE", pos_weight=4.0),
        dict(type="PseudoRegionMSE", weight=5.0),
        dict(type="PrototypeContrast", weight=0.05),
    ],
    later=dict(
        optimizer=dict(
            groups=[
                dict(match=r"^backbone", lr=0.25),
                dict(kind="norm", decay=0.0),
                dict(match=r"classifier\.steps\.{new}\.", lr=10.0),
            ]
        )
    ),
)
