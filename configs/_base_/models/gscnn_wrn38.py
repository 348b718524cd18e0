"""Gated-SCNN on Wider ResNet-38 at output stride 8, with the losses of its authors' code.

They differ from that code in three ways: the first class has edges too, ignored pixels are left out of the edge loss,
and an image without a sure edge adds 0. The paper's own losses are BoundaryBCE with sigmoid_twice=False and DualTask.
"""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="WideResNet38", pretrained=None),
    head=dict(type="GatedSCNNHead"),
)
losses = [
    dict(type="ImageWeightedCrossEntropy", sum_images=True),
    dict(
        type="BoundaryBCE",
        on="edge",
        target="mask",
        weight=20.0,
        of_labels=2,
        in_disc=True,
        sigmoid_twice=True,
        average="all",
    ),
    dict(type="EdgeAttention", on=["logits", "edge"], sum_images=True),
    dict(type="ProbabilityDualTask", noise=True),
]
