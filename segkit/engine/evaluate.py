"""Scores a model on a data set: prediction, metrics, hooks, one batch after the other."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from segkit import dist
from segkit.data.loader import to_device
from segkit.engine.notify import notify
from segkit.engine.sharding import in_step, without_gradients
from segkit.engine.workers import explaining_workers

if TYPE_CHECKING:
    from segkit.engine.hooks import Hook
    from segkit.engine.loop import Loop
    from segkit.engine.pictures import Shower
    from segkit.engine.setup import Evaluation
    from segkit.models.bases import Network
    from segkit.runners.base import Runner


def flat_scores(scores: dict[str, Any]) -> dict[str, float]:
    """Returns the numbers among the scores, those of a section as "section.name"; rows of classes are left out."""
    flat: dict[str, float] = {}
    for name, value in scores.items():
        inner = {f"{name}.{key}": score for key, score in value.items()} if isinstance(value, dict) else {name: value}
        if name != "per_class":
            flat |= {key: score for key, score in inner.items() if isinstance(score, int | float)}
    return flat


def evaluate(
    runner: "Runner",
    model: "Network",
    data: "Evaluation",
    metrics: list,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    hooks: "Sequence[Hook | Shower]" = (),
    loop: "Loop | None" = None,
) -> dict[str, Any]:
    """Scores a model on all processes.

    Args:
        runner: makes the predictions.
        model: is set to evaluation mode meanwhile.
        data: data set, and the loader of this process's share.
        metrics: objects of section `metrics`.
        device: of the batches.
        dtype: of autocast; float32 means off.
        hooks: see each batch.
        loop: the training that runs, for the hooks.

    Returns:
        The results of the metrics merged, those of a metric with a `section` under that key; the model's own
        figures; "images", and "images_per_second", which includes reading and scoring; reduced over all processes.
    """
    with without_gradients(model):
        return _evaluate(runner, model, data, metrics, device=device, dtype=dtype, hooks=hooks, loop=loop)


def _evaluate(
    runner: "Runner",
    model: "Network",
    data: "Evaluation",
    metrics: list,
    *,
    device: torch.device,
    dtype: torch.dtype,
    hooks: "Sequence[Hook | Shower]",
    loop: "Loop | None",
) -> dict[str, Any]:
    dataset, loader, at = data
    dist.at("evaluation")
    for metric in metrics:
        metric.start(dataset)
        metric.reset()
    was_training = model.training
    model.eval()
    model.start_figures()
    start, images = time.perf_counter(), 0
    with in_step(model), explaining_workers(at, loader.num_workers, loader.timeout):
        for batch in loader:
            batch = to_device(batch, device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                predictions = runner.predict(model, batch)
            for metric in metrics:
                metric.update(predictions, batch)
            notify(hooks, "after_batch", loop, predictions, batch)
            images += len(predictions)
    model.train(was_training)
    images = int(dist.all_reduce_sum(torch.tensor(images)))
    scores: dict[str, Any] = {}
    for metric in metrics:
        scores |= metric.compute() if metric.section is None else {metric.section: metric.compute()}
    scores |= model.figures()
    scores["images"] = images
    scores["images_per_second"] = round(images / max(time.perf_counter() - start, 1e-9), 2)
    return scores
