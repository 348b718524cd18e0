"""A backbone and a head of a few hundred parameters, and a run around them, for tests of everything else."""

from torch import Tensor, nn

from segkit.models.bases import Backbone, Head


class TinyBackbone(Backbone):
    """Two convolutions, features at strides 1 and 2."""

    mean, std = (127.5, 127.5, 127.5), (64.0, 64.0, 64.0)
    stem_channels, stem_stride = 8, 1

    def __init__(self, width: int = 8, dropout: float = 0.1):
        super().__init__()
        self.channels, self.strides = (width, width), (1, 2)
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        first = self.first(image)
        return [first, self.dropout(self.second(first))]


class TinyHead(Head):
    """A 1x1 classifier on the last feature map."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(in_channels[-1], num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        return {"logits": self.classifier(features[-1])}


def sections(**loop) -> dict:
    """The sections of a run of seconds on the embedded data set."""
    data = dict(type="Shapes", size=(32, 32), length=12)
    return dict(
        model=dict(
            num_classes=6,
            backbone=dict(type="tests.tiny:TinyBackbone"),
            head=dict(type="tests.tiny:TinyHead"),
            aux=[dict(type="tests.tiny:TinyHead")],
        ),
        losses=[
            dict(type="CrossEntropy", on="logits", target="mask"),
            dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4),
        ],
        train=dict(batch_size=2, workers=0, dataset=dict(**data, split="train"), transforms=[dict(type="Flip")]),
        val=dict(batch_size=1, workers=0, dataset=dict(**{**data, "length": 5}, split="val")),
        optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4, groups=[dict(kind="norm", decay=0.0)]),
        schedule=dict(type="Poly"),
        loop=dict(steps=6, log_every=2, save_every=3, **loop),
    )
