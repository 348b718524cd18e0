"""Half an hour on a GPU, or one of little memory: semantic FPN on ConvNeXt-Nano."""

_base_ = ["../_base_/models/semfpn_r50.py", "../_base_/datasets/labelled.py", "../_base_/schedules/own_data_gpu.py"]
model = dict(
    backbone=dict(type="Timm", name="convnext_nano.in12k_ft_in1k", pretrained=True, norm_levels=(-4, -3, -2, -1))
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
]
optimizer = dict(lr=4e-4, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="vector", decay=0.0)])
