"""Budgets as text, with errors that say what to write, and machines."""

import pytest
import torch

from segkit.recipe.machine import GIB, Budget, Machine, budget_of, cores_allowed, machine_of
from segkit.registry import ConfigError

CPU = Machine("cpu", 2, 16 * GIB, has_bf16=False)
GPU = Machine("cuda", 8, 16 * GIB, has_bf16=True, name="L4")


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [
        ("90s", 90, "90s"),
        ("10m", 600, "10m"),
        ("1.5h", 5400, "90m"),
        ("2 H", 7200, "2h"),
        ("1d", 86400, "1d"),
        ("36h", 129600, "36h"),
    ],
)
def test_times(text, seconds, words):
    budget = budget_of(text, CPU)
    assert (budget.seconds, budget.words, budget.is_given) == (seconds, words, True)


def test_a_first_look_where_no_time_is_given():
    assert budget_of(None, CPU) == Budget(240.0, CPU, is_given=False)
    assert budget_of(None, GPU) == Budget(600.0, GPU, is_given=False)


@pytest.mark.parametrize("text", ["10", "m", "ten minutes", "10 min", "1h30m", "-5m", "1e3s", "", "nan h", "5w"])
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError) as error:
        budget_of(text, CPU)
    assert str(error.value) == f"--budget {text}: must be a number and a unit: 90s, 10m, 2h or 1d"


@pytest.mark.parametrize("text", ["0m", "29s", "61d", "99999999999999999999d"])
def test_times_out_of_range_are_refused(text):
    with pytest.raises(ConfigError) as error:
        budget_of(text, CPU)
    assert str(error.value).startswith(f"--budget {text}: must be from 30s to 60d; ")


def test_this_machine():
    machine = machine_of(torch.device("cpu"))
    assert machine.device == "cpu" and not machine.is_gpu
    assert machine.cores == cores_allowed() >= 1
    assert machine.memory > 0
    assert machine.words.startswith(f"{machine.cores} CPU core")


def test_the_quota_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setattr("segkit.recipe.machine.CGROUP", tmp_path)
    assert cores_allowed() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores_allowed() >= 1


def test_machines_in_words():
    assert CPU.words == "2 CPU cores, 16 GiB free"
    assert GPU.words == "L4, 16 GiB free, 8 CPU cores"
