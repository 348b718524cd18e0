"""ILT, CamVid 7-4."""

_base_ = "finetune_7-4.py"
runner = dict(
    start="work_dirs/finetune_7-4/step0/last.pt",
    losses=[
        dict(type="CrossEntropy", on="logits", target="mask", average="all"),
        dict(type="OldClassKD", weight=100.0),
        dict(type="FeatureMSE", on=["features.4", "teacher.features.4"], at="native", weight=100.0),
    ],
)
