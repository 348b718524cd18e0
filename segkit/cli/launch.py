"""Submits a training to a cluster: segkit launch slurm CONFIG --nodes 2 --gpus 4 [--dry-run] [-- train options].

Writes a script for Slurm (sbatch) that starts torchrun on each node, goes on from last.pt where there is one, and puts
itself back into the queue when its time is over or a more urgent job takes its place.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from segkit.cli import common
from segkit.registry import ConfigError

SCRIPT = "slurm.sh"
"""The script, in the run's folder."""

WARNING = 120
"""Seconds before the end of its time at which a job is told, to save and to go back into the queue."""

PATTERNS = {
    "time": (r"\d+(-\d+(:\d+){0,2}|(:\d+){0,2})", "minutes, hours:minutes:seconds or days-hours"),
    "partition": (r"[\w.,+-]+", "a name, or several with commas"),
    "account": (r"[\w.@+-]+", "a name"),
    "qos": (r"[\w.@+-]+", "a name"),
    "constraint": (r"[\w.&|*+-]+", "names of features, with & or | between them"),
}
"""What the values of options may be that stand in lines of the script which Slurm reads."""

SAFE_PATH = re.compile(r"[\w./+=@-]+")


class Job(NamedTuple):
    """What a script asks for.

    Attributes:
        name: of the job.
        folder: of the run.
        nodes, gpus, cpus: machines, and of each GPUs (0 for none) and cores (0 for the cluster's default).
        restarts: times that processes are started again after one was killed.
        options: further values for Slurm by name.
        train: arguments of segkit train.
    """

    name: str
    folder: Path
    nodes: int
    gpus: int
    cpus: int
    restarts: int
    options: dict[str, str]
    train: list[str]


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit launch`; returns the exit code."""
    words = sys.argv[2:] if argv is None else list(argv)
    cut = words.index("--") if "--" in words else len(words)
    arguments = common.parser("launch", __doc__ or "")
    arguments.usage = "segkit launch slurm CONFIG [options] [-- options of segkit train]"
    arguments.add_argument("cluster", choices=("slurm",), help="what the cluster is run by")
    arguments.add_argument("config", help=common.CONFIG_HELP)
    arguments.add_argument("--nodes", type=int, default=1, metavar="N", help="machines; default 1")
    arguments.add_argument("--gpus", type=int, default=1, metavar="N", help="GPUs of each; 0 trains on CPUs; default 1")
    arguments.add_argument("--cpus", type=int, default=0, metavar="N", help="CPU cores of each; default the cluster's")
    for name, (_, form) in PATTERNS.items():
        arguments.add_argument(f"--{name}", metavar="VALUE", help=f"sbatch --{name}: {form}")
    arguments.add_argument(
        "--restarts", type=int, default=3, metavar="N", help="starts again when a process is killed; default 3"
    )
    arguments.add_argument("--dry-run", action="store_true", help="write and print the script, submit nothing")
    args = arguments.parse_args(words[:cut])
    args.train = words[cut + 1 :]
    return common.run(_launch, args)


def _launch(args: argparse.Namespace) -> int:
    from segkit.files import write_whole

    job = job_of(args)
    script = script_of(job)
    path = write_whole(job.folder / SCRIPT, script)
    if args.dry_run:
        print(f"{script}\n# written to {path}; nothing is submitted (--dry-run)")
        return 0
    number = submit(path)
    print(
        f"job {number}: {path}\noutput: {job.folder}, squeue --job {number} shows its state, scancel {number} ends it"
    )
    return 0


def job_of(args: argparse.Namespace) -> Job:
    """Returns what the command line asks for, its config checked.

    Raises:
        ConfigError: a value cannot stand in a script, or the config is wrong.
    """
    from segkit.cli import train
    from segkit.config import PACKAGED

    for name, least in (("nodes", 1), ("gpus", 0), ("cpus", 0), ("restarts", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} {getattr(args, name)}: must be {least} or more")
    options = {}
    for name, (pattern, form) in PATTERNS.items():
        value = getattr(args, name)
        if value is not None:
            if not re.fullmatch(pattern, value):
                raise ConfigError(f"--{name} {value!r}: must be {form}")
            options[name] = value
    given = train.arguments().parse_args([args.config, *args.train])
    for name in ("resume", "from_step", "folds"):
        if getattr(given, name) is not None:
            raise ConfigError(f"-- --{name.replace('_', '-')}: a job goes on by --resume auto; leave it out")
    for name in ("overwrite", "check"):
        if getattr(given, name):
            raise ConfigError(f"-- --{name}: would be done each time that the job begins; leave it out")
    common.load_checked(args.config, given.cfg_options)
    stem = Path(args.config.removeprefix(PACKAGED)).stem or "run"
    folder = Path(given.work_dir) if given.work_dir else Path("work_dirs") / stem
    words = [args.config, *args.train, *([] if given.work_dir else ["--work-dir", str(folder)])]
    words += ["--device", "cpu"] if not args.gpus and given.device is None else []
    name = re.sub(r"[^\w.-]", "_", stem)[:40]
    return Job(name, folder, args.nodes, args.gpus, args.cpus, args.restarts, options, words)


def script_of(job: Job) -> str:
    """Returns the script; words of the command line are quoted, so that the shell takes them as they are."""
    output = f"{job.folder}/slurm-%j.out" if SAFE_PATH.fullmatch(str(job.folder)) else f"slurm-{job.name}-%j.out"
    asked = {
        "job-name": job.name,
        "nodes": str(job.nodes),
        "ntasks-per-node": "1",
        **({"gpus-per-node": str(job.gpus)} if job.gpus else {}),
        **({"cpus-per-task": str(job.cpus)} if job.cpus else {}),
        **job.options,
        "output": output,
        "open-mode": "append",
        "signal": f"B:USR1@{WARNING}",
    }
    head = "\n".join(f"#SBATCH --{name}={value}" for name, value in asked.items())
    words = shlex.join(job.train)
    cpus = f" --cpus-per-task={job.cpus}" if job.cpus else ""
    return f"""#!/bin/bash
{head}
#SBATCH --requeue

# The first node of the job is where the processes find each other.
HOST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 20000))

# {WARNING} s before its time is over the job saves and goes back into the queue.
STEP= REQUEUE=no
trap 'REQUEUE=yes; kill -USR1 "$STEP"' USR1

srun --kill-on-bad-exit=1{cpus} {shlex.quote(sys.executable)} -m torch.distributed.run \\
    --nnodes={job.nodes} --nproc-per-node={max(job.gpus, 1)} --max-restarts={job.restarts} \\
    --rdzv-id="$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}" --rdzv-backend=c10d --rdzv-endpoint="$HOST:$PORT" \\
    --signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \\
    -m segkit.cli.main train {words} --resume auto &
STEP=$!
wait "$STEP"
CODE=$?
while kill -0 "$STEP" 2> /dev/null; do # the signal ended the wait, and not yet the training
    wait "$STEP"
    CODE=$?
done
if [ "$REQUEUE" = yes ] && [ "$CODE" != 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
"""


def submit(path: Path) -> str:
    """Submits a script. Returns the number of the job.

    Raises:
        ConfigError: there is no sbatch here, or it refuses.
    """
    try:
        done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(
            f"sbatch: cannot be run here ({error.strerror}); run this on a login node of the cluster, or submit {path} "
            "there"
        ) from error
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["without a word"]
        raise ConfigError(f"sbatch {path}: is refused ({reason[-1]}); correct the options of segkit launch")
    return done.stdout.strip().partition(";")[0]
