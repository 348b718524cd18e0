"""Segmentors whose classifier gains outputs as classes are learned in steps (class-incremental learning).

MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718. K old classes, N new ones.

A classifier that has grown holds one convolution per step: `head.classifier.weight` becomes
`head.classifier.steps.0.weight`, the next step's is `head.classifier.steps.1.weight`. A checkpoint of the step before
is therefore loaded first, strictly, into a model of that step, which then grows:

    model = build_model(cfg["model"])       # num_classes of step 0; or type="GrowingSegmentor", grown=(1, 1)
    load_weights(model, checkpoint.read(path)["model"], path)
    grow(model, 5)
    init_balanced(model)
"""

import math
from collections.abc import Sequence
from typing import Annotated, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segkit.constraints.named import OneOf, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import bias_of
from segkit.models.readouts import READOUTS
from segkit.models.segmentor import Segmentor
from segkit.models.step_heads import StepHeads
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs

Pair: TypeAlias = tuple[int, int]
"""(rows, columns) of a convolution."""


class StepClassifier(nn.Module):
    """A classifier with one convolution per step, which differ only in their number of outputs.

    They are computed as a single convolution, so a long chain of steps costs no more than one classifier of its width.

    Args:
        first: the convolution of step 0.
    """

    def __init__(self, first: nn.Conv2d):
        super().__init__()
        self.steps = nn.ModuleList([first])

    @property
    def convs(self) -> Sequence[nn.Conv2d]:
        """The convolution of each step."""
        return cast(Sequence[nn.Conv2d], self.steps)

    @property
    def in_channels(self) -> int:
        """C, channels of the input."""
        return self.convs[0].in_channels

    @property
    def out_channels(self) -> int:
        """K + N, outputs of all steps together."""
        return sum(conv.out_channels for conv in self.convs)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Outputs of each step."""
        return tuple(conv.out_channels for conv in self.convs)

    def add(self, num_new: int) -> None:
        """Adds a step with num_new outputs and the random weights of a fresh convolution."""
        first = self.convs[0]
        self.steps.append(
            nn.Conv2d(
                first.in_channels,
                num_new,
                cast(Pair, first.kernel_size),
                cast(Pair, first.stride),
                cast(Pair, first.padding),
                cast(Pair, first.dilation),
                bias=first.bias is not None,
                device=first.weight.device,
                dtype=first.weight.dtype,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Computes the logits of all steps.

        Args:
            x: float [B,C,h,w].

        Returns:
            float [B,K + N,h',w'], the steps in order.
        """
        first = self.convs[0]
        weight = torch.cat([conv.weight for conv in self.convs])
        bias = None if first.bias is None else torch.cat([bias_of(conv) for conv in self.convs])
        return F.conv2d(x, weight, bias, first.stride, first.padding, first.dilation)


def grow(model: Segmentor, num_new: int) -> None:
    """Adds outputs with fresh random weights to the classifiers of a model, in place.

    These are the head's and its auxiliary heads' `classifier` and, beside it, layers called `..._classifier` with as
    many outputs (OCRNet's coarse one, DANet's two): auxiliary losses need the new classes, too. Other layers with one
    output per class (EncNet's presence of classes) do not change: their loss has to be removed.

    Args:
        model: the model.
        num_new: number of new outputs, at least 1.

    Raises:
        ConfigError: num_new is below 1, or a head cannot grow.
    """
    if num_new < 1:
        raise ConfigError(f"a step of {num_new} new classes: there is nothing to learn; give at least one")
    for head, name in _growing_layers(model):
        layer = getattr(head, name)
        if isinstance(layer, nn.Conv2d):
            layer = StepClassifier(layer)
            setattr(head, name, layer)
        layer.add(num_new)
    model.num_classes += num_new


def sizes_of(model: Segmentor) -> tuple[int, ...]:
    """Returns the outputs of each step of a model; a single number for a model that never grew."""
    layer = model.head.classifier
    return layer.sizes if isinstance(layer, StepClassifier | StepHeads) else (cast(nn.Conv2d, layer).out_channels,)


def sizes_in(weights: dict[str, Tensor]) -> tuple[int, ...]:
    """Returns the outputs of each step of the model whose state dict is given; () without `head.classifier`."""
    first = weights.get("head.classifier.weight")
    if first is not None:
        return (len(first),)
    is_hidden = "head.classifier.unknown.3.weight" in weights
    names = [f"head.classifier.steps.{i}.{'3.' if is_hidden else ''}weight" for i in range(len(weights))]
    sizes = [len(weights[name]) for name in names if name in weights]
    return (sizes[0] + 2, *sizes[1:]) if is_hidden and sizes else tuple(sizes)


@torch.no_grad()
def init_balanced(model: Segmentor) -> None:
    """Initializes the newest step as MiB does ("Classifiers' Parameters Initialization"), in place.

    The new weights are the background's, and the new biases and the background's own become b - ln(N + 1). So the
    background's probability is shared evenly among it and the new classes, and no old class changes. The background is
    output 0.

    Args:
        model: a model that has grown.

    Raises:
        ConfigError: the model has not grown, or its classifier has no bias.
    """
    for head, name in _growing_layers(model):
        layer = getattr(head, name)
        if not isinstance(layer, StepClassifier):
            raise ConfigError(f"{type(head).__name__}: its classifier has not grown; call grow(model, num_new) first")
        first, newest = layer.convs[0], layer.convs[-1]
        if first.bias is None:
            raise ConfigError(
                f"{type(head).__name__}: its classifier has no bias to balance; start from random weights"
            )
        lowered = first.bias[0] - math.log(newest.out_channels + 1)
        newest.weight.copy_(first.weight[:1].expand_as(newest.weight))
        bias_of(newest).fill_(lowered)
        first.bias[0] = lowered


@torch.no_grad()
def init_random(model: Segmentor, generator: torch.Generator | None = None) -> None:
    """Draws the newest step again as torch initializes a convolution, in place.

    The other methods of MiB's table start so: weights and biases are uniform within 1 / sqrt(fan in).

    Args:
        model: a model that has grown.
        generator: on the CPU; None for torch's own.
    """
    for head, name in _growing_layers(model):
        draw(getattr(head, name).steps[-1], generator)


@torch.no_grad()
def draw(newest: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draws the convolutions of a module as torch initializes them, in place.

    Args:
        newest: a convolution, or a module with some.
        generator: on the CPU; None for torch's own.
    """
    for conv in newest.modules():
        if isinstance(conv, nn.Conv2d):
            bound = conv.weight[0].numel() ** -0.5
            for parameter in conv.parameters():
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)


@torch.no_grad()
def init_auxiliary(model: Segmentor) -> None:
    """Makes the newest outputs copies of output 0, in place: DKD's auxiliary classifier, which says "no" everywhere.

    Args:
        model: a model that has grown, with readout="auxiliary".

    Raises:
        ConfigError: output 0 is no auxiliary classifier, or the model has not grown.
    """
    if not isinstance(model, GrowingSegmentor) or model.readout != "auxiliary":
        raise ConfigError("runner.init = 'auxiliary': copies the auxiliary output; set model.readout = 'auxiliary'")
    for head, name in _growing_layers(model):
        layer = getattr(head, name)
        if not isinstance(layer, StepClassifier):
            raise ConfigError(f"{type(head).__name__}: its classifier has not grown; call grow(model, num_new) first")
        for own, first in zip(layer.convs[-1].parameters(), layer.convs[0].parameters()):
            own.copy_(first[:1].expand_as(own))


@torch.no_grad()
def init_unknown(model: Segmentor) -> None:
    """Makes the head of the newest step a copy of the head for unknown objects, in place: SSUL.

    Args:
        model: a model that has grown, with heads of single steps.

    Raises:
        ConfigError: the model has no such heads.
    """
    for head, name in _growing_layers(model):
        layer = getattr(head, name)
        if not isinstance(layer, StepHeads):
            raise ConfigError(
                f"runner.init = 'unknown': {type(head).__name__} has no head for unknown objects; use "
                "model.head = dict(type='SSULHead')"
            )
        layer.copy_unknown()


@torch.no_grad()
def add_background(model: Segmentor) -> None:
    """Adds an output for the background before those of a model trained without one, in place; class k becomes k + 1.

    Its weights and bias are the mean of all others', so that its logit is the mean of theirs: it is never the largest
    and no prediction changes, and the more certain the model is, the less probable the background.

    Args:
        model: a model that has not grown.

    Raises:
        ConfigError: the model has grown already.
    """
    for head, name in _growing_layers(model):
        layer = getattr(head, name)
        if isinstance(layer, StepHeads):
            raise ConfigError(f"{type(head).__name__}: has an output for the background already")
        if isinstance(layer, StepClassifier):
            raise ConfigError(f"{type(head).__name__}: has grown already; add the background before the first step")
        for key, value in list(layer.named_parameters()):
            widened = torch.cat([value.mean(0, keepdim=True), value])
            setattr(layer, key, nn.Parameter(widened, requires_grad=value.requires_grad))
        layer.out_channels += 1
    model.num_classes += 1


def add_classes(model: Segmentor, num_new: int, *, has_background: bool = True) -> None:
    """Prepares a trained model for learning new classes from images labelled for these alone, in place.

    Args:
        model: trained on K classes.
        num_new: number of new classes.
        has_background: whether the first of the K classes is the background. False: all of them are objects, and a
            background is added before them.
    """
    if not has_background:
        add_background(model)
    grow(model, num_new)
    init_balanced(model)


@MODELS.register
class GrowingSegmentor(Segmentor):
    """A Segmentor after some steps of class-incremental learning.

    A checkpoint of step t is loaded into a model with the `grown` of that step; all commands do so.

    Args:
        num_classes: outputs of step 0.
        backbone, head, neck, aux, align_corners: as in Segmentor.
        grown: outputs that each later step added.
        reserved: outputs of the steps to come, which training sees and predictions do not.
        readout: what a prediction is made of: "classes" (output k is class k); "implicit" (no output for the
            background, which is where no sigmoid is above 0.5); "auxiliary" (the same behind DKD's auxiliary output);
            "unknown" (SSUL: outputs for unknown objects and the background, which are one class).
        reasoning: gives also the outputs "positive" and "negative", float [B,O,h,w], the logits by the positive and the
            negative weights alone, and "auxiliary", float [B,1,h,w], output 0 without a gradient to its input (DKD).
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        head: Head,
        *,
        neck: nn.Module | None = None,
        aux: tuple[Head, ...] = (),
        align_corners: bool = False,
        grown: tuple[PositiveInt, ...] = (),
        reserved: tuple[PositiveInt, ...] = (),
        readout: Annotated[str, OneOf(READOUTS)] = "classes",
        reasoning: bool = False,
    ):
        super().__init__(num_classes, backbone, head, neck=neck, aux=aux, align_corners=align_corners)
        for num_new in (*grown, *reserved):
            grow(self, num_new)
        self.readout, self.reasoning = readout, reasoning
        self.num_reserved = sum(reserved)
        self.num_classes -= READOUTS[readout].surplus + self.num_reserved
        self.gives_scores = self.gives_scores or READOUTS[readout].gives_scores
        self.reads_out = readout != "classes"

    def reveal(self, num_new: int) -> None:
        """Makes the next num_new of the reserved outputs classes that predictions name.

        Raises:
            ConfigError: there are not so many.
        """
        if num_new > self.num_reserved:
            raise ConfigError(f"a step of {num_new} new classes: the model has {self.num_reserved} reserved outputs")
        self.num_reserved -= num_new
        self.num_classes += num_new

    def maps(self, outputs: Outputs, size: tuple[int, int]) -> Tensor:
        """Returns what a semantic prediction is made of: the readout of the resized logits, float [B,K,H,W]."""
        return READOUTS[self.readout](super().maps(outputs, size))

    def outputs_of(
        self,
        features: list[Tensor],
        normalized: Tensor,
        window: Sequence[tuple[float, ...]] | None = None,
        proposals: Tensor | None = None,
    ) -> Outputs:
        """Runs neck and heads on the backbone's feature maps, see Segmentor; outputs of later steps in training alone.

        Raises:
            ConfigError: `reasoning` is asked of a head without an "embedding" or of heads with a hidden layer.
        """
        outputs = super().outputs_of(features, normalized, window, proposals)
        if self.reasoning:
            outputs |= _reasons(self.head, outputs)
        if self.num_reserved and not self.training:
            outputs["logits"] = outputs["logits"][:, : -self.num_reserved]
        return outputs


def _reasons(head: Head, outputs: Outputs) -> Outputs:
    """The outputs of GrowingSegmentor's `reasoning`."""
    layer = head.classifier
    if "embedding" not in outputs or not isinstance(layer, nn.Conv2d | StepClassifier):
        raise ConfigError(
            f"model.reasoning: {type(head).__name__} gives no 'embedding' that one last convolution classifies; choose "
            "another head"
        )
    convs = [layer] if isinstance(layer, nn.Conv2d) else list(layer.convs)
    weight, first = torch.cat([conv.weight for conv in convs]), convs[0]
    shape = (cast(Pair, first.stride), cast(Pair, first.padding), cast(Pair, first.dilation))
    embedding = outputs["embedding"]
    bias = None if first.bias is None else first.bias[:1]
    return {
        "positive": F.conv2d(embedding, weight.clamp_min(0), None, *shape),
        "negative": F.conv2d(embedding, weight.clamp_max(0), None, *shape),
        "auxiliary": F.conv2d(embedding.detach(), weight[:1], bias, *shape),
    }


def _growing_layers(model: Segmentor) -> list[tuple[nn.Module, str]]:
    """Head and name of each layer that grows, of the head and all auxiliary heads."""
    if isinstance(model, DistributedDataParallel):
        raise ConfigError(
            "grow the model before DistributedDataParallel wraps it: new weights would not be synchronised"
        )
    heads = {"model.head": model.head, **{f"model.aux.{i}": head for i, head in enumerate(model.aux)}}
    return [(head, name) for at, head in heads.items() for name in _layer_names(head, at)]


def _layer_names(head: nn.Module, at: str) -> list[str]:
    layer = getattr(head, "classifier", None)  # the base class has no default for it
    is_plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    if layer is None or not (is_plain or isinstance(layer, StepClassifier | StepHeads)):
        hint = "choose a head with one, or drop it where it is auxiliary"
        raise ConfigError(f"{at}: {type(head).__name__} cannot grow: it has no single last convolution; {hint}")
    others = [
        name
        for name, child in head.named_children()
        if name.endswith("_classifier") and getattr(child, "out_channels", None) == layer.out_channels
    ]
    return ["classifier", *others]
