"""MiB: both losses count what a step does not label as background. kd_weight: 100 where most steps add one class."""

from segkit.config import ref

_base_ = "finetune.py"
kd_weight = 10.0
runner = dict(
    init="balanced",
    losses=[dict(type="UnbiasedCE"), dict(type="UnbiasedKD", weight=ref("kd_weight"))],
)
