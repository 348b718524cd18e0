"""DeepLabv3 on MobileNetV3-L at output stride 16, torchvision's network; its weights of COCO reach mIoU 60.3."""

_base_ = ["../_base_/models/lraspp_torchvision.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
model = dict(
    head=dict(type="DeepLabV3Head", channels=256, fuse_kernel=1, fuse_dropout=0.5, num_convs=1, dropout=0.0),
    aux=[dict(type="FCNHead", level=-3, channels=10)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.5),
]
