"""Signals end a run of several processes after the same step on all of them, and the state is saved."""

import os
import signal
import subprocess
import sys

import pytest

from segkit.engine import checkpoint
from segkit.readers.python_config import dump
from tests.tiny import sections


def started(folder, *words: str) -> subprocess.Popen:
    """A run of two processes that has made three steps."""
    cfg = sections()
    cfg["train"]["workers"] = 1
    cfg["loop"] = dict(steps=1000000, save_every=0, log_every=1)
    (folder / "long.py").write_text(dump(cfg))
    handled = {"TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"}
    env = os.environ | handled | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["--signals-to-handle", handled["TORCHELASTIC_SIGNALS_TO_HANDLE"]]
    command += ["-m", "segkit.cli.main", "train", "long.py", "--device", "cpu", "--work-dir", "out", *words]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step ") and int(line.split("/")[0].split()[1]) >= 3 and "val" not in line:
            return process
    raise AssertionError("".join(lines))


def ranks_of(process: subprocess.Popen) -> list[int]:
    """The two training processes, the first of all first."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    pids = [int(word) for word in children.stdout.split()]
    rank = {pid: dict(line.split("=", 1) for line in environment(pid))["RANK"] for pid in pids}
    return sorted(pids, key=rank.__getitem__)


def environment(pid: int) -> list[str]:
    with open(f"/proc/{pid}/environ") as file:
        return [line for line in file.read().split("\0") if "=" in line]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    "way",
    [
        "torchrun SIGUSR1",
        pytest.param("torchrun SIGTERM", marks=pytest.mark.slow),
        pytest.param("terminal SIGINT", marks=pytest.mark.slow),
        pytest.param("rank 1 SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_all_processes_end_after_the_same_step_and_one_saves(way, tmp_path):
    """The signal reaches torchrun, as from a cluster; the whole group, as from a terminal; or one process alone."""
    process = started(tmp_path)
    who, name = way.rsplit(" ", 1)
    number = getattr(signal, name)
    if who == "terminal":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if who == "torchrun" else ranks_of(process)[1], number)
    rest = process.communicate(timeout=90)[0]
    assert process.returncode != 0, rest
    state = checkpoint.read(tmp_path / "out/last.pt")
    assert state["step"] >= 3 and len(state["rng"]) == 2, rest
    assert f"stopped after step {state['step']}; go on with:" in rest and rest.count("stopped after step") == 1
    assert not list((tmp_path / "out").glob(".*")), "no draft and no lock stays"
    assert "Error" not in rest.partition("stopped after")[0], rest


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
def test_a_process_that_dies_costs_no_step(tmp_path):
    """The other one notices in the next step, whose weights are those after the step before."""
    process = started(tmp_path)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    rest = process.communicate(timeout=90)[0]
    assert checkpoint.read(tmp_path / "out/last.pt")["step"] >= 3, rest
    assert "is saved in out/last.pt" in rest
