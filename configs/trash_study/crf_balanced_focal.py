"""The trash study on CamVid, row 6: row 3 with a dense CRF behind the network, as in pydensecrf's example.

Its training is that of row 3: `segkit test` on row 3's checkpoint with this file's section `inference` gives the row.
"""

_base_ = ["balanced_focal.py"]
inference = dict(
    refiners=[
        dict(
            type="DenseCRF",
            steps=5,
            position_weight=3.0,
            position_sigma=3.0,
            bilateral_weight=10.0,
            bilateral_sigma=80.0,
            color_sigma=13.0,
        )
    ]
)
