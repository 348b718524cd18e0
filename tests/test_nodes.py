"""Two launches of torchrun, as on two machines, whose folders are their own: all commands do what one process does."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segkit.engine import checkpoint
from segkit.engine.hooks import Hook
from segkit.readers.python_config import dump
from segkit.viz import draw
from tests.tiny import sections

pytestmark = pytest.mark.slow
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"

PROGRAM = """
import os, sys
from segkit.cli.main import main

own, shared = os.getcwd(), sys.argv[1]
codes = [main(["train", "run.py", "--device", "cpu", "--resume", "auto"])]
codes += [main(["train", "run.py", "--device", "cpu", "--resume", "auto", "--cfg-options", "loop.steps=8"])]
path = sys.argv[-1] if len(sys.argv) > 2 else shared + "/work_dirs/run/last.pt"
codes += [main(["pseudo", path, shared + "/images", "--out", "apart", "--trust", "--device", "cpu"])]
os.chdir(shared)
codes += [main(["test", path, "--split", "val", "--out", "scores.json", "--per-image", "--trust", "--device", "cpu"])]
codes += [main(["predict", path, "images", "--out", "predicted", "--probabilities", "--trust", "--device", "cpu"])]
codes += [main(["pseudo", path, "images", "--out", "pseudo", "--share", "0.5", "--trust", "--device", "cpu"])]
print("codes", codes)
"""


class Ends(Hook):
    """Ends or holds process 1 at a step, at its first start alone."""

    def __init__(self, step: int = 5, seconds: float = 0.0):
        self.step, self.seconds = step, seconds

    def after_step(self, loop, terms):
        if loop.step == self.step and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            time.sleep(self.seconds)
            if not self.seconds:
                os.kill(os.getpid(), signal.SIGKILL)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as open_socket:
        open_socket.bind(("localhost", 0))
        return open_socket.getsockname()[1]


def on_nodes(folders: list[Path], words: list[str], *options: str, before=((), ()), host="localhost") -> list:
    """Runs a program by one torchrun in each folder. Returns code and output of each."""
    port = free_port()
    rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint={host}:{port}", "--rdzv-id=test", f"--nnodes={len(folders)}"]
    started = []
    for folder, first in zip(folders, before):
        command = [*first, *TORCHRUN, *rendezvous, *options, *words]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(subprocess.Popen(command, cwd=folder, env=environment(), **pipes))
    outputs = [process.communicate(timeout=600)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs)]


def write_config(folder: Path, batch: int = 2, **changes) -> None:
    folder.mkdir(exist_ok=True)
    cfg = sections(eval_every=3)
    cfg["model"]["backbone"] = dict(type="tests.test_distributed:PlainBackbone", dropout=0.0)
    cfg["train"]["batch_size"] = batch
    cfg["optimizer"]["groups"] = []
    cfg["loop"]["process_timeout"] = 120.0
    (folder / "run.py").write_text(dump(cfg | changes))


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(3)
    for i in range(5):
        draw.save_png(folder / f"{i}.png", rng.integers(0, 255, (20 + i, 33, 3)).astype(np.uint8))


def check_equal_to_one_process(nodes: list[Path], alone: Path, outputs: list[str]) -> None:
    """nodes: folders of the machines, the first one shared by all for the later commands; alone: of one process."""
    write_config(alone, batch=4)
    write_images(alone / "images")
    command = [sys.executable, str(alone.parent / "program.py"), str(alone), str(nodes[0] / "work_dirs/run/last.pt")]
    done = subprocess.run(command, cwd=alone, env=environment(), capture_output=True, text=True)
    assert "codes [0, 0, 0, 0, 0, 0]" in done.stdout, done.stdout + done.stderr
    path = "work_dirs/run/last.pt"
    first = checkpoint.read(alone / path)["model"]
    second = checkpoint.read(nodes[0] / path)
    assert second["step"] == 8 and len(second["rng"]) == 2
    assert max(float((first[k] - second["model"][k]).abs().max()) for k in first) < 1e-5
    scores = [json.loads((folder / "scores.json").read_text()) for folder in (alone, nodes[0])]
    assert [score.pop("images_per_second") is not None for score in scores] == [True, True]
    assert scores[0] == scores[1] and scores[0]["images"] == 5
    for pattern in ("scores_per_image.csv", "predicted/**/*.png", "predicted/**/*.npz", "pseudo/**/*.png"):
        files = sorted(file.relative_to(alone) for file in alone.glob(pattern))
        assert files and files == sorted(file.relative_to(nodes[0]) for file in nodes[0].glob(pattern)), pattern
        for file in files:
            if file.suffix == ".npz":
                a, b = (np.load(folder / file)["probabilities"] for folder in (alone, nodes[0]))
                assert (a == b).all(), file
            else:
                assert (alone / file).read_bytes() == (nodes[0] / file).read_bytes(), file
    one, two = (json.loads((folder / "pseudo/pseudo.json").read_text()) for folder in (alone, nodes[0]))
    assert one["images"] == two["images"] and one["summary"] == two["summary"]
    log = [json.loads(line) for line in (nodes[0] / "work_dirs/run/log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log if "val" not in record] == [1, 2, 4, 6, 7, 8]
    assert not (nodes[1] / "work_dirs/run").exists(), "the first machine alone writes"
    main_output, other = outputs
    assert "2 nodes x 1 processes: " in main_output and "5 images: " in main_output
    assert "apart: is not the same folder on all 2 nodes" in main_output
    own_lines = [line for line in other.splitlines() if not line.startswith(("codes [", "[W"))]  # torch's warnings
    assert own_lines == [], other


def test_two_machines_do_what_one_process_does(tmp_path):
    nodes = [tmp_path / "a", tmp_path / "b"]
    for node in nodes:
        write_config(node)
    write_images(nodes[0] / "images")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = on_nodes(nodes, [str(tmp_path / "program.py"), str(nodes[0])], "--nproc-per-node=1")
    assert [code for code, _ in done] == [0, 0], done
    assert all("codes [0, 0, 2, 0, 0, 0]" in output for _, output in done), done
    # torchrun numbers the nodes by their names and process numbers, not in the order of their start
    if not (nodes[0] / "work_dirs/run/last.pt").exists():
        pytest.fail(f"the run lies on the other node: {done}")
    check_equal_to_one_process(nodes, tmp_path / "alone", [output for _, output in done])


def test_a_killed_process_is_started_again_and_the_run_is_the_unbroken_one(tmp_path):
    """Batch norms and dropout included: all go on from what they have saved together."""
    runs = {}
    for name, hooks in (("whole", []), ("killed", [dict(type="tests.test_nodes:Ends")])):
        folder = tmp_path / name
        folder.mkdir()
        cfg = sections(eval_every=3) | {"hooks": hooks}
        cfg["loop"].update(steps=8, save_every=2)
        (folder / "run.py").write_text(dump(cfg))
        words = ["-m", "segkit.cli.main", "train", "run.py", "--device", "cpu", "--resume", "auto"]
        command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1", *words]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        runs[name] = (done, checkpoint.read(folder / "work_dirs/run/last.pt"), folder)
    (_, one, _), (done, two, folder) = runs["whole"], runs["killed"]
    assert "resumed: work_dirs/run/last.pt at step 4" in done.stdout
    assert "another process of this run has ended without a word" in done.stderr
    assert one["step"] == two["step"] == 8
    assert all((one["model"][key] == two["model"][key]).all() for key in one["model"])
    assert all((a["cpu"] == b["cpu"]).all() for a, b in zip(one["rng"], two["rng"]))
    steps = [json.loads(line) for line in (folder / "work_dirs/run/log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in steps if "val" not in record] == [1, 2, 4, 5, 6, 8]

    # and on one process, with the same images at each step
    more = ["--resume", "auto", "--cfg-options", "loop.steps=10", "hooks=[]"]
    command = [sys.executable, "-m", "segkit.cli.main", "train", "run.py", "--device", "cpu", *more]
    alone = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "images per step 2 x 1 x 2 -> 2 x 2 x 1" in alone.stdout
    assert checkpoint.read(folder / "work_dirs/run/last.pt")["step"] == 10


def test_a_hanging_process_ends_the_run_with_its_name(tmp_path):
    cfg = sections(process_timeout=6.0) | {"hooks": [dict(type="tests.test_nodes:Ends", step=3, seconds=60.0)]}
    cfg["loop"].update(save_every=0)
    (tmp_path / "run.py").write_text(dump(cfg))
    words = ["-m", "segkit.cli.main", "train", "run.py", "--device", "cpu"]
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode != 0
    line = next(line for line in done.stderr.splitlines() if line.startswith("[rank 0] WorkerError: "))
    match = r"loop\.process_timeout = 6: process 1 on \S+ gave no answer within 6 s \(this one is process 0 of 0 to 1\)"
    assert re.search(match, line), line
    assert re.search(r"process 1 still runs, it was at \S+test_nodes\.py:\d+ \(after_step\), in the training", line), (
        line
    )
    assert "is saved in work_dirs/run/last.pt" in done.stderr
    assert "Traceback" not in done.stderr.partition("[rank 0]")[0]


def test_machines_that_differ_say_so_once(tmp_path):
    nodes = [tmp_path / "a", tmp_path / "b"]
    write_config(nodes[0])
    write_config(nodes[1], batch=3)
    words = ["-m", "segkit.cli.main", "train", "run.py", "--device", "cpu"]
    done = on_nodes(nodes, words, "--nproc-per-node=1")
    text = "".join(output for _, output in done)
    assert all(code != 0 for code, _ in done)
    assert text.count("ConfigError: process 0 on ") == 1 and "[rank 0] ConfigError" in text, text
    assert re.search(r"have different configs \(train\.batch_size [23] -> [23]\)", text), text
    (nodes[1] / "run.py").write_text("model = dict(")
    done = on_nodes(nodes, words, "--nproc-per-node=1")
    text = "".join(output for _, output in done)
    assert all(code != 0 for code, _ in done), text
    assert re.search(r"OtherFailed: process [01] of this run has ended: ConfigError: .*run\.py", text), text


def can_make_namespaces() -> str:
    """Why two network namespaces cannot be made here; "" where they can."""
    if shutil.which("ip") is None:
        return "no program `ip`"
    done = subprocess.run(["ip", "netns", "add", "segkit-try"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", "segkit-try"], capture_output=True)
    return "" if done.returncode == 0 else f"ip netns: {done.stderr.strip() or done.returncode}"


@pytest.fixture
def namespaces():
    """Two network namespaces joined by a cable. Yields the commands that run a program in each."""
    if reason := can_make_namespaces():
        pytest.skip(reason)
    names = [f"segkit{os.getpid()}{letter}" for letter in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ends = [f"sk{os.getpid() % 10000}{letter}" for letter in "ab"]
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends)):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={end}"] for name, end in zip(names, ends)]
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{error.cmd}: {error.stderr}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_two_machines_with_a_network_between_them(tmp_path, namespaces):
    nodes = [tmp_path / "a", tmp_path / "b"]
    for node in nodes:
        write_config(node)
    write_images(nodes[0] / "images")
    (tmp_path / "program.py").write_text(PROGRAM)
    port = free_port()
    started = []
    for number, (folder, first) in enumerate(zip(nodes, namespaces)):
        options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=10.77.0.1:{port}"]
        options += ["--rdzv-id=test", f"--local-addr=10.77.0.{number + 1}", f"--rdzv-conf=is_host={int(not number)}"]
        command = [*first, *TORCHRUN, *options, str(tmp_path / "program.py"), str(nodes[0])]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(subprocess.Popen(command, cwd=folder, env=environment(), **pipes))
    outputs = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    check_equal_to_one_process(nodes, tmp_path / "alone", outputs)
