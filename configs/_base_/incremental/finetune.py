"""Class steps without a remedy against forgetting: plain cross entropy, a tenth of the rate after the first step.

setting: "overlapped", "disjoint" or "sequential"; a config over this base names the task.
"""

from segkit.config import ref

task, setting = "voc_15-5", "overlapped"
runner = dict(
    type="Incremental",
    task=ref("task"),
    setting=ref("setting"),
    init="random",
    losses=[dict(type="CrossEntropy", on="logits", target="mask", average="all")],
    later=dict(optimizer=dict(lr=1e-3)),
)
