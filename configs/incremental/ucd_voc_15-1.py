"""UCD, VOC 15-1: MiB, and contrast of pixels weighted by the teacher's certainty."""

_base_ = "mib_voc_15-1.py"
runner = dict(
    losses=[
        dict(type="UnbiasedCE"),
        dict(type="UnbiasedKD", weight=100.0),
        dict(type="UncertaintyContrast", weight=0.01, stride=2),
    ],
)
