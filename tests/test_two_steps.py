"""Each semantic system trains: two steps of its own losses on crops of the embedded data set."""

import math
from pathlib import Path

import pytest
import torch

from segkit.api import build_runner
from segkit.config import load_config
from segkit.criterion import Criterion
from segkit.engine.hooks import Hook
from segkit.engine.loop import Loop
from tests.arch_rows.row import SIZES
from tests.archs_table import MODELS, ROWS

OTHER_RUNNERS = ("ritm_", "mib_")
NAMES = sorted(name for name, row in ROWS.items() if row.is_map and not name.startswith(OTHER_RUNNERS))


class Terms(Hook):
    """The loss terms of every step."""

    def __init__(self):
        self.steps: list[dict[str, float]] = []

    def after_step(self, loop, terms):
        self.steps.append({name: float(value) for name, value in terms.items()})


def config(name: str) -> dict:
    """A system's own model and losses, narrow where its row of the contract is, and a run of two steps."""
    row = ROWS[name]
    crop = (64, 64) if row.sizes == SIZES else row.sizes[0]
    cfg = load_config(MODELS / f"{name}.py", ["num_classes=6", *row.small])
    data = dict(type="Shapes", split="train", length=4, size=(max(crop[0], 96), max(crop[1], 96)))
    train = dict(
        batch_size=2, workers=0, dataset=data, transforms=[dict(type="RandomCrop", size=crop), dict(type="Flip")]
    )
    run = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9), loop=dict(steps=2, log_every=1, save_every=2))
    return {**cfg, "train": train, **run}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name: str, tmp_path: Path):
    cfg, terms = config(name), Terms()
    loop = Loop(cfg, build_runner(cfg), work_dir=tmp_path, device=torch.device("cpu"), hooks=(terms,))
    assert isinstance(loop.criterion, Criterion) and len(loop.criterion.rows) == len(cfg["losses"])
    before = {key: value.clone() for key, value in loop.raw_model.state_dict().items()}
    loop.fit()
    assert loop.step == 2 and len(terms.steps) == 2
    assert all(math.isfinite(value) for step in terms.steps for value in step.values())
    assert len(terms.steps[0]) >= len(cfg["losses"])
    trained = [key for key, p in loop.raw_model.named_parameters() if p.requires_grad and p.grad is None]
    assert not trained, f"without a gradient: {trained}"
    after = loop.raw_model.state_dict()
    moved = {key.partition(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert {"backbone", "head"} <= moved | {key.partition(".")[0] for key in before if "." not in key}
