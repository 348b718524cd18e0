"""The command that counts classes, and training with weights that a config names by their law."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

from segkit.cli import analyze, train
from segkit.config import load_config
from segkit.data.semantic.shapes import Shapes
from segkit.data.statistics import class_statistics
from segkit.readers.python_config import dump
from tests import tiny

DATA = 'dataset=dict(type="Shapes", split="train", size=(32, 32), length=12)'


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGKIT_CACHE", raising=False)


def config(tmp_path, text: str) -> str:
    (tmp_path / "own.py").write_text(text)
    return str(tmp_path / "own.py")


def test_classes_of_a_config_that_names_data_alone(tmp_path, capsys):
    path = config(tmp_path, f"train = dict({DATA})")
    assert analyze.main(["classes", path]) == 0
    shown = capsys.readouterr().out
    about = json.loads((tmp_path / "work_dirs/own/classes_train.json").read_text())
    data = Shapes("train", 12, size=(32, 32))
    pixels = np.bincount(np.concatenate([data.mask(i).ravel() for i in range(12)]), minlength=6)
    assert [row["pixels"] for row in about["classes"].values()] == pixels.tolist()
    assert sum(row["pixels_percent"] for row in about["classes"].values()) == pytest.approx(100)
    assert about["class_weight"]["median_frequency"] == class_statistics(data).weights("median_frequency")
    for name, count in zip(data.classes, pixels):
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{name} ")]
        assert f" {count:,} " in line
    assert "ignored: 0 pixels" in shown and "Shapes, train: 12 masks, 12,288 labelled pixels" in shown
    picture = cv2.imread(str(tmp_path / "work_dirs/own/classes_train.png"))
    assert picture is not None and picture.std() > 5
    assert len(list((tmp_path / "work_dirs/statistics").iterdir())) == 1


def test_split_and_out_and_refresh(tmp_path, capsys):
    sets = f"dict(a=dict({DATA}), b=dict({DATA}))"
    path = config(tmp_path, f"train = dict({DATA})\ntest = {sets}")
    assert analyze.main(["classes", path, "--split", "test", "--out", str(tmp_path / "there"), "--workers", "1"]) == 0
    assert sorted(file.name for file in (tmp_path / "there").iterdir()) == ["classes_test.json", "classes_test.png"]
    (file,) = (tmp_path / "work_dirs/statistics").iterdir()
    content = json.loads(file.read_text())
    content["values"] = content["values"][:1] * 12
    file.write_text(json.dumps(content))
    capsys.readouterr()
    assert analyze.main(["classes", path]) == 0
    from_cache = capsys.readouterr().out
    assert analyze.main(["classes", path, "--refresh"]) == 0
    assert capsys.readouterr().out != from_cache


@pytest.mark.parametrize(
    "text, options, told",
    [
        (f"train = dict({DATA})", ["--split", "val"], "--split val: .* has no section `val`"),
        (f"train = dict({DATA})", ["--workers", "-1"], "--workers -1"),
        (f"train = dict({DATA})", ["--cfg-options", "train.dataset.lenght=3"], "did you mean 'length'"),
        ('train = dict(dataset=dict(type="Shape"))', [], "no such data set; did you mean 'Shapes'"),
    ],
)
def test_mistakes_are_one_message(text, options, told, tmp_path, capsys):
    assert analyze.main(["classes", config(tmp_path, text), *options]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(told, error), error


def test_training_writes_the_numbers_of_a_named_law_into_its_checkpoint(tmp_path):
    sections = tiny.sections(seed=1)
    sections["losses"][0]["class_weight"] = "median_frequency"
    sections["losses"].append(dict(type="Focal", on="logits", target="mask", alpha="balanced"))
    sections["train"]["sampler"] = dict(type="ClassUniform", tile=16)
    sections["train"]["transforms"] = [dict(type="FocusCrop", size=16, low=1.0, high=1.5)]
    sections["train"]["workers"] = 1
    path = config(tmp_path, dump(sections))
    assert train.main([path, "--device", "cpu", "--cfg-options", "loop.steps=2"]) == 0
    statistics = class_statistics(Shapes("train", 12, size=(32, 32)))
    stored = torch.load(tmp_path / "work_dirs/own/last.pt", weights_only=True)["config"]["losses"]
    assert stored[0]["class_weight"] == statistics.weights("median_frequency")
    assert stored[2]["alpha"] == statistics.weights("inverse")
    written = load_config(tmp_path / "work_dirs/own/config.py")["losses"]
    assert written[0]["class_weight"] == stored[0]["class_weight"]


def test_a_misspelt_law_is_told_before_anything_is_read(tmp_path, capsys):
    sections = tiny.sections()
    sections["losses"][0]["class_weight"] = "median"
    assert train.main([config(tmp_path, dump(sections)), "--check"]) == 2
    error = capsys.readouterr().err
    assert "losses.0.class_weight = 'median': no such law; available: inverse, median_frequency" in error
    assert not (tmp_path / "work_dirs").exists()
