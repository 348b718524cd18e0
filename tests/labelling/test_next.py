"""segkit next: what it chooses and writes, images that are labelled, how it goes on, and what it refuses."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit import api
from segkit.cli.main import main
from segkit.cli.next import labelled_images
from segkit.data.semantic.folder import Folder
from segkit.data.splits.split import Listed
from segkit.files import DataError
from segkit.ops.self_training.choice import choose, uncertain_boxes
from segkit.ops.self_training.uncertainty import pixel_uncertainty
from segkit.runners.labelling.judges import SemanticJudge
from tests.labelling.made import instances, semantic

NAMES = [f"b/{i}.png" for i in range(7)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two semantic checkpoints, one of instances, seven images, and what the first two models say of them."""
    folder = tmp_path_factory.mktemp("next")
    semantic(folder / "one.pt")
    semantic(folder / "two.pt", seed=1)
    instances(folder / "objects.pt")
    rng = np.random.default_rng(0)
    (folder / "images/b").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        size = (30, 40) if i % 2 else (24, 36)
        colors = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
        Image.fromarray(colors).resize(size[::-1], Image.BILINEAR).save(folder / "images" / name)
    return folder


@pytest.fixture(scope="module")
def said(made):
    """Probabilities of both models, and the mean of the first one's deepest map, of each image."""
    probabilities: list[list[np.ndarray]] = [[] for _ in NAMES]
    features = []
    for file in ("one", "two"):
        model = api.load_model(made / f"{file}.pt", trust=True)
        model.config["runner"] = dict(type="Semantic", probabilities=True)
        for k, name in enumerate(NAMES):
            probabilities[k].append(api.predict(model, made / "images" / name)["probabilities"])
            if file == "one":
                image = torch.from_numpy(np.array(Image.open(made / "images" / name))).permute(2, 0, 1)[None]
                with torch.no_grad():
                    features.append(model.backbone(model.normalize(image))[-1][0].mean((1, 2)).numpy())
    return probabilities, np.stack(features)


def choose_next(made: Path, out: Path, *words: str, checkpoints: tuple[str, ...] = ("one",)) -> int:
    files = [str(made / f"{name}.pt") for name in checkpoints]
    return main(["next", *files, str(made / "images"), "--out", str(out), "--trust", *words])


def listed(out: Path) -> list[str]:
    return (out / "next.txt").read_text().splitlines()


def findings(out: Path) -> list[dict]:
    return json.loads((out / "next.json").read_text())["findings"]


@pytest.mark.parametrize("measure", ["margin", "entropy", "bald", "votes"])
def test_the_most_uncertain_images(made, said, tmp_path, measure):
    words = ("--rule", "uncertain", "--measure", measure, "-n", "3")
    assert choose_next(made, tmp_path, *words, checkpoints=("one", "two")) == 0
    scores = np.array([pixel_uncertainty(each, measure).mean() for each in said[0]])
    order = np.argsort(-scores, kind="stable")[:3]
    assert listed(tmp_path) == [NAMES[k] for k in order]
    assert [row["score"] for row in findings(tmp_path)] == pytest.approx(scores[order].tolist(), abs=1e-5)


def test_both_covers_the_uncertain_ones_from_the_labelled_on(made, said, tmp_path):
    (tmp_path / "have.txt").write_text("# mine\nimages/b/2.png\n4\n")
    words = ("-n", "2", "--labelled", str(tmp_path / "have.txt"), "--factor", "1.5")
    assert choose_next(made, tmp_path / "out", *words) == 0
    free = [0, 1, 3, 5, 6]
    scores = np.array([pixel_uncertainty(each[:1], "margin").mean() for each in said[0]])
    picked = choose(scores[free], said[1][free], said[1][[2, 4]], 2, "both", factor=1.5)
    assert listed(tmp_path / "out") == [NAMES[free[chosen.item]] for chosen in picked]
    rows = findings(tmp_path / "out")
    assert [row["distance"] for row in rows] == pytest.approx([chosen.distance for chosen in picked], rel=1e-3)
    assert all(row["box"] is None and row["kind"] == "uncertain image" and row["class"] is None for row in rows)
    assert "from the nearest image that is labelled or chosen" in rows[0]["reason"]
    sizes = [Image.open(made / "images" / row["image"]).size for row in rows]
    assert [row["pixels"] for row in rows] == [width * height for width, height in sizes]


def test_lists_and_data_sets_read_the_choice(made, tmp_path):
    assert choose_next(made, tmp_path, "-n", "4", "--rule", "diverse") == 0
    data = Listed(Folder(str(made), ("any",), masks=None), str(tmp_path / "next.txt"))
    assert [f"{name}.png" for name in data.ids] == listed(tmp_path) and len(data) == 4
    # a folder of masks names what is labelled: the choice goes on without these
    for name in listed(tmp_path):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "masks" / name)
    assert choose_next(made, tmp_path / "more", "-n", "9", "--labelled", str(tmp_path / "masks")) == 0
    assert sorted(listed(tmp_path / "more") + listed(tmp_path)) == NAMES


def test_regions_are_the_most_uncertain_squares_with_their_cost(made, said, tmp_path, capsys):
    words = ("--by", "regions", "--side", "16", "--per-image", "1", "-n", "3", "--measure", "entropy")
    assert choose_next(made, tmp_path, *words) == 0
    boxes = [uncertain_boxes(pixel_uncertainty(each[:1], "entropy"), 16, 1)[0] for each in said[0]]
    order = sorted(range(7), key=lambda k: -boxes[k].uncertainty)[:3]
    rows = findings(tmp_path)
    assert [(row["image"], row["box"]) for row in rows] == [(NAMES[k], list(boxes[k][:4])) for k in order]
    assert [row["pixels"] for row in rows] == [256] * 3 and "3 of 7 regions, 768 pixels" in capsys.readouterr().out
    assert "2 regions" not in (tmp_path / "next.html").read_text() and listed(tmp_path) == [NAMES[k] for k in order]


def test_instances_are_uncertain_where_scores_are_near_half(made, tmp_path):
    words = ("--by", "regions", "--side", "8", "-n", "1")
    assert choose_next(made, tmp_path, *words, checkpoints=("objects",)) == 0
    # the upper half is an object of .6, whose margin is .8; the left half one of .9
    assert findings(tmp_path)[0]["score"] == pytest.approx(0.8, abs=1e-6) and findings(tmp_path)[0]["box"][3] <= 15
    assert choose_next(made, tmp_path, "--rule", "uncertain", "-n", "1", checkpoints=("objects",)) == 0
    assert findings(tmp_path)[0]["score"] == pytest.approx(0.5, abs=1e-6)


def test_a_command_that_was_broken_off_goes_on(made, tmp_path, monkeypatch, capsys):
    assert choose_next(made, tmp_path / "whole", "-n", "3") == 0
    unsure, calls = SemanticJudge.unsure, []

    def counted(self, image, measure):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(1)
        return unsure(self, image, measure)

    with monkeypatch.context() as patch:
        patch.setattr(SemanticJudge, "unsure", counted)
        with pytest.raises(KeyboardInterrupt):
            choose_next(made, tmp_path / "out", "-n", "3")
    assert choose_next(made, tmp_path / "out", "-n", "3", "--measure", "entropy") == 2
    assert "begun with other options" in capsys.readouterr().err
    monkeypatch.setattr(SemanticJudge, "unsure", lambda *args: calls.append(1) or unsure(*args))
    assert choose_next(made, tmp_path / "out", "-n", "3") == 0 and len(calls) == 7
    for name in ("next.txt", "next.json", "next.html"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["next.html", "next.json", "next.txt"]


def test_the_page_holds_its_pictures_and_loads_nothing(made, tmp_path):
    assert choose_next(made, tmp_path, "-n", "3") == 0
    page = html.unescape((tmp_path / "next.html").read_text())
    assert "default-src 'none'" in page and not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert page.count("data:image/") == 6
    for row in findings(tmp_path):
        assert row["image"] in page and row["reason"] in page


def test_an_image_that_cannot_be_read_is_named(made, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    (images / "good.png").write_bytes((made / "images" / NAMES[0]).read_bytes())
    (images / "bad.png").write_bytes(b"no picture")
    words = ["next", str(made / "one.pt"), str(images), "--out", str(tmp_path / "out"), "--trust"]
    assert main(words) == 1
    assert "1 of 2 images failed" in capsys.readouterr().err and listed(tmp_path / "out") == ["good.png"]


@pytest.mark.parametrize(
    "words, checkpoints, message",
    [
        (("-n", "0"), ("one",), "-n 0: must be 1 or more"),
        (("--factor", "0.5"), ("one",), "--factor 0.5: must be a number of 1 or more"),
        (("--by", "regions", "--side", "0"), ("one",), "--side 0: must be 1 or more"),
        (("--per-image", "-1"), ("one",), "--per-image -1: must be 1 or more"),
        (("--measure", "bald"), ("one",), "must be one of margin, entropy for this model; it compares several check"),
        (("--measure", "votes"), ("objects",), "--measure votes: must be one of margin, entropy for this model"),
        (("--by", "regions", "--rule", "diverse"), ("one",), "--by regions: chooses by uncertainty for each pixel"),
        (("--labelled", "{images}"), ("one",), "all 7 images are labelled; name more images"),
        (("--labelled", "{made}/none"), ("one",), "none: No such file"),
    ],
)
def test_what_cannot_be_is_refused(made, tmp_path, capsys, words, checkpoints, message):
    filled = [word.format(images=made / "images", made=made) for word in words]
    assert choose_next(made, tmp_path / "out", *filled, checkpoints=checkpoints) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_labelled_images_that_are_none(tmp_path):
    (tmp_path / "list.txt").write_text("b/0.png\nb/9.png\n")
    with pytest.raises(DataError, match=r"1 of 2 names have no image in the images: line 2 'b/9.png'"):
        labelled_images(str(tmp_path / "list.txt"), NAMES)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match="holds no mask of the name of one of the 7 images; check it"):
        labelled_images(str(tmp_path), NAMES)
