"""Runs of seconds in rounds, on a third of the labels of twelve drawn images."""

from pathlib import Path

import numpy as np
from PIL import Image

from segkit import api
from tests.tiny import sections

LATER = [
    dict(type="CrossEntropy", on="labelled.logits", target="labelled.mask"),
    dict(type="CrossEntropy", on="pseudo.logits", target="pseudo.mask"),
]


def supervised(**loop) -> dict:
    """The sections of a run on four labelled images."""
    cfg = sections(**loop)
    cfg["model"]["aux"], cfg["losses"] = [], cfg["losses"][:1]
    whole = dict(cfg["train"]["dataset"], instances=False)
    cfg["train"] |= dict(batch_size=4, dataset=dict(type="Fold", dataset=whole, folds=3, fold=0, only=True))
    cfg["val"]["dataset"]["instances"] = False
    return cfg


def in_rounds(rounds: int = 2, *, loop: dict | None = None, **runner) -> dict:
    """The same, and rounds on the other eight images."""
    cfg = supervised(**(loop or {}))
    rest = dict(cfg["train"]["dataset"], only=False)
    later = dict(losses=LATER, weighting=dict(type="NormalizedPseudo"))
    base = dict(type="SelfTraining", rounds=rounds, unlabelled=rest, ratio=(2, 2), threshold=0.18, later=later)
    cfg["runner"] = base | runner
    return cfg


def checkpoint(folder: Path, **changes) -> Path:
    """A checkpoint of a run of two steps on the labelled images."""
    cfg = supervised()
    cfg["loop"] |= dict(steps=2) | changes
    return api.train(cfg, folder).last_checkpoint


def pictures(folder: Path, count: int = 5, size: tuple[int, int] = (30, 40)) -> Path:
    """Image files of noise, in two folders."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("a" if i % 2 else "b") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    return folder
