"""The blocks of encoders, which a sharded training gathers one at a time, and which can be computed again."""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

BLOCK = r"(?:stages?|layers?|s)[._]?\d+\.(?:blocks\.|b)?\d+\.|blocks\.\d+\.(?:\d+\.)?"
"""A block by the beginning of its name: blocks.3., blocks.2.0., stages_1.blocks.0., layer4.1., s2.b1. ..."""

WRAPPERS = r"(?:encoder\.)?(?:model\.)?"
"""What stands before these names where a backbone holds another project's encoder."""

OTHER_BLOCKS = r"features_denseblock\d+\.denselayer\d+\.|blocks_\d+\.|mod\d+\.block\d+\.|(?:down|refine)\.\d+\."
"""Blocks by other names: DenseNet, Xception, the ResNets of in-place batch norm, PlainEncoder."""

RUNNING = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of batch normalizations that each batch changes."""

_NAME = re.compile(f"^{WRAPPERS}(?:{BLOCK}|{OTHER_BLOCKS})")


def blocks_by_name(encoder: nn.Module) -> dict[str, nn.Module]:
    """Returns the blocks of an encoder by their paths, in its order, found by the names of its parameters."""
    found = (match[0].removesuffix(".") for name, _ in encoder.named_parameters() if (match := _NAME.match(name)))
    return {path: encoder.get_submodule(path) for path in dict.fromkeys(found)}


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Makes blocks keep only their inputs for the backward pass, which computes their activations again.

    Chen et al., 2016, https://arxiv.org/abs/1604.06174. Random numbers are drawn again as they were, and batch
    normalizations count each batch once, so that no number of a training changes.

    Args:
        blocks: called by `block(...)`, with any arguments. Those that do so already stay as they are.
    """
    for block in blocks:
        if not isinstance(block.__dict__.get("forward"), _Recomputed):
            block.forward = _Recomputed(block)  # type: ignore[method-assign, assignment]


class _Recomputed:
    """The forward of a block whose activations are computed again.

    It stands in place of the method, and not of the module as torch's wrapper does, so that names of parameters stay.
    """

    def __init__(self, block: nn.Module):
        self.block = block

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = partial(type(self.block).forward, self.block)
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        norms = [m for m in self.block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
        if not norms:
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, norms), **kwargs)


def _contexts(norms: list[_BatchNorm]) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of the first and of the second computation."""
    return nullcontext(), _uncounted(norms)


@contextmanager
def _uncounted(norms: list[_BatchNorm]) -> Iterator[None]:
    """Normalizes by the statistics of the batch and leaves the running ones, which have seen the batch already."""
    counted = [{name: getattr(norm, name) for name in RUNNING} for norm in norms]
    for norm, buffers in zip(norms, counted):
        for name, value in buffers.items():
            setattr(norm, name, None if value is None else value.clone())  # what is written to them is dropped
    try:
        yield
    finally:
        for norm, buffers in zip(norms, counted):
            for name, value in buffers.items():
                setattr(norm, name, value)
