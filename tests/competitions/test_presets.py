"""The three presets as their readers run them: a short training, scores, thresholds, a submission; exact ways back.

A network that is right wherever the image is bright shows that images, masks and codes agree to the pixel.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.config import load_config
from segkit.data.loader import EvalItems, collate_eval, collate_train
from segkit.data.semantic.clouds import Clouds
from segkit.data.semantic.pneumothorax import Pneumothorax
from segkit.data.semantic.salt import Salt
from segkit.data.transforms.reflect import ReflectPad
from segkit.data.transforms.sizes import Flip, Resize
from segkit.engine import checkpoint
from segkit.inference import build_score
from segkit.runners.multi_label import MultiLabel
from segkit.runners.semantic import Semantic
from segkit.settings import InferenceSettings
from tests.bright import Bright
from tests.competitions import made
from tests.test_distributed import torchrun

SMALL = ["loop.epochs=1", "loop.amp=off", "optimizer.lr=0.01", *(f"{s}.workers=0" for s in ("train", "val", "test"))]
SMALL += ["model.backbone={'type':'PlainEncoder','channels':(8,8,8,8)}", "model.head.channels=(8,8,8,8)"]
AT_20x30 = [f"{section}.dataset.scored_size=(20,30)" for section in ("val", "test")]
PRESETS = {
    "clouds": [*SMALL, "crop_size=(32,48)", "train.batch_size=4", *AT_20x30],
    "siim": [*SMALL, "crop_size=(32,32)", "train.batch_size=4"],
    "salt": [*SMALL, "train.batch_size=2"],
}
SETS = {"clouds": Clouds, "siim": Pneumothorax, "salt": Salt}


class BrightSigmoid(Bright):
    """The same logit for each class, gray - 127 at the size of the image; gray is the first channel."""

    def forward(self, image, window=None):
        gray = (image.float()[:, :1] - 127) * self.weight
        return {"logits": gray.repeat(1, self.num_classes, 1, 1)}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path) -> dict[str, str]:
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert len({row[0] for row in rows}) == len(rows)
    return dict(rows)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_from_training_to_submission(name, place, capsys):
    getattr(made, name)(place / "data" / name, count=12)
    preset, options = f"segkit:competitions/{name}.py", ["--cfg-options", *PRESETS[name]]
    metric, classes = "MeanPrecision" if name == "salt" else "MeanDice", SETS[name].classes
    assert main(["train", preset, "--check", *options]) == 0
    assert main(["train", preset, "--work-dir", "run", *options]) == 0
    assert list((place / "run" / "pictures").glob("val_*.png"))
    assert main(["test", "run/last.pt", "--split", "val", "--show", "pictures", "--tta"]) == 0
    scores = json.loads((place / "run" / "metrics.json").read_text())
    assert 0 <= scores[metric] <= 100 and tuple(scores[f"{metric}_of"]) == classes
    assert (place / "pictures" / "overview.png").is_file()
    capsys.readouterr()
    tried = ["--thresholds", "0.3", "0.5", "--components", "0", "4", "--out", "t.json"]
    assert main(["thresholds", "run/last.pt", *tried]) == 0
    words = capsys.readouterr().out.split("--cfg-options ")[1].splitlines()[0].split()
    found = json.loads((place / "t.json").read_text())
    # with what the search says, the scores are those that it states
    assert main(["test", "run/last.pt", "--split", "val", "--cfg-options", *words]) == 0
    again = json.loads((place / "run" / "metrics.json").read_text())
    assert again[f"{metric}_of"] == pytest.approx(found[metric], abs=1e-3)
    assert main(["submit", "run/last.pt", "--out", "sub/s.csv", "--cfg-options", *words]) == 0
    rows = table(place / "sub" / "s.csv")
    assert len(rows) == 1 + 3 * len(classes) and next(iter(rows)) == SETS[name].layout.columns[0]
    assert main(["browse", preset, "--count", "2", "--out", "b.png", *options]) == 0
    # test images have no labels: a sentence, not a traceback
    assert main(["test", "run/last.pt"]) == 2 and main(["thresholds", "run/last.pt", "--split", "test"]) == 2
    shown = capsys.readouterr().err
    assert "needs labelled images" in shown and "has no labels to search thresholds on" in shown


def bright(place, name: str, num_classes: int, options: list[str]) -> str:
    """A checkpoint of BrightSigmoid in a preset."""
    config = dict(load_config(f"segkit:competitions/{name}.py", options))
    config["model"] = dict(type="tests.competitions.test_presets:BrightSigmoid", num_classes=num_classes)
    content = dict(model=BrightSigmoid().state_dict(), config=config, classes=list(SETS[name].classes), palette=None)
    checkpoint.save(place / "bright.pt", content)
    return str(place / "bright.pt")


WORKERS = [f"{section}.workers=0" for section in ("val", "test")]


def test_salt_comes_back_to_the_pixel(place):
    """101 -> 128 -> 101: what is bright is salt, and the submission of the labelled images equals train.csv."""
    masks = made.salt(place / "data" / "salt")
    options = [*WORKERS, "val.dataset.split=all", "test.dataset.split=all"]
    model = bright(place, "salt", 1, options)
    assert api.evaluate(model, split="val", trust=True)["MeanPrecision"] == 100
    for extra in ([], ["--tta"]):
        assert main(["submit", model, "--trust", "--out", "s.csv", *extra]) == 0
        assert table(place / "s.csv") == table(place / "data" / "salt" / "train.csv")
    assert len(masks) == len(table(place / "s.csv")) - 1


def test_salt_in_the_network_is_the_image_in_its_mirror(place):
    made.salt(place / "data" / "salt")
    dataset = Salt(split="all")
    item = EvalItems(dataset, [ReflectPad(128)])[2]
    image = dataset.image(2)
    np.testing.assert_array_equal(item["image"], np.pad(image, [(13, 14), (13, 14), (0, 0)], mode="reflect"))
    np.testing.assert_array_equal(item["image"][13:114, 13:114], image)
    assert item["mask"].shape == (101, 101, 1) and item["meta"]["size"] == (101, 101)


def test_siim_comes_back_to_the_pixel(place, capsys):
    masks = made.siim(place / "data" / "siim")
    options = [*WORKERS, "crop_size=(32,32)", "val.dataset.split=all", "test.dataset.split=all"]
    model = bright(place, "siim", 1, options)
    three = ["runner.min_area=100"]
    assert main(["submit", model, "--trust", "--out", "s.csv", "--cfg-options", *three]) == 0
    rows = table(place / "s.csv")
    # 8 * 11 + 8 * 12 = 184 pixels in the first; the other, of 88, is below the least area
    wanted = {name: made.relative(mask) if mask.sum() == 184 else "-1" for name, mask in masks.items()}
    assert rows == {"ImageId": "EncodedPixels"} | wanted and sorted(
        set(map(int, (m.sum() for m in masks.values())))
    ) == [
        0,
        88,
        184,
    ]
    # 1 of 8 images scores 0
    scores = api.evaluate(model, split="val", trust=True, options=three)
    assert scores["MeanDice"] == pytest.approx(100 * 7 / 8)


def test_clouds_are_scored_and_submitted_at_their_own_size(place):
    """Images of 40x60 with whole blocks of 2x2, seen at 80x120, are brought to 20x30."""
    root = place / "data" / "clouds"
    made.clouds(root, count=0, tests=0)
    rng, rows, small = np.random.default_rng(0), ["Image_Label,EncodedPixels"], {}
    for i in range(3):
        small[f"{i}.jpg"] = (rng.random((20, 30)) < 0.5).astype(np.uint8)
        large = np.kron(small[f"{i}.jpg"], np.ones((2, 2), np.uint8))
        made.write(root / "train_images" / f"{i}.jpg", np.full((40, 60, 3), 255, np.uint8) * large[..., None])
        rows += [f"{i}.jpg_{name},{made.absolute(large)}" for name in made.CLOUDS]
    (root / "train.csv").write_text("\n".join(rows))
    options = [*WORKERS, *AT_20x30, "crop_size=(20,30)", "val.dataset.split=all", "test.dataset.split=all"]
    model = bright(place, "clouds", 4, [*options, "runner.min_component=0"])
    assert api.evaluate(model, split="val", trust=True)["MeanDice"] == 100
    assert main(["submit", model, "--trust", "--out", "s.csv"]) == 0
    submitted = table(place / "s.csv")
    for name, mask in small.items():
        assert {submitted[f"{name}_{kind}"] for kind in made.CLOUDS} == {made.absolute(mask)}


@pytest.mark.slow
def test_two_processes_write_the_submission_of_one(place, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])  # where the processes find this module
    made.salt(place / "data" / "salt", tests=5)
    model = bright(place, "salt", 1, WORKERS)
    for processes, out in ((1, "one.csv"), (2, "two.csv")):
        torchrun(processes, place, "submit", model, "--trust", "--out", out, "--device", "cpu")
        torchrun(processes, place, "thresholds", model, "--trust", "--out", f"{out}.json", "--device", "cpu")
    assert (place / "one.csv").read_text() == (place / "two.csv").read_text()
    assert (place / "one.csv.json").read_text() == (place / "two.csv.json").read_text()
    assert len(table(place / "one.csv")) == 6


def test_what_the_commands_refuse(place, capsys):
    made.salt(place / "data" / "salt")
    model = bright(place, "salt", 1, WORKERS)

    def refused(*words: str) -> str:
        assert main([*words, "--trust"]) == 2
        return capsys.readouterr().err

    assert "predicts no mask of each class" in refused("submit", model, "--cfg-options", "runner={'type':'Semantic'}")
    assert "3 numbers for 1 classes" in refused("submit", model, "--cfg-options", "runner.threshold=[0.1,0.2,0.3]")
    assert "runner.min_area = -1" in refused("submit", model, "--cfg-options", "runner.min_area=-1")
    assert "metrics: name MeanDice" in refused("thresholds", model, "--cfg-options", "metrics=[{'type':'MultiLabel'}]")
    for option, text in (("--intervals", "runner MultiLabel have no counts"), ("--calibration", "do not sum to 1")):
        assert text in refused("test", model, "--split", "val", option, "--out", "scores.json")
    said = refused("audit", "segkit:competitions/salt.py", model, "--out", "page.html", "--no-copies")
    assert "Salt: its labels are no maps of classes" in said and not (place / "page.html").exists()
    (place / "file").write_text("x")
    assert "cannot be written" in refused("submit", model, "--out", "file/s.csv")
    shapes = "test={'dataset':{'type':'Shapes','size':(32,32),'length':2},'workers':0}"
    # the classes are compared before anything is predicted
    assert "has 6 classes" in refused("submit", model, "--cfg-options", shapes)
    # nothing is written where an image cannot be read
    (place / "data/salt/test/images/0001t.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "0001t.png" in refused("submit", model, "--out", "s.csv") and not (place / "s.csv").exists()


def test_masks_in_batches():
    """Training pads with 255 and puts the classes first; evaluation keeps each image's own size."""
    samples = [
        dict(image=np.zeros((*size, 3), np.uint8), mask=np.full((*size, 2), k, np.uint8), meta=dict(id="a", size=size))
        for k, size in enumerate([(3, 4), (2, 5)])
    ]
    mask = collate_train(samples)["mask"]
    assert mask.dtype == torch.int64 and mask.shape == (2, 2, 3, 5) and mask.is_contiguous()
    assert (mask[0, :, :3, :4] == 0).all() and (mask[0, :, :, 4] == 255).all() and (mask[1, :, :2] == 1).all()
    assert [tuple(one.shape) for one in collate_eval(samples)["mask"]] == [(2, 3, 4), (2, 2, 5)]


def test_the_way_back_from_a_scored_size(place):
    made.clouds(place / "data" / "clouds")
    item = EvalItems(Clouds(split="all", scored_size=(10, 15)), [Resize(size=(80, 90)), Flip(p=1.0)])[0]
    # x of the small image is 90 / 15 = 6 times as large in the network, counted from the right; y 8 times
    np.testing.assert_allclose(item["meta"]["matrix"], [[-6, 0, 90], [0, 8, 0]])
    assert item["meta"]["size"] == (10, 15) and item["mask"].shape == (10, 15, 4)


def test_probabilities_are_sigmoids_also_under_tta():
    model = BrightSigmoid(num_classes=3).eval()
    with torch.no_grad():
        model.weight.fill_(0.02)
    image = torch.full((1, 3, 8, 8), 177.0)  # 0.02 * 50: sigmoid(1) everywhere, in each class
    batch = dict(image=image, meta=[dict(id="a", size=(8, 8), valid=(8, 8))])
    for tta in (None, dict(scales=(0.5, 1.0), flip=True)):
        runner = MultiLabel(threshold=[0.7, 0.75, 0.7])
        runner.inference = InferenceSettings(tta=tta)
        (found,) = runner.predict(model, batch)
        torch.testing.assert_close(found["probabilities"], torch.full((3, 8, 8), 0.7310586))
        assert found["positive"].flatten(1).sum(1).tolist() == [64, 0, 64] and "labels" not in found
        # the runner of one class per pixel goes on with the softmax
        softmax = build_score(model, InferenceSettings(tta=tta or dict(scales=(1.0,), flip=False)))
        torch.testing.assert_close(softmax(image, (8, 8)), torch.full((1, 3, 8, 8), 1 / 3))
    assert Semantic().predicts_maps and not MultiLabel().predicts_maps


def test_predict_writes_a_mask_of_each_class(place):
    made.clouds(place / "data" / "clouds", count=4)
    model = bright(place, "clouds", 4, [*WORKERS, "crop_size=(40,60)", "runner.min_component=0"])
    assert main(["predict", model, "data/clouds/test_images", "--out", "p", "--trust"]) == 0
    from PIL import Image

    for kind in made.CLOUDS:
        drawn = [np.unique(np.array(Image.open(place / f"p/masks/{kind}/{i:03}t.png"))).tolist() for i in range(3)]
        assert drawn == [[0], [0], [255]]  # images of 60, 120 and 180
    assert np.array(Image.open(place / "p/overlays/002t.png")).shape == (40, 60, 3)
