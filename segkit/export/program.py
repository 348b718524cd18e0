"""Traces a graph by torch.export, with free sizes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram

from segkit.export.parts import EXAMPLE, Part
from segkit.files import shortened
from segkit.registry import ConfigError


@torch.no_grad()
def program_of(part: Part, place: str) -> ExportedProgram:
    """Traces the graph of a part.

    Args:
        part: what is exported.
        place: checkpoint, for messages.

    Raises:
        ConfigError: the network's graph depends on the size of the image, cannot be traced, or does not take the size.
    """
    size = part.info.size
    example = part.examples((size[0], size[1]) if size else EXAMPLE, 1 if part.info.batch else 2)
    shapes = {name: dict.fromkeys(dims, Dim.DYNAMIC) for name, dims in part.free.items()}
    if size:
        _try(part, example, place)
    try:
        with quietly():
            return torch.export.export(part.graph, example, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        reason = shortened(" ".join(str(error).split()), 300)
        remedy = "give the size that it shall take, --size H W" if not size else "this network cannot be exported"
        raise ConfigError(f"{place}: cannot be traced for {_named(size)} ({reason}); {remedy}") from error


def _named(size: list[int] | None) -> str:
    return f"images of {size[0]} x {size[1]} pixels" if size else "images of any size"


def _try(part: Part, example: tuple, place: str) -> None:
    try:
        part.graph(*example)
    except ConfigError:
        raise
    except Exception as error:
        assert part.info.size is not None
        height, width = part.info.size
        reason = shortened(" ".join(str(error).split()), 200)
        raise ConfigError(f"--size {height} {width}: the network of {place} does not take it ({reason})") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings that tell those who write exporters what they could change."""
    import logging
    import warnings

    names = ("torch.onnx", "torch.fx", "torch._export", "onnxscript", "torch.export", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
