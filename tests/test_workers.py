"""Processes that read data and die, or give nothing: the run ends with a sentence, and keeps what is done."""

import multiprocessing
import os
import re
import signal
import time

import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.data.dataset import Dataset
from segkit.engine import checkpoint
from segkit.engine.workers import WorkerError, explaining_workers
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from tests.tiny import sections


class Breaking(Dataset):
    """Twelve images; after `whole` of them the process that reads dies, or never answers."""

    classes = tuple("abcdef")
    palette = tuple((i, i, i) for i in range(6))

    def __init__(self, whole: int, hangs: bool = False):
        self.ids = [str(i) for i in range(12)]
        self.whole, self.hangs = whole, hangs

    def _break(self, index: int) -> None:
        if index >= self.whole and multiprocessing.parent_process() is not None:
            if self.hangs:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)

    def image(self, index: int) -> np.ndarray:
        self._break(index)
        return np.full((16, 16, 3), 9, np.uint8)

    def mask(self, index: int) -> np.ndarray:
        return (np.arange(256).reshape(16, 16) % 6).astype(np.uint8)


def broken(section: str, **keys) -> dict:
    cfg = sections()
    options = dict(whole=keys.pop("whole", 8), hangs=keys.pop("hangs", False))
    cfg[section] |= dict(dataset=dict(type="tests.test_workers:Breaking", **options), workers=1, **keys)
    cfg[section].pop("transforms", None)
    cfg["train"]["sampler"] = dict(type="InOrder")
    return cfg


def test_a_killed_worker_is_a_sentence_and_the_steps_are_kept(tmp_path, capsys):
    (tmp_path / "config.py").write_text(dump(broken("train", prefetch=1)))
    words = ["train", str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    # which of the two is said depends on whether torch or the system tells first
    assert re.match(
        r"WorkerError: train\.workers = 1: a process that reads data (was killed by signal Killed|died)", error
    )
    assert "memory" in error and "fewer train.workers (0 reads" in error
    step = checkpoint.read(tmp_path / "run/last.pt")["step"] if (tmp_path / "run/last.pt").exists() else 0
    assert step <= 4  # the batches before it


def test_workers_that_give_nothing_end_the_run_after_the_timeout(tmp_path):
    cfg = broken("train", timeout=3, hangs=True, whole=4)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"train\.timeout = 3: .*\(train\.workers = 1\) gave no batch.*shared memory"):
        api.train(cfg, tmp_path / "run", device="cpu")
    assert time.monotonic() - start < 60
    assert checkpoint.read(tmp_path / "run/last.pt")["step"] == 2


def test_the_same_of_the_validation(tmp_path):
    cfg = broken("val", timeout=3, hangs=True, whole=2)
    with pytest.raises(WorkerError, match=r"val\.timeout = 3: .*val\.workers"):
        api.train(cfg, tmp_path / "run", device="cpu")
    assert checkpoint.read(tmp_path / "run/last.pt")["step"] == 6


@pytest.mark.parametrize("section", ["train", "val", "test"])
def test_the_timeout_is_checked(section):
    cfg = sections()
    cfg["test"] = dict(cfg["val"])
    cfg[section]["timeout"] = -1
    with pytest.raises(ConfigError, match=rf"{section}\.timeout = -1: must be a number from 0"):
        api.checked(cfg)
    cfg[section]["timeout"] = 0  # for any time
    api.checked(cfg)
    cfg["loop"]["process_timeout"] = 0
    with pytest.raises(ConfigError, match=r"loop\.process_timeout = 0: must be a number from 1"):
        api.checked(cfg)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="CUDA"), explaining_workers("train", 2, 5):
        raise RuntimeError("CUDA out of memory")
    with pytest.raises(WorkerError, match=r"train\.workers = 2: a process that reads data died"):
        with explaining_workers("train", 2, 5):
            raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")


def test_processes_wait_for_each_other_as_long_as_the_config_says(tmp_path, monkeypatch):
    from datetime import timedelta

    from segkit import dist

    seen = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist.torch_dist, "init_process_group", lambda backend, timeout: seen.update(timeout=timeout))
    dist.start(torch.device("cpu"), 90)
    assert seen["timeout"] == timedelta(seconds=90)
    cfg = sections(process_timeout=7.5)
    monkeypatch.setattr("segkit.api.run_training", lambda *arguments: None)
    api.train(cfg, tmp_path / "run", device="cpu")
    assert seen["timeout"] == timedelta(seconds=7.5)


def test_a_silent_process_is_a_sentence(monkeypatch):
    from segkit.engine.world import explaining_silence

    silent = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 5000ms for recv operation")
    with pytest.raises(RuntimeError, match="gloo"), explaining_silence(5):  # one process
        raise silent
    monkeypatch.setattr("segkit.dist.is_distributed", lambda: True)
    monkeypatch.setattr("segkit.dist.rank", lambda: 1)
    monkeypatch.setattr("segkit.dist.world_size", lambda: 4)
    match = r"loop\.process_timeout = 5: .* no answer within 5 s \(this one is process 1 of 0 to 3\)"
    with pytest.raises(WorkerError, match=match), explaining_silence(5):
        raise silent
