"""Heads whose classifier gains outputs as classes are learned in steps. MiB, Cermelli et al., CVPR 2020,
https://arxiv.org/abs/2002.00718. K old classes, N new ones.

A classifier that has grown holds one convolution per step: `head.classifier.weight` becomes
`head.classifier.steps.0.weight`, the next step's is `head.classifier.steps.1.weight`. A checkpoint of the step before
is therefore loaded first, strictly, into a model of that step, which then grows:

    model = build_model(cfg["model"])       # num_classes of step 0; or type="GrowingSegmentor", grown=(1, 1)
    load_weights(model, checkpoint.read(path)["model"], path)
    grow(model, 5)
    init_balanced(model)
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segkit.models.segmentor import Segmentor
from segkit.registry import MODELS, ConfigError


class StepClassifier(nn.Module):
    """One convolution per step, all of one shape but for their outputs: [B,C,h,w] -> [B,K + N,h',w'].

    It computes them as a single convolution, so a long chain of steps costs no more than one classifier of its width.
    """

    def __init__(self, first: nn.Conv2d):
        super().__init__()
        self.steps = nn.ModuleList([first])

    @property
    def in_channels(self) -> int:
        """C."""
        return self.steps[0].in_channels

    @property
    def out_channels(self) -> int:
        """K + N."""
        return sum(step.out_channels for step in self.steps)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Outputs of each step."""
        return tuple(step.out_channels for step in self.steps)

    def add(self, num_new: int) -> None:
        """Adds a step with num_new outputs and the random weights of a fresh convolution."""
        first = self.steps[0]
        self.steps.append(
            nn.Conv2d(
                first.in_channels,
                num_new,
                first.kernel_size,
                first.stride,
                first.padding,
                first.dilation,
                bias=first.bias is not None,
                device=first.weight.device,
                dtype=first.weight.dtype,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,K + N,h',w'], the steps in order."""
        first = self.steps[0]
        weight = torch.cat([step.weight for step in self.steps])
        bias = None if first.bias is None else torch.cat([step.bias for step in self.steps])
        return F.conv2d(x, weight, bias, first.stride, first.padding, first.dilation)


def grow(model: nn.Module, num_new: int) -> None:
    """Adds num_new outputs, with fresh random weights, to the classifiers of a Segmentor.

    They are the head's and its auxiliary heads' `classifier` and, beside it, layers called `..._classifier` of as many
    outputs (OCRNet's coarse one, DANet's two): auxiliary losses need the new classes, too. ConfigError names a head
    that cannot grow. What counts classes otherwise (EncNet's presence of classes) stays as it is: its loss has to go.
    """
    if num_new < 1:
        raise ConfigError(f"a step of {num_new} new classes: there is nothing to learn")
    for head, name in _places(model):
        layer = getattr(head, name)
        if isinstance(layer, nn.Conv2d):
            layer = StepClassifier(layer)
            setattr(head, name, layer)
        layer.add(num_new)
    model.num_classes += num_new


def grow_to(model: nn.Module, sizes: Iterable[int]) -> None:
    """sizes: outputs of every step, the first those the model has without growing; grows by the steps it lacks."""
    own, wanted = sizes_of(model), tuple(sizes)
    if wanted[: len(own)] != own:
        raise ConfigError(f"the model has the steps {list(own)}, the task {list(wanted)}; it is of another task")
    for num_new in wanted[len(own) :]:
        grow(model, num_new)


def sizes_of(model: nn.Module) -> tuple[int, ...]:
    """-> outputs of each step; one number for a model that never grew."""
    layer = model.head.classifier
    return layer.sizes if isinstance(layer, StepClassifier) else (model.num_classes,)


def sizes_in(weights: dict[str, Tensor]) -> tuple[int, ...]:
    """weights: a model's state dict -> the same; () where it has no `head.classifier`."""
    first = weights.get("head.classifier.weight")
    if first is not None:
        return (len(first),)
    names = [f"head.classifier.steps.{i}.weight" for i in range(len(weights))]
    return tuple(len(weights[name]) for name in names if name in weights)


@torch.no_grad()
def init_balanced(model: nn.Module) -> None:
    """MiB's start of the newest step ("Classifiers' Parameters Initialization"): its weights are the background's, and
    its biases and the background's own become b - ln(N + 1). So the probability that the background had is shared
    evenly among it and the new classes, and no old class changes. The background is output 0."""
    for head, name in _places(model):
        layer = getattr(head, name)
        if not isinstance(layer, StepClassifier):
            raise ConfigError(f"{type(head).__name__}: its classifier has not grown; call grow(model, num_new) first")
        first, newest = layer.steps[0], layer.steps[-1]
        if first.bias is None:
            raise ConfigError(
                f"{type(head).__name__}: its classifier has no bias to balance; start from random weights"
            )
        lowered = first.bias[0] - math.log(newest.out_channels + 1)
        newest.weight.copy_(first.weight[:1].expand_as(newest.weight))
        newest.bias.fill_(lowered)
        first.bias[0] = lowered


@torch.no_grad()
def init_random(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draws the newest step anew as torch draws a convolution, what the other methods of MiB's table start from:
    weights and biases uniform within 1 / sqrt(fan in). generator: on the CPU."""
    for head, name in _places(model):
        newest = getattr(head, name).steps[-1]
        bound = newest.weight[0].numel() ** -0.5
        for parameter in newest.parameters():
            drawn = torch.rand(parameter.shape, generator=generator) * 2 - 1
            parameter.copy_(drawn * bound)


@torch.no_grad()
def add_background(model: nn.Module) -> None:
    """Puts an output for the background before those of a model that was trained without one; class k becomes k + 1.

    Its weights and bias are the mean of all others', so that its logit is the mean of theirs: it is never the largest
    and no prediction changes, and it is all the less probable the surer the model is.
    """
    for head, name in _places(model):
        layer = getattr(head, name)
        if isinstance(layer, StepClassifier):
            raise ConfigError(f"{type(head).__name__}: it has grown already; a background comes before the first step")
        for key, value in list(layer.named_parameters()):
            widened = torch.cat([value.mean(0, keepdim=True), value])
            setattr(layer, key, nn.Parameter(widened, requires_grad=value.requires_grad))
        layer.out_channels += 1
    model.num_classes += 1


def add_classes(model: nn.Module, num_new: int, *, has_background: bool = True) -> None:
    """A model trained on K classes, the first its background, is made ready to learn num_new more from images labelled
    for these alone. has_background=False: its classes are all objects, and a background is put before them."""
    if not has_background:
        add_background(model)
    grow(model, num_new)
    init_balanced(model)


@MODELS.register
class GrowingSegmentor(Segmentor):
    """A Segmentor after some steps of class-incremental learning. num_classes: outputs of step 0; grown: those that
    each later step added. A checkpoint of step t is read by a config with its `grown`, as every command does it."""

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        head: nn.Module,
        *,
        neck: nn.Module | None = None,
        aux: tuple[nn.Module, ...] = (),
        align_corners: bool = False,
        grown: tuple[int, ...] = (),
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        for num_new in grown:
            grow(self, num_new)


def _places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """-> (head, name of a layer that grows) of the head and all auxiliary heads."""
    if isinstance(model, DistributedDataParallel):
        raise ConfigError(
            "grow the model before DistributedDataParallel wraps it: new weights would not be synchronised"
        )
    heads = {"model.head": model.head, **{f"model.aux.{i}": head for i, head in enumerate(model.aux)}}
    return [(head, name) for at, head in heads.items() for name in _names(head, at)]


def _names(head: nn.Module, at: str) -> list[str]:
    layer = getattr(head, "classifier", None)
    is_plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    if not (is_plain or isinstance(layer, StepClassifier)):
        hint = "choose a head with one, or drop it where it is auxiliary"
        raise ConfigError(f"{at}: {type(head).__name__} cannot grow: it has no single last convolution; {hint}")
    others = [
        name
        for name, child in head.named_children()
        if name.endswith("_classifier") and getattr(child, "out_channels", None) == layer.out_channels
    ]
    return ["classifier", *others]
