"""The table of run lengths that a competition takes, from the predictions for a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch

from segkit import dist
from segkit.data.loader import to_device
from segkit.data.semantic.run_length_set import RunLengthSet
from segkit.engine.setup import Evaluation
from segkit.engine.workers import explaining_workers
from segkit.files import write_whole
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.multi_label import MultiLabel
from segkit.types import MultiLabelPrediction


@torch.inference_mode()
def write_submission(
    model: Network,
    runner: MultiLabel,
    data: Evaluation,
    path: str | Path,
    tick: Callable[[int], object] = lambda count: None,
) -> int:
    """Predicts a data set and writes one row for each image and class, in the layout that the data set states.

    Images are read, predicted and encoded batch by batch; the codes alone are kept. Each process takes its share of the
    images, and the first writes the whole table, in the order of the data set, when all are done.

    Args:
        model: in evaluation mode.
        runner: makes the predictions.
        data: with or without labels.
        path: the CSV file; it is whole or absent.
        tick: called with the number of images done.

    Returns:
        The number of rows.

    Raises:
        ConfigError: the data set states no layout.
    """
    dataset = data.dataset
    if not isinstance(dataset, RunLengthSet):
        raise ConfigError(
            f"{data.at}.dataset = {type(dataset).__name__}: no layout of submissions is known for it; data sets of "
            "competitions (Clouds, Pneumothorax, Salt) have one"
        )
    rows: dict[str, list[tuple[str, str]]] = {}
    with explaining_workers(data.at, data.loader.num_workers, data.loader.timeout):
        for batch in data.loader:
            batch = to_device(batch, model.mean.device)
            for prediction, meta in zip(runner.predict(model, batch), batch["meta"]):
                masks = np.asarray(cast(MultiLabelPrediction, prediction)["positive"].cpu())
                rows[meta["id"]] = dataset.layout.rows(meta["id"], masks, dataset.classes)
            tick(len(batch["meta"]))
    shares = dist.gather_objects(rows)
    joined = {name: share[name] for share in shares for name in share}
    ordered = [row for name in dataset.ids for row in joined[name]]
    if dist.is_main():
        write_whole(path, dataset.layout.text(ordered), "choose another --out")
    return len(ordered)
