"""Several checkpoints as one model, files of probabilities, and scores of single images, against worked numbers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit import api
from segkit.cli.main import main
from segkit.engine import checkpoint
from segkit.metrics.per_image import ClickScores, InstanceScores, LabelMapScores, OverlappingScores, in_order
from segkit.registry import ConfigError
from segkit.runners.ensemble import load_ensemble
from tests.self_training.made import pictures, supervised
from tests.test_loop import loop_of


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two checkpoints of different seeds, a third whose images are resized first, and a folder of images."""
    folder = tmp_path_factory.mktemp("ensemble")
    for seed, name in enumerate(("one", "two")):
        cfg = supervised(seed=seed)
        checkpoint.save(folder / name / "last.pt", loop_of(cfg, folder / name).state_dict())
    content = checkpoint.read_any(folder / "two/last.pt")
    content["config"]["val"]["transforms"] = [dict(type="Resize", size=(48, 48), keep_ratio=False)]
    checkpoint.save(folder / "resized.pt", content)
    pictures(folder / "images")
    return folder


def files(made: Path, *names: str) -> list[Path]:
    return [made / f"{name}/last.pt" if (made / name).is_dir() else made / f"{name}.pt" for name in names]


def changed(made: Path, path: Path, **changes) -> Path:
    content = checkpoint.read_any(made / "one/last.pt")
    for name, value in changes.items():
        content[name] = {**content["config"], **value} if name == "config" else value
    checkpoint.save(path, content)
    return path


def probabilities(file: Path, image: Path, options=()) -> np.ndarray:
    model = api.load_model(None, file, options=options, trust=True)
    model.config["runner"] = dict(type="Semantic", probabilities=True)
    return api.predict(model, image)["probabilities"]


@pytest.mark.parametrize("names", [("one", "two"), ("one", "resized"), ("one", "two", "resized")])
def test_an_ensemble_predicts_the_mean_of_what_each_predicts_alone(names, made):
    image = made / "images/a/1.png"
    alone = [probabilities(file, image) for file in files(made, *names)]
    mean = sum(alone) / len(alone)
    found = api.predict(load_ensemble(files(made, *names), trust=True), image)
    assert found["labels"].shape == mean.shape[1:]
    assert np.array_equal(found["labels"], mean.argmax(0)) and "probabilities" not in found


def test_each_member_keeps_its_own_windows_and_views(made):
    """With TTA and windows switched on, each gives what it gives alone."""
    options = ("inference.mode=slide", "inference.crop=(24,24)", "inference.stride=(16,16)", "inference.tta.flip=True")
    image = made / "images/b/0.png"
    alone = [probabilities(file, image, options) for file in files(made, "one", "two")]
    found = api.predict(load_ensemble(files(made, "one", "two"), options=options, trust=True), image)
    assert np.array_equal(found["labels"], (sum(alone) / 2).argmax(0))


def test_test_and_predict_take_several_checkpoints(made, tmp_path, capsys):
    both = [str(file) for file in files(made, "one", "two")]
    out = tmp_path / "scores.json"
    assert main(["test", *both, "--trust", "--split", "val", "--out", str(out), "--per-image"]) == 0
    ensemble = load_ensemble(both, trust=True)
    assert json.loads(out.read_text())["mIoU"] == api.evaluate(ensemble, split="val")["mIoU"]
    assert json.loads(out.read_text())["mIoU"] == api.evaluate(both, split="val", trust=True)["mIoU"]
    words = ["predict", *both, str(made / "images"), "--trust", "--out", str(tmp_path / "found"), "--probabilities"]
    assert main(words) == 0
    mean = (
        probabilities(Path(both[0]), made / "images/a/1.png") + probabilities(Path(both[1]), made / "images/a/1.png")
    ) / 2
    assert np.array_equal(np.asarray(Image.open(tmp_path / "found/labels/a/1.png")), mean.argmax(0))
    with np.load(tmp_path / "found/probabilities/a/1.npz") as file:
        values, classes = file["probabilities"], list(file["classes"])
    assert values.dtype == np.float16 and np.array_equal(values, mean.astype(np.float16)) and len(classes) == 6
    assert "of each image: " in capsys.readouterr().out


def test_pseudo_labels_are_the_labels_of_the_ensemble(made, tmp_path):
    both = [str(file) for file in files(made, "one", "two")]
    assert main(["pseudo", *both, str(made / "images"), "--trust", "--out", str(tmp_path / "pseudo")]) == 0
    assert main(["predict", *both, str(made / "images"), "--trust", "--out", str(tmp_path / "found")]) == 0
    for name in ("a/1.png", "b/4.png"):
        pair = [np.asarray(Image.open(tmp_path / folder / "labels" / name)) for folder in ("pseudo", "found")]
        assert np.array_equal(*pair)


def test_probabilities_of_a_test_set(made, tmp_path):
    folder = tmp_path / "maps"
    api.evaluate(files(made, "one")[0], split="val", trust=True, probabilities=folder)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 5 and all(name.endswith(".npz") for name in names)
    with np.load(folder / names[0]) as file:
        assert file["probabilities"].shape == (6, 32, 32)
        assert np.allclose(file["probabilities"].astype(np.float32).sum(0), 1, atol=2e-3)


def test_other_classes_are_refused_with_the_difference(made, tmp_path):
    one = files(made, "one")[0]
    names = checkpoint.read_any(one)["classes"]
    other = changed(made, tmp_path / "other.pt", classes=[*names[:2], "tree", *names[3:]])
    with pytest.raises(
        ConfigError, match=f"other.pt: has other classes than .*: class 2 is 'tree' and there '{names[2]}'"
    ):
        load_ensemble([one, other], trust=True)
    fewer = changed(made, tmp_path / "fewer.pt", classes=names[:5])
    with pytest.raises(ConfigError, match=r"has 5 classes .* has 6"):
        load_ensemble([one, fewer], trust=True)


def test_models_without_probabilities_are_refused(made, tmp_path, capsys):
    one = files(made, "one")[0]
    instances = changed(made, tmp_path / "boxes.pt", config=dict(runner=dict(type="Interactive")))
    assert main(["test", str(one), str(instances), "--trust"]) == 2
    assert "boxes.pt: the runner Interactive predicts no probabilities of classes" in capsys.readouterr().err
    overlapping = changed(made, tmp_path / "overlap.pt", config=dict(runner=dict(type="MultiLabel")))
    assert main(["predict", str(one), str(overlapping), str(made / "images"), "--trust"]) == 2
    assert "differ in whether classes overlap" in capsys.readouterr().err
    words = [str(instances), str(made / "images"), "--trust", "--probabilities", "--out", str(tmp_path / "x")]
    assert main(["predict", *words]) == 2
    assert "--probabilities: the runner Interactive predicts no probabilities" in capsys.readouterr().err


def test_words_that_are_neither_checkpoints_nor_images_are_refused(made, capsys):
    one = str(files(made, "one")[0])
    assert main(["test", one, "images", "--trust"]) == 2
    assert "images: is no checkpoint" in capsys.readouterr().err
    assert main(["predict", one, one, "--trust"]) == 2
    assert "give images, folders or globs after the checkpoint" in capsys.readouterr().err


def test_overlapping_classes_take_the_mean_of_the_sigmoids(made, tmp_path):
    runner = dict(config=dict(runner=dict(type="MultiLabel")))
    first = changed(made, tmp_path / "a.pt", **runner)
    content = checkpoint.read_any(made / "two/last.pt")
    content["config"]["runner"] = dict(type="MultiLabel")
    checkpoint.save(tmp_path / "b.pt", content)
    image = made / "images/a/3.png"
    alone = [
        api.predict(api.load_model(file, trust=True), image)["probabilities"] for file in (first, tmp_path / "b.pt")
    ]
    found = api.predict(load_ensemble([first, tmp_path / "b.pt"], trust=True), image)
    assert np.array_equal(found["positive"], (alone[0] + alone[1]) / 2 > 0.5)


# scores of single images


class Set:
    classes, ignore = ("ground", "tree", "car"), 255


def test_scores_of_label_maps_are_those_worked_by_hand():
    truth = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 255]])
    labels = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 2]])
    batch = dict(mask=[truth, torch.full((1, 2), 255)], meta=[dict(id="a", path="x/a.png"), dict(id="b")])
    first, second = LabelMapScores(Set()).rows([dict(labels=labels), dict(labels=torch.zeros(1, 2, dtype=int))], batch)
    # ground 4 of 5, tree 2 of 3, car in neither since its only pixel is ignored; 6 of 7 pixels are right
    assert first["id"] == "a" and first["path"] == "x/a.png"
    assert first["IoU ground"] == pytest.approx(80) and first["IoU tree"] == pytest.approx(200 / 3)
    assert first["IoU car"] is None and first["mIoU"] == pytest.approx((80 + 200 / 3) / 2)
    assert first["aAcc"] == pytest.approx(600 / 7)
    assert second["mIoU"] is None and second["aAcc"] is None


def test_a_class_of_the_prediction_alone_counts_with_0():
    batch = dict(mask=[torch.tensor([[0, 0]])], meta=[dict(id="a")])
    (row,) = LabelMapScores(Set()).rows([dict(labels=torch.tensor([[0, 2]]))], batch)
    assert row["IoU car"] == 0 and row["mIoU"] == pytest.approx(25)


def test_scores_of_overlapping_masks():
    truth = torch.tensor([[[1, 1]], [[0, 255]], [[0, 0]]])
    found = torch.tensor([[[True, False]], [[False, True]], [[False, True]]])
    (row,) = OverlappingScores(Set()).rows([dict(positive=found)], dict(mask=[truth], meta=[dict(id="a")]))
    assert (row["IoU ground"], row["IoU tree"], row["IoU car"], row["mIoU"]) == (50, None, 0, 25)


def test_scores_of_clicks():
    rows = ClickScores(20).rows(
        [dict(ious=np.array([0.5, 0.82, 0.9], np.float32)), dict(ious=np.array([0.4], np.float32))],
        dict(meta=[dict(id="a"), dict(id="b")]),
    )
    assert [(r["NoC@80"], r["NoC@85"], r["NoC@90"], r["clicks"]) for r in rows] == [(2, 3, 3, 3), (20, 20, 20, 1)]
    assert rows[1]["IoU"] == pytest.approx(40)
    assert [row["id"] for row in in_order(rows, ClickScores.worst_first)] == ["b", "a"]


def test_scores_of_instances():
    from pycocotools import mask as coco_mask

    def square(x: int, side: int) -> dict:
        canvas = np.zeros((20, 40), np.uint8)
        canvas[2 : 2 + side, x : x + side] = 1
        return coco_mask.encode(np.asfortranarray(canvas))

    def truth(number: int, x: int, **more) -> dict:
        box = [x, 2, 10, 10]
        return dict(id=number, image_id=7, category_id=1, segmentation=square(x, 10), bbox=box, area=100, **more)

    class Boxes:
        annotations = dict(
            images=[dict(id=7, height=20, width=40)],
            categories=[dict(id=1, name="thing"), dict(id=2, name="other")],
            annotations=[truth(1, 2), truth(2, 20), truth(3, 30, iscrowd=1)],
        )

    # the first object with 8 x 8 of its 10 x 10 pixels; the second is missed; one more is of a class without objects,
    # and one has too low a score
    found = dict(
        masks=[square(2, 8), square(2, 8), square(20, 10)],
        scores=torch.tensor([0.9, 0.8, 0.2]),
        labels=torch.tensor([0, 1, 0]),
    )
    (row,) = InstanceScores(Boxes()).rows([found], dict(meta=[dict(id=7, path="7.png", size=(20, 40))]))
    assert (row["objects"], row["matched"], row["missed"], row["spurious"]) == (2, 1, 1, 1)
    assert row["mask_IoU"] == pytest.approx(64) and row["quality"] == pytest.approx(64 / 3)


def test_the_worst_come_first_and_what_has_no_score_last():
    rows = [dict(id=i, mIoU=v, aAcc=a) for i, v, a in [("d", 30, 1), ("c", None, 0), ("b", 30, 0), ("a", 70, 9)]]
    assert [row["id"] for row in in_order(rows, ("mIoU", "aAcc"))] == ["b", "d", "a", "c"]


def test_the_table_of_a_command_lists_every_image_once(made, tmp_path):
    out = tmp_path / "metrics.json"
    one = files(made, "one")[0]
    assert main(["test", str(one), "--trust", "--split", "val", "--out", str(out), "--per-image"]) == 0
    with open(tmp_path / "metrics_per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == len(rows) == 5
    values = [float(row["mIoU"]) for row in rows]
    assert values == sorted(values) and 0 <= values[0] < values[-1] <= 100
    assert set(rows[0]) >= {"id", "path", "mIoU", "aAcc", "IoU background"} and rows[0]["path"]
