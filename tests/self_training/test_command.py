"""segkit pseudo: what it writes, how it goes on, shards, and what it refuses."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit import api
from segkit.cli.main import main
from segkit.data.files.pseudo_manifest import image_key, read_manifest
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.pseudo_labels import PseudoLabels
from segkit.files import DataError
from segkit.runners.self_training.labelling import Labeller
from tests.exported import checkpoint_of, config
from tests.self_training.made import checkpoint, pictures


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two checkpoints and a folder of images; the second checkpoint is of another seed."""
    folder = tmp_path_factory.mktemp("pseudo")
    checkpoint(folder / "one")
    checkpoint(folder / "two", seed=1)
    pictures(folder / "images")
    return folder


def pseudo(made: Path, out: Path, *words: str, checkpoints: tuple[str, ...] = ("one",)) -> int:
    files = [str(made / name / "last.pt") for name in checkpoints]
    return main(["pseudo", *files, str(made / "images"), "--out", str(out), "--trust", *words])


def probabilities(made: Path, name: str, image: str) -> np.ndarray:
    model = api.load_model(made / name / "last.pt", trust=True)
    model.config["runner"] = dict(type="Semantic", probabilities=True)
    return api.predict(model, made / "images" / f"{image}.png")["probabilities"]


def labels(out: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(out / "labels")): np.asarray(Image.open(p)) for p in sorted(out.rglob("labels/*/*.png"))}


def equal(a: Path, b: Path) -> bool:
    first, second = labels(a), labels(b)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_labels_are_the_mean_of_the_checkpoints_where_it_is_sure(made, tmp_path, capsys):
    both = [probabilities(made, name, "a/1") for name in ("one", "two")]
    mean = (both[0] + both[1]) / 2
    limit = round(float(np.median(mean.max(0))), 4)
    assert pseudo(made, tmp_path / "out", "--threshold", str(limit), checkpoints=("one", "two")) == 0
    expected = np.where(mean.max(0) >= np.float32(limit), mean.argmax(0), 255)
    assert 0 < (expected == 255).mean() < 1
    assert np.array_equal(labels(tmp_path / "out")["a/1.png"], expected)
    assert sorted(labels(tmp_path / "out")) == ["a/1.png", "a/3.png", "b/0.png", "b/2.png", "b/4.png"]
    content = json.loads((tmp_path / "out/pseudo.json").read_text())
    kept = [m != 255 for m in labels(tmp_path / "out").values()]
    assert content["summary"]["kept"] == pytest.approx(100 * np.mean(kept), abs=1e-3)
    assert content["summary"]["images"] == 5 and "5 images" in capsys.readouterr().out


def test_thresholds_of_classes_and_disagreement(made, tmp_path):
    limits = [0.0, 0.5, 0.18, 0.2, 0.19, 1.0]
    words = ("--threshold", *map(str, limits), "--agree", "--scores")
    assert pseudo(made, tmp_path / "out", *words, checkpoints=("one", "two")) == 0
    first, second = (probabilities(made, name, "b/2") for name in ("one", "two"))
    mean = (first + second) / 2
    label = mean.argmax(0)
    keeps = (mean.max(0) >= np.float32(limits)[label]) & (first.argmax(0) == second.argmax(0))
    assert np.array_equal(labels(tmp_path / "out")["b/2.png"], np.where(keeps, label, 255))
    scores = np.asarray(Image.open(tmp_path / "out/scores/b/2.png"))
    assert scores.dtype == np.uint8 and np.array_equal(scores, np.floor(mean.max(0).astype(np.float64) * 255))


def test_share_keeps_the_surest_pixels_of_each_class_of_all_images(made, tmp_path):
    assert pseudo(made, tmp_path / "out", "--share", "0.3") == 0
    names = ["a/1", "a/3", "b/0", "b/2", "b/4"]
    each = {name: probabilities(made, "one", name) for name in names}
    label = np.stack([p.argmax(0) for p in each.values()])
    sure = np.stack([p.max(0) for p in each.values()])
    found = np.stack([labels(tmp_path / "out")[f"{name}.png"] for name in names])
    for c in range(6):
        n = int((label == c).sum())
        wanted = int(0.3 * n)
        limit = np.sort(sure[label == c])[::-1][wanted - 1] if wanted else np.inf
        assert np.array_equal(found == c, (label == c) & (sure >= limit))
    assert (found != 255).mean() == pytest.approx(0.3, abs=0.01)


def test_folder_reads_the_labels(made, tmp_path):
    assert pseudo(made, tmp_path / "out", "--threshold", "0.2") == 0
    classes = read_manifest(tmp_path / "out").classes
    data = Folder(str(tmp_path / "out"), classes, images=str(made / "images"), masks="labels")
    mine = PseudoLabels(str(tmp_path / "out"))
    assert len(data) == len(mine) == 5
    for i, name in enumerate(data.ids):
        j = list(mine.ids).index(name)
        assert np.array_equal(data.mask(i), mine.mask(j)) and np.array_equal(data.image(i), mine.image(j))
        assert mine.sample(j, np.random.default_rng(0))["meta"]["pseudo"] is True


@pytest.mark.parametrize("words", [(), ("--share", "0.4")])
def test_shards_equal_one_process(made, tmp_path, capsys, words):
    assert pseudo(made, tmp_path / "whole", *words) == 0
    for turn in range(2):
        for number in (1, 2, 3):
            assert pseudo(made, tmp_path / "parts", "--shard", f"{number}/3", *words) == 0
        if turn == 0 and words:
            assert not (tmp_path / "parts/pseudo.json").exists()
            assert "shard 1 of 3: counted; shard 2 is not yet" in capsys.readouterr().out
    assert equal(tmp_path / "whole", tmp_path / "parts")
    whole, parts = (json.loads((tmp_path / name / "pseudo.json").read_text()) for name in ("whole", "parts"))
    assert whole["summary"] == parts["summary"] and whole["settings"] == parts["settings"]
    assert not (tmp_path / "parts/.progress").exists()


def failing_after(monkeypatch, name: str, count: int) -> list[int]:
    """Lets a method of Labeller fail at its call number count + 1; the list holds the images it was called for."""
    calls: list[int] = []
    method = getattr(Labeller, name)

    def counted(self, index, *rest):
        if len(calls) == count:
            raise DataError("broken off")
        calls.append(index)
        return method(self, index, *rest)

    monkeypatch.setattr(Labeller, name, counted)
    return calls


def test_a_command_that_was_broken_off_goes_on(made, tmp_path, monkeypatch, capsys):
    assert pseudo(made, tmp_path / "whole", "--share", "0.4") == 0
    monkeypatch.setattr("segkit.runners.self_training.labelling.SAVE_EVERY", 2)
    with monkeypatch.context() as patch:
        counted = failing_after(patch, "_predict", 3)  # in the first of two passes
        assert pseudo(made, tmp_path / "out", "--share", "0.4") == 2
    with monkeypatch.context() as patch:
        again = failing_after(patch, "_predict", 5)  # three that are left to count, and two to label
        assert pseudo(made, tmp_path / "out", "--share", "0.4") == 2
    assert (counted, again) == ([0, 1, 2], [2, 3, 4, 0, 1])
    with pytest.raises(DataError, match="not finished; run segkit pseudo again"):
        PseudoLabels(str(tmp_path / "out"))
    last = failing_after(monkeypatch, "_predict", 99)
    assert pseudo(made, tmp_path / "out", "--share", "0.4") == 0
    assert last == [2, 3, 4] and equal(tmp_path / "whole", tmp_path / "out")
    assert pseudo(made, tmp_path / "out", "--share", "0.4") == 0
    assert len(last) == 3 and "all 5 images are labelled already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, checkpoints, difference",
    [
        (("--threshold", "0.3"), ("one",), "threshold: 0.2 -> 0.3"),
        (("--threshold", "0.2", "--tta"), ("one",), "other inference"),
        (("--threshold", "0.2"), ("two",), "other checkpoints"),
        (("--threshold", "0.2", "--share", "0.5"), ("one",), "share: None -> 0.5"),
    ],
)
def test_other_settings_are_refused_and_overwritten_on_request(made, tmp_path, capsys, words, checkpoints, difference):
    out = tmp_path / "out"
    assert pseudo(made, out, "--threshold", "0.2") == 0
    before = labels(out)
    assert pseudo(made, out, *words, checkpoints=checkpoints) == 2
    assert f"made otherwise ({difference}" in capsys.readouterr().err
    assert all(np.array_equal(before[name], m) for name, m in labels(out).items())
    assert pseudo(made, out, *words, "--overwrite", checkpoints=checkpoints) == 0
    assert pseudo(made, tmp_path / "new", *words, checkpoints=checkpoints) == 0
    assert equal(out, tmp_path / "new")


@pytest.mark.parametrize(
    "words, message",
    [
        (("--threshold", "0.5", "0.5"), "threshold: 2 numbers for 6 classes (background, striped disk"),
        (("--threshold", "1.5"), "threshold = 1.5: must lie between 0 and 1"),
        (("--share", "-0.1"), "share = -0.1: must lie between 0 and 1"),
        (("--agree",), "agree: one model agrees with itself"),
        (("--shard", "4/3"), "--shard 4/3: must be I/N"),
        (("--shard", "a"), "--shard a: must be I/N"),
    ],
)
def test_settings_that_cannot_be_are_refused(made, tmp_path, capsys, words, message):
    assert pseudo(made, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/labels").exists() and not (tmp_path / "out/pseudo.json").exists()


def test_words_that_cannot_be_are_refused(made, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(["pseudo", str(made / "images"), *out]) == 2
    assert "give one checkpoint or more first" in capsys.readouterr().err
    assert main(["pseudo", str(made / "one/last.pt"), *out]) == 2
    assert "give images, folders or globs after the checkpoint" in capsys.readouterr().err


def test_a_checkpoint_of_instances_makes_no_pseudo_labels(made, tmp_path, capsys):
    words = ["--cfg-options", "runner.type=BoxSupervised"]
    assert pseudo(made, tmp_path / "out", *words) == 2
    assert "the runner BoxSupervised predicts no probabilities of classes" in capsys.readouterr().err


def test_labels_older_than_their_checkpoint_are_noticed(made, tmp_path):
    path = checkpoint(tmp_path / "run")
    out = str(tmp_path / "out")
    assert main(["pseudo", str(path), str(made / "images"), "--out", out, "--trust"]) == 0
    assert len(PseudoLabels(out)) == 5
    os.utime(path, (1, 1))  # touched or copied: the bytes are the same
    assert len(PseudoLabels(out)) == 5
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"older than their checkpoint: .*run/last[.]pt has changed .* --overwrite"):
        PseudoLabels(out)
    assert len(PseudoLabels(out, allow_old=True)) == 5
    path.unlink()
    assert "is not known, since it is gone" in PseudoLabels(out).notes[0]


def test_least_score_and_least_image_filter_when_labels_are_read(made, tmp_path):
    out = tmp_path / "out"
    assert pseudo(made, out, "--scores") == 0
    scores = np.floor(probabilities(made, "one", "a/3").max(0).astype(np.float64) * 255) / 255
    limit = float(np.median(scores)) + 0.001
    everything, strict = PseudoLabels(str(out)), PseudoLabels(str(out), least_score=limit)
    i, keeps = list(strict.ids).index("a/3"), scores >= limit
    assert np.array_equal(strict.mask(i), np.where(keeps, everything.mask(i), 255)) and 0 < keeps.mean() < 1
    means = {name: entry.confidence for name, entry in read_manifest(out).images.items()}
    limit = sorted(means.values())[2]
    assert sorted(PseudoLabels(str(out), least_image=limit).ids) == sorted(n for n, c in means.items() if c >= limit)
    with pytest.raises(DataError, match="none of 5 images has a mean confidence of least_image = 1"):
        PseudoLabels(str(out), least_image=1.0)


def test_damaged_folders_are_a_sentence(made, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no such file; root must be the folder that segkit pseudo wrote"):
        PseudoLabels(str(out))
    assert pseudo(made, out) == 0
    with pytest.raises(DataError, match="least_score needs segkit pseudo --scores"):
        PseudoLabels(str(out), least_score=0.5)
    (out / "labels/a/1.png").unlink()
    with pytest.raises(DataError, match="1 of 5 files are missing: a/1; make the pseudo labels anew"):
        PseudoLabels(str(out))
    text = (out / "pseudo.json").read_text()
    for broken in (
        text[:50],
        "[]",
        "{}",
        text.replace('"a/1"', '"../../a"'),
        text.replace('"makers": [', '"makers": [7,'),
    ):
        (out / "pseudo.json").write_text(broken)
        with pytest.raises(DataError, match=r"pseudo[.]json"):
            PseudoLabels(str(out))


def test_an_image_is_known_by_its_folder_name_and_size(tmp_path):
    (tmp_path / "x/train").mkdir(parents=True)
    (tmp_path / "x/train/0.png").write_bytes(b"12345")
    assert image_key(str(tmp_path / "x/train/0.png")) == "train/0.png:5"
    assert image_key("Shapes(split='train')[3]") == "Shapes(split='train')[3]"


def test_pixels_without_data_are_read_as_they_were(made, tmp_path):
    assert pseudo(made, tmp_path / "out", "--nodata", "nan") == 0
    assert pseudo(made, tmp_path / "out", "--nodata", "nan") == 0  # the same settings, although NaN equals nothing
    assert np.isnan(PseudoLabels(str(tmp_path / "out")).nodata)
    assert pseudo(made, tmp_path / "out", "--nodata", "0,0,0") == 2
    assert pseudo(made, tmp_path / "out", "--nodata", "0,0,0", "--overwrite") == 0
    assert PseudoLabels(str(tmp_path / "out")).nodata == (0, 0, 0)


def test_labels_of_one_channel_are_those_that_predict_gives(tmp_path):
    """inference.threshold decides the label, in drafts too; both were cut at a half."""
    cfg = config(1, inference=dict(threshold=0.5))
    checkpoint_of(cfg, tmp_path / "one.pt", ("ground", "object"))
    images = pictures(tmp_path / "images", 2)
    model = api.load_model(tmp_path / "one.pt", trust=True)
    model.config["runner"] = dict(type="Semantic", probabilities=True)
    limit = round(float(np.median(api.predict(model, images / "a/1.png")["probabilities"])), 3)
    words = ["--trust", "--cfg-options", f"inference.threshold={limit}"]
    found = {}
    for command, folder in (("predict", "labels"), ("pseudo", "labels"), ("autolabel", "masks")):
        out = tmp_path / command
        assert main([command, str(tmp_path / "one.pt"), str(images), "--out", str(out), *words]) == 0
        found[command] = np.asarray(Image.open(out / folder / "a/1.png"))
    assert 0.3 < found["predict"].mean() < 0.7 and limit != 0.5
    assert np.array_equal(found["pseudo"], found["predict"])
    assert np.array_equal(found["autolabel"], found["predict"])


@pytest.mark.parametrize("command, manifest", [("pseudo", "pseudo.json"), ("autolabel", "drafts.json")])
def test_results_below_the_images_are_no_images(command, manifest, made, tmp_path):
    pictures(tmp_path / "images")
    out = tmp_path / "images/out"
    words = [command, str(made / "one/last.pt"), str(tmp_path / "images"), "--out", str(out), "--trust"]
    assert main(words) == 0
    written = set(out.rglob("*.png"))
    (out / manifest).unlink()
    assert main([*words, "--overwrite"] if command == "pseudo" else words) == 0
    assert set(out.rglob("*.png")) == written
