"""segkit launch slurm: the script that it writes, run with stand-ins for Slurm's programs."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segkit.cli.launch import main
from segkit.engine import checkpoint
from segkit.readers.python_config import dump
from tests.tiny import sections

SBATCH = """#!/bin/sh
cp "$2" submitted.sh
echo "4711;cluster"
"""

SCONTROL = """#!/bin/sh
echo "$@" >> scontrol.log
if [ "$1" = show ]; then echo localhost; echo other; fi
"""

WRITES_WORDS = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done > srun.words
"""

RUNS = """#!/bin/bash
# srun on this machine alone: one process group, which gets the signals that Slurm would send on
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with a config and, on PATH, stand-ins for sbatch, srun and scontrol."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL), ("srun", WRITES_WORDS)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name, value in (("SLURM_JOB_ID", "4711"), ("SLURM_JOB_NODELIST", "n[1-2]")):
        monkeypatch.setenv(name, value)
    (tmp_path / "my run.py").write_text(dump(sections()))
    return tmp_path


def words_of_srun(folder: Path, script: str) -> list[str]:
    assert subprocess.run(["bash", "-n", script], cwd=folder).returncode == 0
    done = subprocess.run(["bash", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "srun.words").read_bytes().decode().split("\0")[:-1]


def test_the_script_starts_torchrun_on_each_node(cluster, capsys):
    words = ["slurm", "my run.py", "--nodes", "2", "--gpus", "4", "--cpus", "16", "--time", "1-12:00:00"]
    assert main([*words, "--account", "lab", "--", "--cfg-options", "loop.seed=3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("job 4711: work_dirs/my run/slurm.sh")
    text = (cluster / "submitted.sh").read_text()
    head = {line for line in text.splitlines() if line.startswith("#SBATCH ")}
    assert head == {
        f"#SBATCH --{option}"
        for option in (
            *("job-name=my_run", "nodes=2", "ntasks-per-node=1", "gpus-per-node=4", "cpus-per-task=16", "requeue"),
            *("time=1-12:00:00", "account=lab", "output=slurm-my_run-%j.out", "open-mode=append", "signal=B:USR1@120"),
        )
    }
    given = words_of_srun(cluster, "submitted.sh")
    module = given.index("-m")
    assert given[:3] == ["--kill-on-bad-exit=1", "--cpus-per-task=16", sys.executable]
    assert given[module : module + 2] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=localhost:24711", "--rdzv-id=4711-0"} <= set(given)
    after = given[given.index("segkit.cli.main") + 1 :]
    assert after == [
        *("train", "my run.py", "--cfg-options", "loop.seed=3"),
        *("--work-dir", "work_dirs/my run", "--resume", "auto"),
    ]


def test_words_reach_the_training_as_they_are(cluster, capsys):
    """No word can end its line, begin another command, or become a line for Slurm."""
    evil = "x'; touch broken; $(touch broken) `touch broken`\n#SBATCH --partition=other\n"
    (cluster / f"{evil}.py".replace("/", "_")).write_text(dump(sections()))
    assert main(["slurm", f"{evil}.py", "--gpus", "0", "--dry-run", "--", "--work-dir", f"runs {evil}"]) == 0
    script = f"runs {evil}/slurm.sh"
    assert "nothing is submitted" in capsys.readouterr().out and not (cluster / "submitted.sh").exists()
    given = words_of_srun(cluster, script)
    assert not list(cluster.glob("broken"))
    after = given[given.index("segkit.cli.main") + 1 :]
    assert after == ["train", f"{evil}.py", "--work-dir", f"runs {evil}", "--device", "cpu", "--resume", "auto"]
    head = (cluster / script).read_text().partition("\n\n")[0].splitlines()
    names = [line.removeprefix("#SBATCH --").partition("=")[0] for line in head[1:]]
    assert names == ["job-name", "nodes", "ntasks-per-node", "output", "open-mode", "signal", "requeue"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--time", "1h"], "--time '1h': must be minutes, hours:minutes:seconds or days-hours"),
        (["--partition", "a b"], "--partition 'a b': must be a name"),
        (["--account", "x\n#SBATCH --qos=y"], "--account 'x"),
        (["--nodes", "0"], "--nodes 0: must be 1 or more"),
        (["--", "--overwrite"], "-- --overwrite: would be done each time that the job begins"),
        (["--", "--resume", "x.pt"], "-- --resume: a job goes on by --resume auto"),
        (["--", "--cfg-options", "loop.step=3"], "loop.step"),
    ],
)
def test_what_a_script_cannot_hold_is_a_sentence(words, sentence, cluster, capsys):
    assert main(["slurm", "my run.py", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (cluster / "submitted.sh").exists()


def test_without_slurm_it_is_a_sentence(cluster, capsys):
    (cluster / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    assert main(["slurm", "my run.py"]) == 2
    assert "is refused (sbatch: error: invalid partition)" in capsys.readouterr().err
    (cluster / "bin/sbatch").unlink()
    assert main(["slurm", "my run.py"]) == 2
    assert "ConfigError: sbatch: cannot be run here (No such file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_saves_at_the_end_of_its_time_and_goes_on(cluster):
    """Down to the training: the batch shell gets USR1, torchrun passes it on, last.pt is written, the job requeued."""
    cfg = sections()
    cfg["loop"] = dict(steps=1000000, save_every=0, log_every=1)
    (cluster / "long.py").write_text(dump(cfg))
    (cluster / "bin/srun").write_text(RUNS)
    assert main(["slurm", "long.py", "--gpus", "0"]) == 0
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    reached = 0
    for steps in (3, 6):
        job = subprocess.Popen(
            ["bash", "submitted.sh"], cwd=cluster, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines = []
        for line in job.stdout:
            lines.append(line)
            if line.startswith("step ") and int(line.split("/")[0].split()[1]) >= reached + steps:
                os.kill(job.pid, signal.SIGUSR1)
                break
        rest = job.communicate(timeout=120)[0]
        assert job.returncode != 0, rest
        state = checkpoint.read(cluster / "work_dirs/long/last.pt")
        assert state["step"] >= reached + steps, "".join(lines) + rest
        assert ("resumed: " in "".join(lines)) == (reached > 0)
        reached = state["step"]
        time.sleep(0.1)
    asked = (cluster / "scontrol.log").read_text().splitlines()
    assert asked.count("requeue 4711") == 2 and shlex.split(asked[0]) == ["show", "hostnames", "n[1-2]"]
