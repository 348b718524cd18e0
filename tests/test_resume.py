"""A run that is broken off and taken up again is the unbroken run, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from segkit.engine import checkpoint
from segkit.engine.hooks import drop_later_lines, standard_hooks
from segkit.readers.python_config import dump
from tests.test_loop import Record, loop_of
from tests.tiny import sections


@pytest.mark.parametrize("workers", [0, 2])
def test_six_steps_are_three_and_three(tmp_path, workers):
    """With moving average, bf16, accumulation and evaluation on; an interrupt saves the last whole step."""
    cfg = sections(ema=0.9, amp="bf16", accumulate=2, clip=1.0, eval_every=2)
    cfg["train"]["workers"] = workers
    whole, first, second = Record(), Record(), Record()
    unbroken = loop_of(cfg, tmp_path / "a", (*standard_hooks(), whole))
    unbroken.fit()

    class Kill(Record):
        def after_step(self, loop, terms):
            super().after_step(loop, terms)
            if loop.step == 4:  # one step after the checkpoint of step 3
                raise KeyboardInterrupt

    kill = Kill()
    with pytest.raises(KeyboardInterrupt):
        loop_of(cfg, tmp_path / "b", (*standard_hooks(), first, kill)).fit()
    resumed = loop_of(cfg, tmp_path / "b", (*standard_hooks(), second))
    resumed.load_state_dict(checkpoint.read(tmp_path / "b/last.pt"), "last.pt")
    assert resumed.step == 4
    resumed.fit()
    assert first.losses + second.losses == whole.losses
    for name in ("raw_model", "eval_model"):
        a, b = getattr(unbroken, name).state_dict(), getattr(resumed, name).state_dict()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert resumed.best == unbroken.best


@pytest.mark.parametrize("workers", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_ctrl_c_saves_whole_and_says_how_to_go_on(tmp_path, workers):
    """A terminal sends the signal to the worker processes too."""
    cfg = sections()
    cfg["train"]["workers"] = workers
    cfg["loop"] = dict(steps=100000, save_every=0, log_every=1)
    (tmp_path / "long.py").write_text(dump(cfg))
    command = [sys.executable, "-m", "segkit.cli.main", "train", "long.py", "--work-dir", "out"]
    env = os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step 3/"):
            os.killpg(process.pid, signal.SIGINT)
            break
    deadline = time.monotonic() + 60
    rest = process.communicate(timeout=max(deadline - time.monotonic(), 1))[0]
    assert process.returncode == 130, "".join(lines) + rest
    assert "go on with:" in rest and "--resume" in rest
    saved = checkpoint.read(tmp_path / "out/last.pt")
    assert saved["step"] >= 3
    command += ["--resume", "--cfg-options", f"loop.steps={saved['step'] + 2}"]
    again = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"resumed: out/last.pt at step {saved['step']:,}" in again.stdout
    assert checkpoint.read(tmp_path / "out/last.pt")["step"] == saved["step"] + 2


def test_a_log_starts_with_at_most_twenty_lines(tmp_path):
    cfg = sections()
    (tmp_path / "short.py").write_text(dump(cfg))
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "segkit.cli.main", "train", "short.py"]
    out = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    head = out.stdout.partition("step 1/")[0].splitlines() + out.stderr.splitlines()
    assert len(head) <= 20
    assert (tmp_path / "work_dirs/short/best.pt").exists()


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_each_step_stands_once_in_the_log_after_a_kill(tmp_path):
    """A killed process saves nothing after its checkpoint; its log has lines of later steps, the last one cut off."""
    cfg = sections(eval_every=2) | dict(hooks=[])
    cfg["loop"] |= dict(log_every=1, save_every=3, steps=6)
    loop_of(cfg, tmp_path, standard_hooks()).fit()
    whole = log_of(tmp_path)
    os.replace(tmp_path / "last.pt", tmp_path / "six.pt")

    cfg["loop"]["steps"] = 3
    loop_of({**cfg, "loop": {**cfg["loop"]}}, tmp_path / "short", standard_hooks()).fit()
    state = checkpoint.read(tmp_path / "short/last.pt")
    cfg["loop"]["steps"] = 6
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 7, "st')
    resumed = loop_of(cfg, tmp_path, standard_hooks())
    resumed.load_state_dict(state, "last.pt")
    resumed.fit()
    records = log_of(tmp_path)
    trained = [record["step"] for record in records if "val" not in record]
    scored = [record["step"] for record in records if "val" in record]
    assert trained == [1, 2, 3, 4, 5, 6] and scored == [2, 4, 6]
    assert [r["lr"] for r in records if "lr" in r][:3] == [r["lr"] for r in whole if "lr" in r][:3]
    assert records[:4] == whole[:4]  # what the checkpoint has done stays as it was written


def test_a_step_that_was_scored_after_its_checkpoint_is_scored_once_in_the_log(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [dict(step=1), dict(step=2), dict(step=2, val={}), dict(step=3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    drop_later_lines(path, 2, is_scored=True)
    assert log_of(tmp_path) == lines[:3]
    drop_later_lines(path, 2, is_scored=False)
    assert log_of(tmp_path) == lines[:2]
    drop_later_lines(path, 0, is_scored=False)  # a stage that begins anew
    assert path.read_text() == ""
    drop_later_lines(tmp_path / "none.jsonl", 2, is_scored=True)
    assert not (tmp_path / "none.jsonl").exists()
