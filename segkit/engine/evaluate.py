"""Scores a model on a data set: prediction, metrics, hooks, one image after the other."""

import time
from typing import Any

import torch
from torch import nn

from segkit import dist
from segkit.data.loader import to_device


def flat_scores(scores: dict) -> dict[str, float]:
    """-> the numbers among the scores, those of sections as "section.name"; rows per class are left out."""
    flat = {}
    for name, value in scores.items():
        inner = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        if name != "per_class":
            flat |= {key: one for key, one in inner.items() if isinstance(one, int | float)}
    return flat


@torch.inference_mode()
def evaluate(
    runner: Any,
    model: nn.Module,
    data: tuple[Any, Any],
    metrics: list,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    hooks: tuple = (),
    loop: Any = None,
) -> dict:
    """data: (data set, loader of this process's share); dtype: of autocast, float32 = off.

    -> the metrics' results merged, those of a metric with `section` under that key, with "images" and
    "images_per_second" (reading and scoring included), reduced over all processes.
    """
    dataset, loader = data
    for metric in metrics:
        metric.start(dataset)
        metric.reset()
    was_training = model.training
    model.eval()
    start, images = time.perf_counter(), 0
    for batch in loader:
        batch = to_device(batch, device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            predictions = runner.predict(model, batch)
        for metric in metrics:
            metric.update(predictions, batch)
        for hook in hooks:
            hook.after_batch(loop, predictions, batch)
        images += len(predictions)
    model.train(was_training)
    images = int(dist.all_reduce_sum(torch.tensor(images)))
    scores: dict = {}
    for metric in metrics:
        section = getattr(metric, "section", None)
        scores |= metric.compute() if section is None else {section: metric.compute()}
    scores["images"] = images
    scores["images_per_second"] = round(images / max(time.perf_counter() - start, 1e-9), 2)
    return scores
