"""Which graphs a trained model is exported as, with their names, examples and descriptions."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from segkit import __version__
from segkit.data.transforms.sizes import as_size
from segkit.export.graph import (
    ClickDecoder,
    ClickEncoder,
    InstanceGraph,
    MapGraph,
    MapRules,
    Output,
    in_half,
    is_encoded_once,
)
from segkit.models.bases import InstanceHead, Network
from segkit.models.click_segmentor import ClickSegmentor
from segkit.registry import ConfigError
from segkit.runners.base import Runner
from segkit.runners.ensemble import Ensemble, runner_of
from segkit.runners.inputs import reading_options
from segkit.runners.instances.runner import BoxSupervised
from segkit.runners.large import window_of
from segkit.runners.multi_label import MultiLabel
from segkit.runners.semantic import Semantic
from segkit.runtime.metadata import GraphInfo
from segkit.settings import ClickInference, InferenceSettings

Precision = Literal["float32", "float16", "int8"]
WORDS = ("resize", "probabilities", "argmax")
"""What --with names: maps at the image's size, probabilities in place of logits, labels."""

EXAMPLE = (160, 288)
"""Height and width with which a graph for any size is traced. Maps of stride 128 still have sides above 1, which an
export would take for fixed, and unlike."""


@dataclass(frozen=True)
class Request:
    """What is asked of an export.

    Attributes:
        precision: of the graph that is written; int8 is made of a float32 graph.
        size: (height, width) that the graph takes alone, None for any.
        words: of WORDS.
        made: the command, for the metadata.
        source: SHA-256 of the checkpoint.
    """

    precision: Precision = "float32"
    size: tuple[int, int] | None = None
    words: Sequence[str] = ("resize",)
    made: str = ""
    source: str = ""


@dataclass(frozen=True)
class Part:
    """One graph to export.

    Attributes:
        name: "" of a model with one graph, else "encoder" or "decoder".
        graph: in evaluation mode.
        plain: the same graph in float32, as training and `segkit predict` run it.
        info: what the file says about itself.
        free: of each input the dimensions that any number may have.
        features: channels and stride of the map that a decoder of clicks takes; None where it is the image itself.
    """

    name: str
    graph: nn.Module
    plain: nn.Module
    info: GraphInfo
    free: dict[str, tuple[int, ...]]
    features: tuple[int, int] | None = None

    def examples(self, size: tuple[int, int], batch: int) -> tuple[Tensor, ...]:
        """Returns inputs of an image size, of seeded noise, in the order of info.inputs."""
        generator = torch.Generator().manual_seed(size[0] + batch)
        image = torch.randint(0, 256, (batch, self.info.channels, *size), dtype=torch.uint8, generator=generator)
        image = image.to(getattr(torch, self.info.dtype))
        height, width = size
        rows = [[height / 3, width / 2, 1.0], [height - 1.0, 0.0, 0.0], [3.0, width - 2.0, 1.0], [-1.0, -1.0, 1.0]]
        features = image[:, :3].float() / 64 - 2
        if self.features is not None:
            channels, stride = self.features
            cells = (-(-height // stride), -(-width // stride))
            features = torch.randn(batch, channels, *cells, generator=generator)
        given = {
            "image": image,
            "features": features,
            "clicks": torch.tensor(rows).expand(batch, -1, -1).contiguous(),
            "previous": image[:, :1].float() / 255,
        }
        return tuple(given[name] for name in self.info.inputs)


def parts_of(model: Network, request: Request, channels_dtype: str = "uint8") -> list[Part]:
    """Returns the graphs that a model is exported as.

    Args:
        model: of load_model; it is not changed.
        request: what is asked.
        channels_dtype: "uint8", or "float32" for images that have other values.

    Raises:
        ConfigError: this kind of model cannot be exported, or not so.
    """
    if isinstance(model, Ensemble):
        raise ConfigError("several checkpoints: a file holds one network; export each, or average their weights")
    unknown = [word for word in request.words if word not in WORDS]
    if unknown:
        raise ConfigError(f"--with {','.join(request.words)}: '{unknown[0]}' is unknown; it can be {', '.join(WORDS)}")
    plain = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    model = in_half(copy.deepcopy(plain)) if request.precision == "float16" else plain
    if isinstance(model, ClickSegmentor):
        return _click_parts(model, cast(ClickSegmentor, plain), request)
    runner = runner_of(model)
    if isinstance(runner, BoxSupervised):
        return [_instances(model, plain, runner, request, channels_dtype)]
    if not isinstance(runner, Semantic) or not hasattr(model, "head"):
        raise ConfigError(
            f"runner {type(runner).__name__} with model {type(model).__name__}: cannot be exported; label maps, "
            "overlapping classes, instances and click models of one network can"
        )
    return [_maps(model, plain, runner, request, channels_dtype)]


def _maps(model: Network, plain: Network, runner: Semantic, request: Request, dtype: str) -> Part:
    settings = runner.inference
    is_scores = model.gives_scores
    is_multi_label = isinstance(runner, MultiLabel)
    if settings.refiners or settings.tta:
        key = "refiners" if settings.refiners else "tta"
        print(f"note: inference.{key} is no part of the exported graph, which is the network alone")
    output = _output(request.words, is_multi_label, is_scores)
    decision = dataclasses.asdict(runner.decision) if isinstance(runner, MultiLabel) else {}
    resized = "resize" in request.words or is_scores or model.reads_out
    if output == "labels" and not resized:
        print("note: labels without `resize` are those of the network's output, which is smaller than the image")
    rules = MapRules(output, resized, is_multi_label, settings.threshold, settings.pad_divisor)
    task: Literal["multi_label", "semantic"] = "multi_label" if is_multi_label else "semantic"
    info = replace(
        _info(model, request, settings, dtype),
        task=task,
        output=output,
        outputs=[output],
        resized=resized,
        threshold=settings.threshold,
        decision=decision,
        scores=is_scores,
        divisor=settings.pad_divisor,
    )
    free: dict[str, tuple[int, ...]] = {"image": (0,) if request.size else (0, 2, 3)}
    return Part("", MapGraph(model, rules).eval(), MapGraph(plain, rules).eval(), info, free)


def _output(words: Sequence[str], is_multi_label: bool, is_scores: bool) -> Output:
    if "argmax" in words and is_multi_label:
        raise ConfigError("--with argmax: classes that overlap have no single label; use --with resize,probabilities")
    if "argmax" in words and "probabilities" in words:
        raise ConfigError("--with probabilities,argmax: a graph gives one of both; name one")
    if "argmax" in words:
        return "labels"
    return "probabilities" if is_scores or "probabilities" in words else "logits"


def _instances(model: Network, plain: Network, runner: BoxSupervised, request: Request, dtype: str) -> Part:
    if not isinstance(model.head, InstanceHead):
        raise ConfigError(f"model.head = {type(model.head).__name__}: finds no instances, so that none can be exported")
    if request.words and set(request.words) != {"resize"}:
        raise ConfigError(f"--with {','.join(request.words)}: instances are masks already; leave it out")
    color = runner.padding
    info = replace(
        _info(model, request, runner.inference, dtype),
        task="instances",
        outputs=["masks", "scores", "labels", "boxes"],
        batch=1,
        divisor=runner.divisor,
        slide=None,
    )
    graphs = [InstanceGraph(network, runner.divisor, color).eval() for network in (model, plain)]
    return Part("", graphs[0], graphs[1], info, {"image": () if request.size else (2, 3)})


def _click_parts(model: ClickSegmentor, plain: ClickSegmentor, request: Request) -> list[Part]:
    if set(request.words) - {"resize"}:
        raise ConfigError(
            f"--with {','.join(request.words)}: click models give probabilities of the object; leave it out"
        )
    if model.takes:
        raise ConfigError(
            f"model.type = {type(model).__name__}: refines parts of the image that follow from each answer, which a "
            "graph cannot; export a ClickSegmentor"
        )
    clicks = ClickInference(**((getattr(model, "config", None) or {}).get("inference") or {}).get("clicks", {}))
    base = replace(_info(model, request, InferenceSettings(), "uint8"), threshold=clicks.threshold)
    spatial = () if request.size else (2, 3)
    encoder = replace(base, task="clicks_encoder", output="logits", outputs=["features"])
    inputs = ["features", "clicks", *(["previous"] if model.has_previous else [])]
    decoder = replace(base, task="clicks_decoder", output="probabilities", inputs=inputs, outputs=["probabilities"])
    free = {"features": (0, *spatial), "clicks": (0, 1), "previous": (0, *spatial)}
    return [
        Part("encoder", ClickEncoder(model).eval(), ClickEncoder(plain).eval(), encoder, {"image": (0, *spatial)}),
        Part(
            "decoder",
            ClickDecoder(model).eval(),
            ClickDecoder(plain).eval(),
            decoder,
            {name: free[name] for name in inputs},
            (plain.backbone.channels[-1], plain.backbone.strides[-1]) if is_encoded_once(plain) else None,
        ),
    ]


def _info(model: Network, request: Request, settings: InferenceSettings, dtype: str) -> GraphInfo:
    slide = None
    if settings.mode == "slide" and settings.crop is not None and settings.stride is not None:
        crop = as_size(settings.crop, "inference.crop")
        stride = [] if settings.stride == "even" else list(as_size(settings.stride, "inference.stride"))
        slide = {"crop": list(crop), "stride": stride}
    config = getattr(model, "config", None) or {}
    reading = {
        name: value for name, value in reading_options(config).items() if value is not None and value is not False
    }
    return GraphInfo(
        task="semantic",
        classes=[str(name) for name in model.classes or ()] if hasattr(model, "classes") else [],
        palette=[[int(value) for value in color] for color in model.palette or ()] if hasattr(model, "palette") else [],
        channels=int(model.mean.shape[1]),
        dtype=dtype,
        size=list(request.size) if request.size else None,
        precision=request.precision,
        slide=slide,
        large=dict(zip(("crop", "stride"), map(list, window_of(config)))),
        mean=[round(float(value), 4) for value in model.mean.flatten()],
        reading=reading,
        segkit_version=__version__,
        made=request.made,
        source=request.source,
    )


def dtype_of(runner: Runner, model: Network) -> str:
    """Returns the type of the images that a model reads: "uint8", or "float32" where its mean is not of 0..255."""
    return "uint8" if float(model.mean.max()) > 2 else "float32"
