"""ILT, VOC 15-5: distilled outputs and features."""

_base_ = "finetune_voc_15-5.py"
runner = dict(
    losses=[
        dict(type="CrossEntropy", on="logits", target="mask", average="all"),
        dict(type="OldClassKD", weight=100.0),
        dict(type="FeatureMSE", on=["features.3", "teacher.features.3"], at="native", weight=100.0),
    ]
)
