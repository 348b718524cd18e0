"""One way to call each loss: constructor arguments and inputs by kind. B batch, K classes, H W image."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from segkit.registry import LOSSES, build

SEVERAL_TERMS = ("Detail", "MaskDistance")
"""Losses of one output that return their terms by name."""


class Summed(torch.nn.Module):
    """The sum of a loss of several terms, which is what is trained."""

    def __init__(self, loss: torch.nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, *values: Tensor) -> Tensor:
        return torch.stack(list(self.loss(*values).values())).sum()


@dataclass
class Case:
    """name: of the loss; kind: key of INPUTS; own: its constructor's arguments."""

    name: str
    kind: str = "index"
    own: dict = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.name + "".join(f"-{key}={value}" for key, value in self.own.items())

    def build(self) -> torch.nn.Module:
        loss = build(dict(type=self.name, **self.own), LOSSES, self.name)
        return Summed(loss) if self.name in SEVERAL_TERMS else loss

    def inputs(self, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> tuple[Tensor, list]:
        """-> the logits and what follows them."""
        rng = torch.Generator().manual_seed(seed)
        return INPUTS[self.kind](rng, dtype, scale)

    def nothing_valid(self, rest: list) -> list:
        """The same further inputs with every pixel of the target ignored."""
        changed = list(rest)
        changed[self.target_at] = torch.full_like(rest[self.target_at], self.ignored_value)
        return changed

    @property
    def target_at(self) -> int:
        """Place of the target among the inputs that follow the logits."""
        return 0 if self.kind == "focus" else -1

    @property
    def has_pixels(self) -> bool:
        """Whether each logit belongs to a pixel that the target can ignore."""
        return self.kind not in ("presence", "pairs", "features", "maps", "scores", "cost")

    @property
    def ignored_value(self) -> float:
        """What marks a pixel of the target that takes no part."""
        return {"soft": -1, "focus": -1, "distribution": 0}.get(self.kind, 255)


def _normal(rng: torch.Generator, shape: tuple, dtype: torch.dtype, scale: float) -> Tensor:
    return (torch.randn(shape, generator=rng, dtype=torch.float64) * 2 * scale).to(dtype)


def _index(rng: torch.Generator, num_classes: int, shape: tuple = (2, 8, 9)) -> Tensor:
    target = torch.randint(0, num_classes, shape, generator=rng)
    target[:, 2:4, :5] = 255
    return target


def _index_inputs(rng, dtype, scale):
    return _normal(rng, (2, 4, 8, 9), dtype, scale), [_index(rng, 4)]


def _distribution_inputs(rng, dtype, scale):
    target = torch.rand((2, 4, 8, 9), generator=rng).to(dtype)
    target = target / target.sum(1, keepdim=True)
    target[:, :, 2:4, :5] = 0
    return _normal(rng, (2, 4, 8, 9), dtype, scale), [target]


def _binary_inputs(rng, dtype, scale):
    return _normal(rng, (2, 1, 8, 9), dtype, scale), [_index(rng, 2)]


def _two_of_labels_inputs(rng, dtype, scale):
    return _normal(rng, (2, 2, 8, 9), dtype, scale), [_index(rng, 4)]


def _multilabel_inputs(rng, dtype, scale):
    return _normal(rng, (2, 3, 8, 9), dtype, scale), [_index(rng, 2, (2, 3, 9)).unsqueeze(2).repeat(1, 1, 8, 1)]


def _soft_inputs(rng, dtype, scale):
    target = torch.rand((2, 1, 8, 9), generator=rng).to(dtype)
    target = torch.where(torch.rand(target.shape, generator=rng) < 0.6, target.round(), target)
    target[:, :, 2:4, :5] = -1
    return _normal(rng, (2, 1, 8, 9), dtype, scale), [target]


def _focus_inputs(rng, dtype, scale):
    logits, (target,) = _soft_inputs(rng, dtype, scale)
    return logits, [target, (torch.rand(target.shape, generator=rng) < 0.3).to(dtype)]


def _presence_inputs(rng, dtype, scale):
    return _normal(rng, (2, 4), dtype, scale), [_index(rng, 4)]


def _teacher_inputs(rng, dtype, scale):
    return _normal(rng, (2, 4, 8, 9), dtype, scale), [_normal(rng, (2, 4, 8, 9), dtype, scale), _index(rng, 4)]


def _edge_inputs(rng, dtype, scale):
    return _normal(rng, (2, 4, 8, 9), dtype, scale), [_normal(rng, (2, 1, 8, 9), dtype, 2 * scale), _index(rng, 4)]


def _pairs_inputs(rng, dtype, scale):
    return _normal(rng, (2, 12, 12), dtype, scale), [_index(rng, 3)]


def _large_inputs(rng, dtype, scale):
    target = torch.randint(0, 3, (2, 7, 7), generator=rng).repeat_interleave(4, 1).repeat_interleave(4, 2)
    target[:, 8:12, :5] = 255
    return _normal(rng, (2, 3, 28, 28), dtype, scale), [target]


def _student_inputs(rng, dtype, scale):
    return _normal(rng, (2, 6, 8, 9), dtype, scale), [_normal(rng, (2, 4, 8, 9), dtype, scale), _index(rng, 6)]


def _features_inputs(rng, dtype, scale):
    return _normal(rng, (2, 4, 8, 9), dtype, scale), [_normal(rng, (2, 4, 8, 9), dtype, scale)]


def _maps_inputs(rng, dtype, scale):
    shapes = [(2, 4, 8, 9), (2, 3, 6, 5), (2, 3, 6, 5)]
    return _normal(rng, (2, 6, 8, 9), dtype, scale), [_normal(rng, shape, dtype, scale) for shape in shapes]


def _heads_inputs(rng, dtype, scale):
    return _normal(rng, (2, 5, 8, 9), dtype, scale), [_index(rng, 4)]


def _later_heads_inputs(rng, dtype, scale):
    return _normal(rng, (2, 7, 8, 9), dtype, scale), [_normal(rng, (2, 5, 8, 9), dtype, scale), _index(rng, 6)]


def _scores_inputs(rng, dtype, scale):
    shapes = [(2, 4, 8, 9), (2, 6, 8, 9), (2, 4, 8, 9)]
    return _normal(rng, (2, 6, 8, 9), dtype, scale), [_normal(rng, shape, dtype, scale) for shape in shapes]


def _cost_inputs(rng, dtype, scale):
    return _normal(rng, (2,), dtype, scale), []


INPUTS = {
    "index": _index_inputs,
    "distribution": _distribution_inputs,
    "binary": _binary_inputs,
    "two_of_labels": _two_of_labels_inputs,
    "multilabel": _multilabel_inputs,
    "soft": _soft_inputs,
    "focus": _focus_inputs,
    "presence": _presence_inputs,
    "teacher": _teacher_inputs,
    "edge": _edge_inputs,
    "pairs": _pairs_inputs,
    "large": _large_inputs,
    "student": _student_inputs,
    "features": _features_inputs,
    "maps": _maps_inputs,
    "heads": _heads_inputs,
    "later_heads": _later_heads_inputs,
    "scores": _scores_inputs,
    "cost": _cost_inputs,
}
WEIGHTS = [0.5, 1.0, 2.0, 0.75]
CASES = [
    Case("CrossEntropy"),
    Case("CrossEntropy", own=dict(class_weight=WEIGHTS, label_smoothing=0.1, average="global")),
    Case("CrossEntropy", "distribution", dict(class_weight=WEIGHTS)),
    Case("BinaryCrossEntropy"),
    Case("BinaryCrossEntropy", "multilabel", dict(pos_weight=[0.5, 2.0, 1.0], average="all")),
    Case("BinaryCrossEntropy", "soft", dict(ignore=-1, label_smoothing=0.1)),
    Case("BinaryCrossEntropy", own=dict(sum_classes=True, pos_weight=[2.0])),
    Case("BinaryCrossEntropy", own=dict(sum_classes=True, extra_pixels=1)),
    Case("Focal"),
    Case("Focal", own=dict(gamma=0.5, alpha=WEIGHTS)),
    Case("SigmoidFocal", own=dict(alpha=0.25)),
    Case("SigmoidFocal", own=dict(alpha=[0.1, 0.3, 0.5, 0.7], gamma=0.5, class_weight=WEIGHTS)),
    Case("SigmoidFocal", "multilabel", dict(reduced_threshold=0.5, alpha=0.25)),
    Case("SigmoidFocal", "binary", dict(normalized=True)),
    Case("BinaryFocal", "soft"),
    Case("BinaryFocal", "soft", dict(gamma=0.5, per_sample=False)),
    Case("NormalizedFocal", "soft"),
    Case("NormalizedFocal", "soft", dict(detach=False, max_mult=1.5)),
    Case("WeightedFocal", "focus"),
    Case("BoundaryCE", "soft"),
    Case("BoundaryCE", "binary", dict(average="all")),
    Case("SoftIoU", "soft"),
    Case("Dice"),
    Case("Dice", own=dict(squared=True, per_image=True, smooth=1.0, absent="count", log=True)),
    Case("Dice", "binary", dict(activation="sigmoid", absent="zero")),
    Case("Dice", own=dict(activation="sigmoid", joint=True)),
    Case("Jaccard", "multilabel", dict(activation="sigmoid", classes=[0, 2])),
    Case("Jaccard", own=dict(class_weight=WEIGHTS, per_image=True)),
    Case("Tversky"),
    Case("FocalTversky"),
    Case("FocalTversky", own=dict(gamma=1.5, of_mean=True)),
    Case("Combo"),
    Case("Combo", "binary", dict(alpha=0.7, beta=0.3)),
    Case("LovaszSoftmax"),
    Case("LovaszSoftmax", own=dict(per_image=True, only_present=False, class_weight=WEIGHTS, classes=[0, 3])),
    Case("LovaszHinge", "binary"),
    Case("LovaszHinge", "multilabel", dict(per_image=True, elu=True)),
    Case("OHEM", own=dict(min_kept=10)),
    Case("OHEM", own=dict(min_kept=20, threshold=None, per_image=True, loss=dict(type="SigmoidFocal"), average="all")),
    Case("OHEM", "binary", dict(min_kept=10, loss=dict(type="BinaryCrossEntropy"), average="valid")),
    Case("MCC", "binary"),
    Case("MCC", own=dict(activation="softmax")),
    Case("RMI", "large"),
    Case("RMI", "large", dict(stride=1, radius=2)),
    Case("RMI", "large", dict(extra_pixels=1)),
    Case("KLDistillation", "teacher", dict(temperature=2.0)),
    Case("UnbiasedCE", "student"),
    Case("UnbiasedCE", "student", dict(average="valid")),
    Case("UnbiasedKD", "student"),
    Case("UnbiasedKD", "student", dict(alpha=2.0, average="valid")),
    Case("UnbiasedKD", "teacher"),
    Case("OldClassKD", "student"),
    Case("OldClassKD", "student", dict(alpha=0.5, average="global")),
    Case("ICaRLDistillation", "student"),
    Case("ICaRLDisjoint", "student", dict(keep_void=False)),
    Case("ICaRLDisjoint", "student", dict(background=True, keep_void=False, average="valid")),
    Case("FeatureMSE", "features"),
    Case("PseudoLabelCE", "student", dict(thresholds=[0.1, 0.2, 0.15, 0.3])),
    Case("LocalPOD", "maps"),
    Case("NewClassBCE", "student", dict(ignored="left_out")),
    Case("NewClassBCE", "index", dict(ignored="left_out", skip=1, pos_weight=4.0)),
    Case("OldClassBCE", "features"),
    Case("DecomposedKD", "scores", dict(skip=1)),
    Case("AuxiliaryBCE", "cost"),
    Case("UnknownBCE", "heads", dict(unknown="salient", average="all")),
    Case("PseudoLabelBCE", "later_heads"),
    Case("PooledCube", "maps", dict(windows=[2, 3])),
    Case("ClassPresence", "presence"),
    Case("Affinity", "pairs", dict(size=(3, 4))),
    Case("BoundaryBCE", "binary", dict(per_image=True)),
    Case("BoundaryBCE", "binary", dict(of_labels=1, average="all")),
    Case("BoundaryBCE", "binary", dict(of_labels=1, in_disc=True, sigmoid_twice=True, average="all")),
    Case("ImageWeightedCrossEntropy"),
    Case("BoundaryBCE", "binary", dict(width=2, average="all")),
    Case("BoundaryOHEM", "edge", dict(min_kept=20)),
    Case("Detail", "two_of_labels"),
    Case("EdgeAttention", "edge"),
    Case("EdgeAttention", "edge", dict(sum_images=True)),
    Case("DualTask", "large", dict(radius=2)),
    Case("ProbabilityDualTask"),
    Case("SobelL1", "multilabel"),
    Case("MaskDistance", "binary", dict(bce=0.5, l1=0.25, l2=0.25)),
    Case("FLOPsBudget", "cost", dict(total=5.0, share=0.3)),
]
