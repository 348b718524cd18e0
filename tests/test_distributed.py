"""Two processes under torchrun on the CPU: one model, shared data, exact scores, resume."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from pytest import approx

from segkit.engine import checkpoint
from segkit.readers.python_config import dump
from tests.tiny import TinyBackbone, sections

SEGKIT = ("-m", "segkit.cli.main")


def torchrun(processes: int, folder, *words: str, program: tuple[str, ...] = SEGKIT) -> subprocess.CompletedProcess:
    """Runs the segkit command on that many processes of this machine."""
    env = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([*command, *program, *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run on one process with batches of 4 and on two with batches of 2, without dropout and batch norm."""
    folder = tmp_path_factory.mktemp("ddp")
    for processes in (1, 2):
        cfg = sections(eval_every=3)
        cfg["model"]["backbone"]["dropout"] = 0.0
        cfg["model"]["backbone"]["type"] = "tests.test_distributed:PlainBackbone"
        cfg["train"]["batch_size"] = 4 // processes
        cfg["optimizer"]["groups"] = []
        (folder / f"run{processes}.py").write_text(dump(cfg))
        torchrun(processes, folder, "train", f"run{processes}.py", "--device", "cpu")
    return folder


class PlainBackbone(TinyBackbone):
    """Without batch norm, whose statistics depend on the number of processes."""

    def __init__(self, width: int = 8, dropout: float = 0.0):
        super().__init__(width, dropout)
        self.first[1] = self.second[1] = torch.nn.Identity()


def records(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_two_processes_train_the_model_of_one(runs):
    one, two = (checkpoint.read(runs / f"work_dirs/run{n}/last.pt")["model"] for n in (1, 2))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5


def test_scores_agree_to_the_last_digit(runs):
    """Five images over two processes: no image twice, none left out."""
    path = str(runs / "work_dirs/run1/last.pt")
    for processes in (1, 2):
        done = torchrun(
            processes,
            runs,
            "test",
            "--trust",
            "none",
            path,
            "--split",
            "val",
            "--out",
            f"scored{processes}/metrics.json",
            "--per-image",
            "--intervals",
            "--calibration",
            "--draws",
            "100",
            "--device",
            "cpu",
        )
        assert done.stdout.count("page: ") == 1 and done.stdout.count("95 % intervals (100 draws of 5 images") == 1
    one, two = (json.loads((runs / f"scored{n}/metrics.json").read_text()) for n in (1, 2))
    one.pop("images_per_second"), two.pop("images_per_second")
    # sums of errors over processes are rounded in another order
    calibrations = [scores["analysis"].pop("calibration") for scores in (one, two)]
    assert calibrations[0].keys() == calibrations[1].keys() and calibrations[0]["ECE"] == approx(calibrations[1]["ECE"])
    assert one == two and one["images"] == 5 and one["analysis"]["intervals"]["mIoU"]["low"] is not None
    counts = [np.load(runs / f"scored{n}/metrics_images.npz") for n in (1, 2)]
    assert counts[0].files == counts[1].files
    assert all(np.array_equal(counts[0][name], counts[1][name]) for name in counts[0].files)
    tables = [(runs / f"scored{n}/metrics_per_image.csv").read_text() for n in (1, 2)]
    assert tables[0] == tables[1] and len(tables[0].splitlines()) == 6
    cards = [re.findall(r"<h4>.*?</h4>", (runs / f"scored{n}/report.html").read_text()) for n in (1, 2)]
    assert cards[0] == cards[1] and len(cards[0]) == 5


def test_two_processes_resume(runs):
    path = "work_dirs/run2"
    before = records(runs / path)[-1]["step"]
    torchrun(2, runs, "train", "run2.py", "--resume", "--device", "cpu", "--cfg-options", f"loop.steps={before + 2}")
    assert records(runs / path)[-1]["step"] == before + 2
    assert len(checkpoint.read(runs / path / "last.pt")["rng"]) == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are listed by Linux alone")
def test_no_thread_of_the_group_outlives_a_run(tmp_path):
    """One that drops a tensor while the interpreter goes down aborts the process, once in many runs."""
    (tmp_path / "run.py").write_text(dump(sections()))
    program = tmp_path / "program.py"
    program.write_text(
        "import glob, sys\nfrom segkit.cli.main import main\ncode = main()\n"
        "names = [open(path).read().strip() for path in glob.glob('/proc/self/task/*/comm')]\n"
        "left = [name for name in names if 'gloo' in name]\n"
        "sys.exit(f'left: {left}' if left else code)\n"
    )
    torchrun(2, tmp_path, "train", "run.py", "--device", "cpu", program=(str(program),))


@pytest.mark.slow
def test_class_steps_on_two_processes_are_those_of_one(tmp_path):
    from tests.incremental.test_step_runs import config

    for processes in (1, 2):
        cfg = config(steps=((0, 1, 2, 3), (4, 5)))
        cfg["model"]["backbone"]["type"] = "tests.test_distributed:PlainBackbone"
        cfg["train"]["batch_size"] = 4 // processes
        cfg["optimizer"]["groups"] = []
        (tmp_path / f"steps{processes}.py").write_text(dump(cfg))
        torchrun(processes, tmp_path, "train", f"steps{processes}.py", "--device", "cpu")
    one, two = (checkpoint.read(tmp_path / f"work_dirs/steps{n}/step1/last.pt")["model"] for n in (1, 2))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5
    scores = [json.loads((tmp_path / f"work_dirs/steps{n}/metrics.json").read_text()) for n in (1, 2)]
    assert scores[0]["steps"][1]["mIoU_all"] == pytest.approx(scores[1]["steps"][1]["mIoU_all"], abs=0.5)


@pytest.mark.slow
def test_clicks_on_two_processes(tmp_path):
    """Each process clicks on its own batch, as many rounds as it drew; every object is scored once."""
    from tests.interactive.test_click_training import sections as click_sections

    cfg = click_sections()
    cfg["val"]["dataset"]["length"] = 5
    (tmp_path / "clicks.py").write_text(dump(cfg))
    torchrun(2, tmp_path, "train", "clicks.py", "--device", "cpu")
    path = "work_dirs/clicks/last.pt"
    for n in (1, 2):
        torchrun(
            n, tmp_path, "test", "--trust", "none", path, "--split", "val", "--out", f"{n}.json", "--device", "cpu"
        )
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in (1, 2))
    clicks = [[(item["id"], item["clicks"], item["ious"]) for item in scores["items"]] for scores in (one, two)]
    assert clicks[0] == clicks[1] and len(clicks[0]) == 5 and one["NoC@90"] == two["NoC@90"]


@pytest.mark.slow
def test_instances_on_two_processes(tmp_path):
    """One image a process, of which four of six hold no object: no process waits for the other; each is scored once."""
    from tests.data.layouts import write_image
    from tests.instances.test_box_runner import sections as box_sections

    boxes = {0: [8, 8, 30, 20], 3: [20, 10, 25, 40]}
    truth = [
        dict(
            id=i + 1,
            image_id=i,
            category_id=1,
            bbox=box,
            area=box[2] * box[3],
            iscrowd=0,
            segmentation=[[box[0], box[1], box[0] + box[2], box[1], box[0], box[1] + box[3]]],
        )
        for i, box in boxes.items()
    ]
    images = [dict(id=i, file_name=f"{i}.png", height=64, width=64) for i in range(6)]
    for i in range(6):
        write_image(tmp_path / f"{i}.png", (64, 64))
    names = [dict(id=i, name=f"c{i}") for i in range(1, 6)]
    (tmp_path / "truth.json").write_text(json.dumps(dict(images=images, categories=names, annotations=truth)))
    cfg = box_sections("BoxLevelSet")
    dataset = dict(type="COCOInstances", annotations=str(tmp_path / "truth.json"), images=str(tmp_path))
    cfg["train"] |= dict(batch_size=1, dataset=dataset)
    cfg["val"]["dataset"], cfg["loop"]["steps"] = dataset, 6
    cfg["model"]["head"] |= dict(score_threshold=0.0, keep_score=0.0, mask_threshold=0.3, limit=4)
    (tmp_path / "boxes.py").write_text(dump(cfg))
    torchrun(2, tmp_path, "train", "boxes.py", "--device", "cpu")
    assert records(tmp_path / "work_dirs/boxes")[-1]["step"] == 6
    for n in (1, 2):
        torchrun(
            n,
            tmp_path,
            "test",
            "none",
            "work_dirs/boxes/last.pt",
            "--split",
            "val",
            "--out",
            f"{n}.json",
            "--device",
            "cpu",
        )
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in (1, 2))
    assert one["segm"] == two["segm"] and one["matched"] == two["matched"] and one["images"] == 6
