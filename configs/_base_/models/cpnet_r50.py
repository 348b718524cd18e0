"""CPNet on a dilated ResNet-50, output stride 8; for images of 512x512: larger ones are scored by sliding windows."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50c", output_stride=8, pretrained=True),
    head=dict(type="CPHead", grid=(64, 64)),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Affinity", on="prior", target="mask", size=ref("model.head.grid")),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4),
]
inference = dict(mode="slide", crop=(512, 512), stride=(341, 341))
