"""segkit autolabel: drafts of semantic and instance models, their order, how it goes on, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit import api
from segkit.cli.main import main
from segkit.data.files.coco_json import draw, read_coco
from segkit.data.instances.coco import COCOInstances
from segkit.data.semantic.folder import Folder
from segkit.runners.labelling.judges import SemanticJudge
from tests.exported import CLASSES
from tests.labelling.made import instances, semantic
from tests.self_training.made import pictures

NAMES = ["a/1", "a/3", "b/0", "b/2", "b/4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two semantic checkpoints, one of instances, and five images in two folders."""
    folder = tmp_path_factory.mktemp("autolabel")
    semantic(folder / "one.pt")
    semantic(folder / "two.pt", seed=1)
    instances(folder / "objects.pt")
    pictures(folder / "images")
    return folder


def autolabel(made: Path, out: Path, *words: str, checkpoints: tuple[str, ...] = ("one",)) -> int:
    files = [str(made / f"{name}.pt") for name in checkpoints]
    return main(["autolabel", *files, str(made / "images"), "--out", str(out), "--trust", *words])


def content_of(out: Path) -> dict:
    return json.loads((out / "drafts.json").read_text())


def mean_of(made: Path, name: str) -> np.ndarray:
    each = []
    for file in ("one", "two"):
        model = api.load_model(made / f"{file}.pt", trust=True)
        model.config["runner"] = dict(type="Semantic", probabilities=True)
        each.append(api.predict(model, made / "images" / f"{name}.png")["probabilities"])
    return (each[0] + each[1]) / 2


def test_drafts_of_several_checkpoints_are_their_mean_and_the_least_certain_come_first(made, tmp_path):
    assert autolabel(made, tmp_path / "out", "--scores", checkpoints=("one", "two")) == 0
    content, coco = content_of(tmp_path / "out"), read_coco(tmp_path / "out/objects.json")
    certainty = {}
    for image in coco.images:
        name = image["file_name"].removesuffix(".png")
        mean = mean_of(made, name)
        mask = np.asarray(Image.open(tmp_path / f"out/masks/{name}.png"))
        assert np.array_equal(mask, mean.argmax(0)) and (image["height"], image["width"]) == mask.shape
        scores = np.asarray(Image.open(tmp_path / f"out/scores/{name}.png"))
        assert np.array_equal(scores, np.floor(mean.max(0).astype(np.float64) * 255))
        certainty[image["file_name"]] = float(mean.max(0).mean())
        rows = coco.annotations[image["id"]]
        assert {row["category_id"] - 1 for row in rows} == set(np.unique(mask).tolist())
        for row in rows:
            region = mask == row["category_id"] - 1
            assert np.array_equal(draw(row["segmentation"], *mask.shape), region) and row["area"] == region.sum()
            assert row["score"] == pytest.approx(mean.max(0)[region].mean(), abs=1e-5)
    order = sorted(certainty, key=lambda file: certainty[file])
    assert [row["image"] for row in content["images"]] == order and len(order) == 5
    found = [row["score"] for row in content["images"]]
    assert found == pytest.approx([certainty[file] for file in order], abs=1e-5) and found == sorted(found)
    assert content["kind"] == "semantic" and content["classes"] == CLASSES
    assert (tmp_path / "out/classes.txt").read_text().split() == CLASSES


def test_data_sets_read_the_drafts(made, tmp_path):
    assert autolabel(made, tmp_path / "out") == 0
    data = Folder(str(tmp_path / "out"), CLASSES, images=str(made / "images"))
    assert len(data) == 5
    for index, name in enumerate(NAMES):
        assert np.array_equal(data.mask(index), np.asarray(Image.open(tmp_path / f"out/masks/{name}.png")))
    file = str(tmp_path / "out/objects.json")
    objects = COCOInstances(annotations=file, images=str(made / "images"), boxes_only=False)
    assert len(objects) == 5 and len(objects.sample(0, np.random.default_rng(0))["boxes"])


def test_pixels_below_the_threshold_are_left_to_the_user(made, tmp_path):
    mean = mean_of(made, "a/3")
    limit = round(float(np.median(mean.max(0))), 4)
    assert autolabel(made, tmp_path / "out", "--threshold", str(limit), checkpoints=("one", "two")) == 0
    mask = np.asarray(Image.open(tmp_path / "out/masks/a/3.png"))
    assert np.array_equal(mask, np.where(mean.max(0) >= np.float32(limit), mean.argmax(0), 255))


def test_drafts_of_instances(made, tmp_path):
    assert autolabel(made, tmp_path / "out", checkpoints=("objects",)) == 0
    content, coco = content_of(tmp_path / "out"), read_coco(tmp_path / "out/objects.json")
    assert content["kind"] == "instances" and content["classes"] == ["background", "tree", "car"]
    # objects of .9 and .6 are as certain as .8 and .2; that of .02 is none
    assert [row["score"] for row in content["images"]] == pytest.approx([0.5] * 5, abs=1e-6)
    assert [row["image"] for row in content["images"]] == [f"{name}.png" for name in NAMES]
    expected = np.zeros((30, 40), np.uint8)
    expected[:15] = 1  # the tree
    expected[:, :20] = 2  # the car, which is surer, above it
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/masks/b/2.png")), expected)
    rows = coco.annotations[coco.images[0]["id"]]
    assert [(row["category_id"], round(row["score"], 4), row["bbox"]) for row in rows] == [
        (2, 0.9, [0, 0, 20, 30]),
        (1, 0.6, [0, 0, 40, 15]),
    ]
    assert [category["name"] for category in coco.categories] == ["tree", "car"]
    assert autolabel(made, tmp_path / "sure", "--score", "0.7", checkpoints=("objects",)) == 0
    assert set(np.unique(np.asarray(Image.open(tmp_path / "sure/masks/b/2.png")))) == {0, 2}


def test_a_command_that_was_broken_off_goes_on(made, tmp_path, monkeypatch, capsys):
    assert autolabel(made, tmp_path / "whole") == 0
    draft, calls = SemanticJudge.draft, []

    def counted(self, image):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return draft(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(SemanticJudge, "draft", counted)
        with pytest.raises(KeyboardInterrupt):
            autolabel(made, tmp_path / "out")
    assert not (tmp_path / "out/drafts.json").exists()
    journal = tmp_path / "out/drafts.journal"
    journal.write_bytes(journal.read_bytes() + b'["b/0", {"size"')  # killed in the middle of a line
    again = []
    monkeypatch.setattr(SemanticJudge, "draft", lambda self, image: again.append(1) or draft(self, image))
    assert autolabel(made, tmp_path / "out") == 0 and len(again) == 3
    for name in ("drafts.json", "objects.json", *(f"masks/{name}.png" for name in NAMES)):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not journal.exists()
    assert autolabel(made, tmp_path / "out") == 0 and len(again) == 3
    assert "all 5 images have their drafts already" in capsys.readouterr().out


def test_other_settings_are_refused_and_overwritten_on_request(made, tmp_path, capsys):
    out = tmp_path / "out"
    assert autolabel(made, out) == 0
    before = (out / "masks/a/1.png").read_bytes()
    assert autolabel(made, out, "--threshold", "0.9") == 2
    assert "holds drafts made otherwise (threshold: 0.0 -> 0.9)" in capsys.readouterr().err
    assert autolabel(made, out, checkpoints=("two",)) == 2
    assert "checkpoints: " in capsys.readouterr().err and (out / "masks/a/1.png").read_bytes() == before
    assert autolabel(made, out, "--overwrite", checkpoints=("two",)) == 0
    assert (out / "masks/a/1.png").read_bytes() != before
    (out / "drafts.json").write_text("[1]")
    assert autolabel(made, out) == 2
    assert "not as segkit autolabel writes it; choose another --out" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_named_and_tried_again(made, tmp_path, capsys):
    images = tmp_path / "images"
    pictures(images, 3)
    (images / "a/5.png").write_bytes(b"no picture")
    words = ["autolabel", str(made / "one.pt"), str(images), "--out", str(tmp_path / "out"), "--trust"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "1 of 4 images failed" in told.err and "a/5.png" in told.err and "3 drafts" in told.out
    assert len(content_of(tmp_path / "out")["images"]) == 3
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(images / "a/5.png")
    assert main(words) == 0 and len(content_of(tmp_path / "out")["images"]) == 4


@pytest.mark.parametrize(
    "words, checkpoints, message",
    [
        (("--threshold", "1.5"), ("one",), "threshold = 1.5: must lie between 0 and 1"),
        (("--threshold", "0.5", "0.5"), ("one",), "threshold: 2 numbers for 6 classes"),
        (("--agree",), ("one",), "agree: one model agrees with itself"),
        (("--score", "2"), ("objects",), "--score 2: must lie between 0 and 1"),
        (("--tta",), ("objects",), "a sliding window and TTA (--slide, --tta) are not for instances"),
        ((), ("objects", "one"), "finds instances, and objects of several models have no mean; give one checkpoint"),
        ((), ("one", "objects"), "predicts no probabilities of classes at each pixel"),
        ((), ("images",), "give one checkpoint or more first"),
    ],
)
def test_what_cannot_be_is_refused(made, tmp_path, capsys, words, checkpoints, message):
    if checkpoints == ("images",):
        assert main(["autolabel", str(made / "images"), "--out", str(tmp_path / "out")]) == 2
    else:
        assert autolabel(made, tmp_path / "out", *words, checkpoints=checkpoints) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/drafts.json").exists()
