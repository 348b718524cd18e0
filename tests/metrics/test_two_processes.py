"""Five images over two processes, 3 and 2 of them, score exactly as in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.distributed
from pycocotools.mask import encode

from segkit.registry import METRICS

CLASSES = ("a", "b", "c", "d", "e", "f", "g")
MAPS = ("Confusion", "Samplewise", "BoundaryIoU", "BoundaryF")
MASKS = ("MultiLabel", "MeanDice", "MeanPrecision")
INSTANCES = ("CocoAP", "LvisAP", "VocAP")
NUM_IMAGES = 5


def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)
    sizes = [(20 + i, 31 - i) for i in range(NUM_IMAGES)]
    truths = [rng.integers(0, 7, size).astype(np.uint8) for size in sizes]
    labels = [
        np.where(rng.random(one.shape) < 0.6, one, rng.integers(0, 7, one.shape)).astype(np.uint8) for one in truths
    ]
    for i, one in enumerate(truths):
        one[i : i + 3] = 255
    return list(zip(truths, labels))


def voc_case() -> tuple[dict, list]:
    stored = json.loads((Path(__file__).parents[1] / "fixtures" / "metrics" / "voc_eval.json").read_text())
    for image in stored["gt"]["images"]:
        image.update(neg_category_ids=[1, 2], not_exhaustive_category_ids=[3])
    for category, frequency in zip(stored["gt"]["categories"], "rcf"):
        category["frequency"] = frequency
    return stored["gt"], stored["dt"]


def of_masks(name: str, rank: int, size: int) -> dict:
    metric = METRICS.get(name)()
    metric.start(SimpleNamespace(classes=CLASSES, ignore=255))
    for truth, labels in scenes()[rank::size]:
        masks = np.stack([np.where(truth == 255, 255, truth == k) for k in range(7)]).astype(np.uint8)
        probabilities = torch.from_numpy(np.stack([labels == k for k in range(7)]).astype(np.float32))
        prediction = dict(probabilities=probabilities, positive=probabilities > 0.5)
        metric.update([prediction], dict(mask=[torch.from_numpy(masks)], meta=[dict(id="x")]))
    return metric.compute()


def segments(rank: int, size: int) -> dict:
    metric = METRICS.get("PQ")()
    metric.start(SimpleNamespace(classes=CLASSES[:3], things=(True, True, False)))
    metric.reset()
    for i in range(NUM_IMAGES)[rank::size]:
        rng = np.random.default_rng(90 + i)
        truth = rng.integers(0, 4, (2, 3)).repeat(6, 0).repeat(7, 1)
        found = np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(0, 4, truth.shape))
        masks = [[encode(np.asfortranarray(m == k, np.uint8)) for k in (1, 2, 3)] for m in (truth, found)]
        labels = torch.tensor([0, 0, 2])
        batch = dict(meta=[dict(id=str(i), size=truth.shape)], masks=[masks[0]], labels=[labels], crowd=[labels > 9])
        metric.update([dict(masks=masks[1], labels=labels)], batch)
    return metric.compute()


def clicks(rank: int, size: int) -> dict:
    metric = METRICS.get("NoC")(limits=(6, 3))
    metric.start(None)
    rng = np.random.default_rng(8)
    runs = [np.sort(rng.random(int(rng.integers(1, 7)))).astype(np.float32) for _ in range(NUM_IMAGES)]
    for i, ious in list(enumerate(runs))[rank::size]:
        prediction = dict(clicks=torch.full((len(ious), 3), float(i)), ious=ious, seconds=0.1 * (i + 1))
        metric.update([prediction], dict(meta=[dict(id=f"{9 - i}")]))
    return metric.compute()


def scores(rank: int, size: int) -> dict:
    """Scores of the images rank, rank + size, ...: all of them where size is 1."""
    result: dict = {name: of_masks(name, rank, size) for name in MASKS}
    result["NoC"] = clicks(rank, size)
    result["PQ"] = segments(rank, size)
    for name in MAPS:
        metric = METRICS.get(name)()
        metric.start(SimpleNamespace(classes=CLASSES, ignore=255))
        for i, (truth, labels) in list(enumerate(scenes()))[rank::size]:
            metric.update([dict(labels=labels)], dict(mask=[torch.from_numpy(truth)], meta=[dict(id=str(i))]))
        result[name] = metric.compute()
    truth, found = voc_case()
    for name in INSTANCES:
        metric = METRICS.get(name)()
        metric.start(SimpleNamespace(annotations=truth))
        for image in truth["images"][rank::size]:
            mine = [one for one in found if one["image_id"] == image["id"]]
            prediction = dict(
                masks=[one["segmentation"] for one in mine],
                scores=[round(one["score"], 1) for one in mine],  # ties: their order must not depend on the processes
                labels=[one["category_id"] - 1 for one in mine],
            )
            metric.update([prediction], dict(meta=[dict(id=str(image["id"]))]))
        result[name] = metric.compute()
    return result


def test_two_processes_score_as_one(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=600) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    alone = scores(0, 1)
    assert alone["Confusion"]["mIoU"] > 20 and alone["CocoAP"]["AP50"] > 5
    assert 20 < alone["MeanDice"]["MeanDice"] < 90 and 0 < alone["MeanPrecision"]["MeanPrecision"] < 90
    assert 20 < alone["PQ"]["PQ"] < 90
    assert len(alone["NoC"]["items"]) == NUM_IMAGES and 1 < alone["NoC"]["NoC@80"] < 6
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(scores(rank, 2)))
    torch.distributed.destroy_process_group()
