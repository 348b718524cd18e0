"""MiB, CamVid 7-4."""

from segkit.config import ref

_base_ = "finetune_7-4.py"
kd_weight = 10.0
runner = dict(
    start="work_dirs/finetune_7-4/step0/last.pt",
    init="balanced",
    losses=[dict(type="UnbiasedCE"), dict(type="UnbiasedKD", weight=ref("kd_weight"))],
)
