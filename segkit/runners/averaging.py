"""Averages of checkpoints: model soups (Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482).

SWA (Izmailov et al., UAI 2018, https://arxiv.org/abs/1803.05407) is the average of checkpoints of one run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.data.loader import to_device, train_loader
from segkit.engine import checkpoint, setup
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.lora import merged
from segkit.models.bases import Network
from segkit.runners.base import build_runner

KEPT = ("config", "classes", "palette", "segkit_version")
"""What an average takes from the first file beside the weights."""


def average(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Averages the weights of checkpoints of one network, whose files are read one after the other.

    The moving averages are taken where a checkpoint has them. Floating-point tensors, statistics of batch normalization
    among them, become the mean, summed in float64; of whole numbers, such as counters, those of the first file stay.

    Args:
        paths: two checkpoints or more.

    Returns:
        The content of a checkpoint: "model", and the config, classes and palette of the first.

    Raises:
        CheckpointError: a file cannot be read, holds other tensors or classes than the first, or names another network.
    """
    files = [Path(path) for path in paths]
    content = checkpoint.read(files[0])
    first: dict[str, Tensor] = merged(checkpoint.scored_weights(content))
    sums = {name: value.double() if value.is_floating_point() else value for name, value in first.items()}
    for path in files[1:]:
        other = checkpoint.read(path)
        weights: dict[str, Tensor] = merged(checkpoint.scored_weights(other))
        _check_same(content, first, files[0], other, weights, path)
        for name, value in weights.items():
            if value.is_floating_point():
                sums[name] += value
    mean = {
        name: (value / len(files)).to(first[name].dtype) if value.is_floating_point() else value
        for name, value in sums.items()
    }
    return {"model": mean, **{key: content[key] for key in KEPT if key in content}}


def _check_same(
    content: dict[str, Any],
    first: dict[str, Tensor],
    first_path: Path,
    other: dict[str, Any],
    weights: dict[str, Tensor],
    path: Path,
) -> None:
    """Refuses a checkpoint that is not of the first one's network and classes."""
    way_out = "average checkpoints of one network that were trained from one start"
    wrong = [name for name in (*first, *weights) if name not in first or name not in weights]
    if wrong:
        raise CheckpointError(f"{path}: '{wrong[0]}' is not in both this file and {first_path}; {way_out}")
    for name, value in first.items():
        if value.shape != weights[name].shape:
            shape, own = tuple(weights[name].shape), tuple(value.shape)
            raise CheckpointError(f"{path}: {name} has shape {shape}, in {first_path} {own}; {way_out}")
        if value.is_floating_point() != weights[name].is_floating_point():
            kinds = str(weights[name].dtype).rpartition(".")[2], str(value.dtype).rpartition(".")[2]
            raise CheckpointError(f"{path}: {name} is of type {kinds[0]}, in {first_path} {kinds[1]}; {way_out}")
    names, others = content.get("classes"), other.get("classes")
    if names and others and list(names) != list(others):
        raise CheckpointError(
            f"{path}: its classes are {', '.join(others)}, those of {first_path} {', '.join(names)}; {way_out}"
        )


def greedy(
    paths: Sequence[str | Path], score: Callable[[dict[str, Any]], float], say: Callable[[str], None] = print
) -> tuple[dict[str, Any], list[Path]]:
    """Averages those checkpoints alone that help: the greedy soup (algorithm 1 of the paper).

    The files are tried from the best to the worst; one stays where the average with it scores no worse than without.

    Args:
        paths: two checkpoints or more.
        score: of the content of a checkpoint; higher is better.
        say: takes a line for each try.

    Returns:
        The content of the average, and the files in it.
    """
    alone = {Path(path): score(average([path])) for path in paths}
    order = sorted(alone, key=lambda path: alone[path], reverse=True)
    kept, best = order[:1], alone[order[0]]
    say(f"{order[0]}: {best:.2f} alone, the best")
    for path in order[1:]:
        value = score(average([*kept, path]))
        is_better = value >= best
        say(
            f"{path}: {alone[path]:.2f} alone, {value:.2f} averaged with the {len(kept)} before: "
            f"{'kept' if is_better else 'left out'}"
        )
        if is_better:
            kept, best = [*kept, path], value
    return average(kept), kept


def update_norms(model: Network, batches: int) -> int:
    """Counts the statistics of batch normalization anew on augmented training images, as SWA asks after averaging.

    Args:
        model: of load_model, with its config; its running means and variances are replaced.
        batches: how many; the mean over all of them counts, each with the same weight.

    Returns:
        The number of layers whose statistics were counted; 0 where the network has none.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    cfg, device = model.config, model.mean.device
    runner = build_runner(cfg)
    seed = (cfg.get("loop") or {}).get("seed", 0)
    items, sampler, settings = setup.build_training(cfg["train"], seed)
    loader = train_loader(items, sampler, batch_size=settings.batch_size, workers=settings.workers)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's form of the plain mean over all batches
    _only_norms_train(model, norms)
    with torch.no_grad():
        for step in range(batches):
            rng = np.random.default_rng([seed, step])
            runner.forward(model, to_device(next(loader), device), rng)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.eval()
    return len(norms)


def _only_norms_train(model: nn.Module, norms: Sequence[nn.Module]) -> None:
    """Training mode for these layers alone: without dropout the statistics are those of the images."""
    model.eval()
    for norm in norms:
        norm.training = True
