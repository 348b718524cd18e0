"""Two processes under torchrun label and train as one does."""

import json

import numpy as np
import pytest
from PIL import Image

from segkit.engine import checkpoint
from segkit.readers.python_config import dump
from tests.self_training.made import in_rounds, pictures
from tests.test_distributed import torchrun


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Rounds on one process with batches of 4 and on two with batches of 2; all labels are kept, so that each process
    has as many pixels."""
    folder = tmp_path_factory.mktemp("processes")
    for processes in (1, 2):
        cfg = in_rounds(1, ratio=(1, 1), threshold=0.0)
        cfg["model"]["backbone"] = dict(type="tests.test_distributed:PlainBackbone")
        cfg["train"]["batch_size"] = 4 // processes
        cfg["optimizer"]["groups"] = []
        (folder / f"run{processes}.py").write_text(dump(cfg))
        torchrun(processes, folder, "train", f"run{processes}.py", "--device", "cpu")
    return folder


@pytest.mark.slow
def test_rounds_on_two_processes_are_those_of_one(runs):
    one, two = (checkpoint.read(runs / f"work_dirs/run{n}/round1/last.pt")["model"] for n in (1, 2))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-4
    each = [json.loads((runs / f"work_dirs/run{n}/round0/pseudo/pseudo.json").read_text()) for n in (1, 2)]
    assert each[0]["images"].keys() == each[1]["images"].keys() and len(each[0]["images"]) == 8


@pytest.mark.slow
def test_two_processes_label_as_one_does(runs, tmp_path):
    images = pictures(tmp_path / "images", 5)
    words = ["pseudo", str(runs / "work_dirs/run1/round0/last.pt"), str(images), "--share", "0.5", "--device", "cpu"]
    for processes in (1, 2):
        torchrun(processes, tmp_path, *words, "--trust", "--out", f"out{processes}")
    one, two = (json.loads((tmp_path / f"out{n}/pseudo.json").read_text()) for n in (1, 2))
    assert one["summary"] == two["summary"] and one["images"] == two["images"]
    for name in one["images"]:
        a, b = (np.asarray(Image.open(tmp_path / f"out{n}/labels/{name}.png")) for n in (1, 2))
        assert np.array_equal(a, b) and 0 < (a == 255).mean() < 1
