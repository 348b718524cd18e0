"""LwF, VOC 15-5: the old outputs distilled from the model of the step before."""

_base_ = "finetune_voc_15-5.py"
runner = dict(
    losses=[
        dict(type="CrossEntropy", on="logits", target="mask", average="all"),
        dict(type="OldClassKD", weight=100.0),
    ]
)
