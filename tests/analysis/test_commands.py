"""The commands of docs/evaluation.md on runs of seconds: what they write, that they go on, and what they refuse."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from segkit.analysis.bootstrap import Plan
from segkit.analysis.findings import Comparison
from segkit.analysis.recorders import ClickRecorder, LabelRecorder, MatchRecorder
from segkit.cli.compare import text_of
from segkit.cli.main import main
from segkit.engine import checkpoint
from segkit.registry import ConfigError
from segkit.runners.base import build_runner
from segkit.runners.refining.runner import MaskRefinement
from tests.analysis.test_bootstrap import instances
from tests.test_loop import loop_of
from tests.tiny import sections


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with two models that were not trained, of different seeds."""
    folder = tmp_path_factory.mktemp("analysis")
    for seed, name in enumerate(("last", "other")):
        cfg = sections(seed=seed)
        cfg["test"] = dict(workers=0, batch_size=2, dataset=dict(type="Shapes", size=(32, 32), length=4, split="test"))
        checkpoint.save(folder / f"{name}.pt", loop_of(cfg, folder / name).state_dict())
    return folder


def test_intervals_groups_and_calibration(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    rows = "".join(f"test_{k:06},{'rain' if k % 2 else 'sun'}\n" for k in range(4))
    (tmp_path / "weather.csv").write_text(f"id,weather\n{rows}")
    words = ["test", "last.pt", "--trust", "--device", "cpu", "--intervals", "--calibration", "--draws", "100"]
    out = tmp_path / "scores.json"
    by = f"{tmp_path / 'weather.csv'}:weather"
    assert main([*words, "--by", by, "--per-image", "--out", str(out)]) == 0
    scores = json.loads(out.read_text())
    found, printed = scores["analysis"], capsys.readouterr().out
    assert found["intervals"]["mIoU"]["value"] == pytest.approx(scores["mIoU"])
    assert found["intervals"]["mIoU"]["low"] <= scores["mIoU"] <= found["intervals"]["mIoU"]["high"]
    for name, row in scores["per_class"].items():
        assert row["IoU"] is None or found["intervals"][f"IoU {name}"]["value"] == pytest.approx(row["IoU"])
    assert {name: row["images"] for name, row in found["groups"][by].items()} == {"rain": 2, "sun": 2}
    bands = found["groups"]["distance from outlines"]
    assert len(bands) == 5 and 0 <= found["calibration"]["ECE"] <= 100
    assert "95 % intervals (100 draws of 4 images" in printed and "calibration: ECE" in printed
    text = out.with_suffix(".html").read_text()
    for title in ("Intervals", "Groups", "Calibration"):
        assert f"<h2>{title}</h2>" in text
    assert "analysis.intervals" not in text and 'class="whisker"' in text
    # the counts are those of the images
    with open(tmp_path / "scores_per_image.csv", newline="") as file:
        accuracy = {row["id"]: float(row["aAcc"]) for row in csv.DictReader(file)}
    counts = np.load(tmp_path / "scores_images.npz")
    right, true = counts["table.counts"][:, 0].sum(1), counts["table.counts"][:, 1].sum(1)
    assert dict(zip(counts["table.images"].tolist(), 100 * right / true)) == pytest.approx(accuracy, abs=1e-3)
    assert np.array_equal(counts["bands"].sum(1), counts["table.counts"])


def test_two_models_are_compared(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    out = tmp_path / "found.json"
    words = ["--trust", "--device", "cpu", "--draws", "100", "--out", str(out)]
    assert main(["compare", "last.pt", "other.pt", *words]) == 0
    content, printed = json.loads(out.read_text()), capsys.readouterr().out
    row = content["scores"]["aAcc"]
    assert content["images"] == 4 and row["second"] - row["first"] == pytest.approx(row["difference"]["value"])
    assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"] and 0 < row["p"] <= 1
    assert (
        "4 images that both have scored" in printed and "<h2>Differences</h2>" in out.with_suffix(".html").read_text()
    )
    assert "caution: 4 images are too few to tell models apart, whatever p says; score 20 or more" in printed
    # the counts of both lie beside the result, and give the same again
    assert main(["compare", str(tmp_path / "found_A.npz"), str(tmp_path / "found_B.npz"), *words]) == 0
    assert json.loads(out.read_text())["scores"] == content["scores"]
    for pair, text in (
        (("last.pt", "last.pt"), "compared with itself"),
        (("last.json", "other.pt"), "give a checkpoint"),
    ):
        assert main(["compare", *pair, *words]) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("images, is_said", [(19, True), (20, False)])
def test_few_images_are_a_caution(images, is_said):
    found = Comparison("a", "b", Plan(), images, main=(), differences={})
    assert ("caution: 19 images are too few" in text_of(found)) == is_said


def test_robustness_goes_on_where_it_was(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    out = tmp_path / "robust.json"
    words = ["robustness", "last.pt", "--trust", "--device", "cpu", "--out", str(out), "--images", "3"]
    assert main([*words, "--corruptions", "fog", "geometry", "--strengths", "2"]) == 0
    first = json.loads(out.read_text())
    assert list(first["cells"]) == ["clean", "fog/2", "scale_down/2", "scale_up/2", "rotation/2"]
    assert first["cells"]["clean"]["images"] == 3 and first["table"]["score"] == "mIoU"
    assert "5 of   5  rotation/2" not in capsys.readouterr().err
    # what is done stays, also in a file that a stopped run has left
    first["cells"]["fog/2"]["mIoU"] = 12.5
    out.write_text(json.dumps(first))
    assert main([*words, "--corruptions", "fog", "--strengths", "2", "5", "--reference", str(out)]) == 0
    again, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert again["cells"]["fog/2"]["mIoU"] == 12.5 and "fog/5" in again["cells"]
    assert "fog/2 " not in printed and "fog/5 " in printed and "mPC" in printed
    assert again["table"]["corruptions"]["fog"]["scores"]["2"] == 12.5
    assert out.with_suffix(".csv").read_text().splitlines()[2].startswith("weather,fog,12.50,")
    assert "<h2>Corruptions</h2>" in out.with_suffix(".html").read_text()
    assert main([*words[:-1], "2"]) == 2
    assert "holds scores of another run (images: 3 there, 2 here)" in capsys.readouterr().err


def test_words_that_do_not_fit(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    test = ["test", "last.pt", "--trust", "--device", "cpu"]
    for words, text in (
        ([*test, "--by", "w.csv:x"], "--by w.csv:x: parts the images of --intervals; give both"),
        ([*test, "--intervals", "--draws", "5"], "--draws 5: must be 100 or more"),
        ([*test, "--intervals", "--by", "no_such.csv:x"], "no_such.csv"),
        (["robustness", "last.pt", "--images", "-1"], "--images -1"),
        (["robustness", "last.pt", "--reference", "none.json"], "none.json"),
    ):
        assert main(words) == 2
        assert text in capsys.readouterr().err


def test_every_runner_says_what_it_keeps():
    dataset, _ = instances()
    dataset.classes, dataset.ignore = ("a", "b"), 255
    for runner, expected in (
        ("Semantic", LabelRecorder),
        ("Interactive", ClickRecorder),
        ("BoxSupervised", MatchRecorder),
    ):
        found = build_runner({"runner": {"type": runner}, "inference": {}})
        assert type(found.image_recorder(dataset, [])) is expected
    assert MaskRefinement.image_recorder is not build_runner({}).image_recorder
    with pytest.raises(ConfigError, match="runner MultiLabel have no counts"):
        build_runner({"runner": {"type": "MultiLabel"}}).image_recorder(dataset, [])
    with pytest.raises(ConfigError, match="runner Panoptic have no counts"):
        build_runner({"runner": {"type": "Panoptic", "things": [0]}}).image_recorder(dataset, [])
