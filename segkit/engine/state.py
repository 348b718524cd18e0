"""What an exact continuation of a training needs, in one dict: the content of its checkpoints."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit import __version__, dist
from segkit.config import plain_values
from segkit.engine.optim import all_finite
from segkit.engine.process import rng_state
from segkit.engine.terms import NonFiniteLoss

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


def state_of(loop: "Loop", *, alone: bool = False) -> dict[str, Any]:
    """Returns the state of a training; of a sharded one weights are this process's parts.

    Args:
        loop: between two steps.
        alone: whether this process calls it without the others, whose random states are then missing.

    Raises:
        NonFiniteLoss: a weight is not finite.
    """
    loop.drain(alone=alone)
    if not all_finite([*loop.raw_model.state_dict().values()]):
        raise NonFiniteLoss(
            f"a weight is not finite after step {loop.step}; not saved. Lower optimizer.lr or set loop.clip"
        )
    state = dict(
        model=loop.raw_model.state_dict(),
        optimizer=loop.optimizer.state_dict(),
        scaler=loop.scaler.state_dict(),
        criterion=loop.criterion.state_dict(),
        runner=loop.runner.state_dict(),
        step=loop.step,
        stage=loop.stage_number,
        best=loop.best,
        unimproved=loop.unimproved,
        scored=loop.scored_step,
        images=len(loop.dataset),
        processes=dist.world_size(),
        rng=[rng_state()] if alone else dist.gather_objects(rng_state()),
        config=plain_values(loop.stage_cfg),
        classes=list(loop.dataset.classes),
        palette=[list(color) for color in loop.dataset.palette],
        segkit_version=__version__,
    )
    return state | ({"ema": loop.ema.module.state_dict()} if loop.ema else {})


def whole(value: Any, *, everywhere: bool = False) -> Any:
    """Gathers all tensors of a state that processes share out among them; every process calls it.

    Args:
        value: a tensor, or dicts and lists with tensors in them.
        everywhere: whether every process keeps them; else the main one alone, and the others get empty ones.

    Returns:
        The same with whole tensors, on the CPU where they were shared out.
    """
    if isinstance(value, dict):
        return {key: whole(inner, everywhere=everywhere) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [whole(inner, everywhere=everywhere) for inner in value]
    if not isinstance(value, Tensor) or not dist.is_sharded(value):
        return value
    gathered = dist.gathered(value.detach())  # one at a time: no device holds more than its part and one tensor
    return gathered.cpu() if everywhere or dist.is_main() else torch.empty(0)
