"""Trying a training: the batch by a meter of memory that the test makes up, and a whole trial of a tiny network."""

import pytest
import torch

from segkit.config import Config
from segkit.engine.setup import DataSets
from segkit.recipe.machine import GIB, Budget, Machine
from segkit.recipe.trial import Fitted, find_rate, grow_while_fits, halve_until_fits, trial_loop, try_out
from segkit.registry import ConfigError
from tests.tiny import sections


class Meter:
    """A machine on which a process of `own` bytes takes `each` bytes for an image of a batch.

    What does not fit raises as CUDA does, or ends the process as an operating system does: the test fails.
    """

    def __init__(self, own: float, each: float, memory: float, *, raises: bool):
        self.own, self.each, self.memory, self.raises = own, each, memory, raises
        self.tried: list[int] = []
        self.most = 0

    def __call__(self, batch: int) -> int:
        self.tried.append(batch)
        held = int((self.own + self.each * batch) * GIB)
        if held > self.memory * GIB:
            if self.raises:
                raise torch.OutOfMemoryError("CUDA out of memory")
            pytest.fail(f"a batch of {batch} ended the process")
        self.most = max(self.most, held)  # a process is told its peak
        return held if self.raises else self.most


@pytest.mark.parametrize(
    ("each", "limit", "batch", "tried"),
    [
        (0.5, 9.0, 16, [16]),  # 1 + 8 GiB
        (0.5, 8.9, 8, [16, 8]),  # fits, but not with the margin
        (1.0, 9.0, 8, [16, 8]),  # 17 GiB raise
        (3.0, 9.0, 2, [16, 8, 4, 2]),  # 49, 25 and 13 GiB raise; 7 fit
    ],
)
def test_a_device_is_tried_from_above(each, limit, batch, tried):
    meter = Meter(1.0, each, 10.0, raises=True)
    assert halve_until_fits(meter, 16, int(limit * GIB)).batch == batch
    assert meter.tried == tried


def test_what_fits_is_said():
    found = halve_until_fits(Meter(1.0, 1.0, 10.0, raises=True), 16, 9 * GIB)
    assert found == Fitted(8, "takes 9.0 of 9.0 GiB; 16 do not fit")
    found = grow_while_fits(Meter(1.0, 0.5, 10.0, raises=False), 8, 7 * GIB)
    assert found == Fitted(8, "takes 5.0 of 7.0 GiB")


@pytest.mark.parametrize(
    ("own", "each", "wanted", "batch", "tried"),
    [
        (1.0, 0.2, 8, 8, [2, 4, 8]),  # 2.6 GiB of 7
        (1.0, 1.0, 8, 4, [2, 4]),  # 9 GiB would not fit, which the line through 3 and 5 says
        (1.0, 0.4, 16, 8, [2, 4, 8]),  # 7.4 GiB would not
        (4.0, 0.5, 8, 2, [2]),  # 5 GiB: twice as much might not fit
        (1.0, 0.2, 2, 2, [2]),
        (1.0, 0.2, 1, 1, [1]),
    ],
)
def test_the_memory_of_the_machine_is_tried_from_below(own, each, wanted, batch, tried):
    meter = Meter(own, each, 7.3, raises=False)
    assert grow_while_fits(meter, wanted, 7 * GIB).batch == batch
    assert meter.tried == tried


@pytest.mark.parametrize("find", [halve_until_fits, grow_while_fits])
def test_nothing_fits(find):
    with pytest.raises(ConfigError, match=r"a batch of 2 crops needs more than 1\.0 GiB.*; end other programs, choose"):
        find(Meter(1.0, 1.0, 9.0, raises=True), 8, GIB)


def config(**changes) -> Config:
    cfg = sections()
    cfg["train"]["batch_size"] = 4
    cfg["train"]["dataset"]["cache"] = True
    return Config({**cfg, **changes})


def test_a_whole_trial_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segkit.recipe.trial.LR_STEPS", 11)
    machine = Machine("cpu", 2, 8 * GIB, has_bf16=False)
    measured = try_out(config(), Budget(60.0, machine), find_lr=True)
    assert measured.batch == 4 and measured.why_batch.startswith("takes ")
    assert 0 < measured.step_seconds < 5 and 0 < measured.image_seconds < 5
    assert measured.lr is not None and 0.05 * 1e-2 / 4 <= measured.lr <= 0.05 * 100 / 4
    assert list(tmp_path.iterdir()) == []


def test_a_training_without_validation_has_no_time_of_scoring():
    machine = Machine("cpu", 2, 8 * GIB, has_bf16=False)
    assert try_out(config(val=None), Budget(60.0, machine)).image_seconds == 0.0


def test_a_range_test_is_the_same_each_time():
    found = []
    for _ in range(2):
        with trial_loop(config(), torch.device("cpu"), DataSets()) as loop:
            found.append(find_rate(loop, 4, steps=11))
    assert found[0] == found[1]
    assert found[0].rates[0] == pytest.approx(0.05 * 0.01)


def test_what_cannot_be_built_is_said():
    broken = config(losses=[dict(type="CrossEntropy", on="nothing", target="mask")])
    with pytest.raises(ConfigError, match="nothing"):
        try_out(broken, Budget(60.0, Machine("cpu", 2, 8 * GIB, has_bf16=False)))
