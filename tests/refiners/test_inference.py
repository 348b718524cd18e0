"""Refiners behind models: what they are given in prediction and evaluation, and where they are refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segkit import api
from segkit.cli.main import main
from segkit.registry import ConfigError
from segkit.runners.base import build_runner
from segkit.runners.semantic import Semantic
from tests.bright import Bright
from tests.refiners.doubles import SEEN, Swap
from tests.test_way_back import INFERENCE, KEEPING, SIZES, checkpoint_of, network, picture, test_section
from tests.tiny import sections

ROOT = Path(__file__).parents[2]
HERE = "tests.refiners.doubles"
SWAP = dict(refiners=[dict(type=f"{HERE}:Swap")])
CRF = dict(refiners=[dict(type="DenseCRF", steps=5, color_sigma=20.0)])


@pytest.fixture(autouse=True)
def forget():
    SEEN.clear()


@pytest.mark.parametrize("inference", INFERENCE.values(), ids=INFERENCE)
@pytest.mark.parametrize("rows", [KEEPING[name] for name in ("none", "resize", "flip both, pad, resize")])
def test_refiners_see_the_stored_image_and_its_probabilities(rows, inference):
    image, _ = picture((41, 57))
    image[0, 0] = (3, 60, 200)
    plain = api.predict(network(rows, inference=inference, runner=dict(probabilities=True)), image)
    swapped = api.predict(network(rows, inference={**inference, **SWAP}, runner=dict(probabilities=True)), image)
    (seen, coarse), *others = SEEN
    assert not others
    assert torch.equal(seen, torch.from_numpy(image).permute(2, 0, 1)[None].float())
    assert np.array_equal(coarse[0].numpy(), plain["probabilities"])
    assert np.array_equal(swapped["probabilities"], plain["probabilities"][::-1])
    assert np.array_equal(swapped["labels"], 1 - plain["labels"])


def test_refiners_are_applied_in_turn():
    image, labels = picture((40, 60))
    twice = dict(refiners=SWAP["refiners"] * 2)
    assert np.array_equal(api.predict(network([], inference=twice), image)["labels"], labels)
    assert torch.equal(SEEN[1][1], SEEN[0][1].flip(1))


def test_one_channel_and_its_threshold():
    """Probability .3 of class 1 becomes .3 again: above a threshold of .2."""

    class One(Bright):
        def forward(self, image, window=None):
            return {"logits": torch.full_like(image[:, :1].float(), float(np.log(3 / 7)))}

    model = One()
    model.config = dict(inference=dict(threshold=0.2, **SWAP))
    assert api.predict(model.eval(), picture((40, 60))[0])["labels"].min() == 1
    assert SEEN[0][1].unique().tolist() == pytest.approx([0.3])


@pytest.mark.parametrize("rows", [[], KEEPING["flip both, pad, resize"]])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_evaluation(tmp_path, rows, batch_size):
    for split in ("images", "masks"):
        (tmp_path / split).mkdir()
    for i, size in enumerate((*SIZES, SIZES[0])):
        image, labels = picture(size)
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), image)
        cv2.imwrite(str(tmp_path / f"masks/{i}.png"), 1 - labels)
    model = network([], inference=SWAP)
    model.config["test"] = test_section(tmp_path, rows, batch_size=batch_size)
    assert api.evaluate(model)["mIoU"] == 100
    stored = [picture(size)[0] for size in (*SIZES, SIZES[0])]
    assert all(np.array_equal(seen[0].permute(1, 2, 0), image) for (seen, _), image in zip(SEEN, stored))
    model.config["inference"] = {}
    assert api.evaluate(model)["mIoU"] == 0
    # a test set with refiners of its own
    model.config["test"] = dict(a=test_section(tmp_path, rows, inference=SWAP), b=test_section(tmp_path, rows))
    scores = api.evaluate(model)
    assert (scores["a"]["mIoU"], scores["b"]["mIoU"]) == (100, 0)


def test_commands(tmp_path, monkeypatch):
    """A network that errs on the border of what is bright: CRFs give those pixels back, in both commands."""
    monkeypatch.chdir(tmp_path)
    for split in ("images", "masks"):
        (tmp_path / split).mkdir()
    image, labels = picture((40, 60))
    cv2.imwrite("images/0.png", np.where(image > 0, 140, 110).astype(np.uint8))
    cv2.imwrite("masks/0.png", labels)
    path = checkpoint_of(tmp_path, [])
    option = 'inference.refiners=[{"type":"DenseCRF"},{"type":"ConvCRF","blur":1}]'
    common = [str(path), "--trust", "--cfg-options", option]
    assert main(["test", *common[:2], "--out", "scores.json", *common[2:]]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["mIoU"] == 100
    assert main(["predict", str(path), "images", "--out", "out", "--trust", "--cfg-options", option]) == 0
    assert np.array_equal(np.asarray(Image.open("out/labels/0.png")), labels)


def test_a_crf_mends_a_network():
    """The network's own labels lose a column and gain noise; DenseCRF brings them back."""

    class Worse(Bright):
        def forward(self, image, window=None):
            logits = super().forward(image)["logits"] / 200
            noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
            return {"logits": logits + 0.8 * noise}

    image, labels = picture((40, 60))
    found = []
    for inference in ({}, CRF):
        model = Worse()
        model.config = dict(inference=inference)
        found.append(api.predict(model.eval(), image)["labels"])
    wrong = [int((answer != labels).sum()) for answer in found]
    assert wrong[0] > 200 and wrong[1] <= 5, wrong


def test_training_scores_with_refiners(tmp_path):
    """Class 0 and 5 change places: the validation of a run reads the stored images, too."""
    cfg = {**sections(), "inference": SWAP}
    api.train(cfg, tmp_path, device="cpu")
    assert len(SEEN) == 5 and all(seen.shape == (1, 3, 32, 32) for seen, _ in SEEN)
    api.check_data(cfg, device="cpu")


@pytest.mark.parametrize(
    "runner, name", [(dict(type="Interactive"), "Interactive"), (dict(type="BoxSupervised"), "BoxSupervised")]
)
@pytest.mark.parametrize("at", ["inference", "test.inference", "test.small.inference"])
def test_other_runners_are_refused(runner, name, at):
    cfg = {
        "inference": dict(inference=CRF),
        "test.inference": dict(test=dict(dataset={}, inference=CRF)),
        "test.small.inference": dict(test=dict(small=dict(dataset={}, inference=CRF))),
    }[at]
    message = (
        rf"^{at}.refiners = DenseCRF: refiners take the probabilities of classes at each pixel, and the runner {name}"
    )
    with pytest.raises(ConfigError, match=message):
        build_runner({**cfg, "runner": runner})


def test_an_instance_run_does_not_start(tmp_path):
    from segkit.config import load_config

    for name in ("box_supervised", "interactive"):
        cfg = load_config(ROOT / f"configs/quickstart/{name}.py")
        cfg["inference"] = {**(cfg.get("inference") or {}), **CRF}
        for start in (lambda cfg=cfg: api.train(cfg, tmp_path / "run"), lambda cfg=cfg: api.check_data(cfg)):
            with pytest.raises(ConfigError, match=r"^inference\.refiners = DenseCRF"):
                start()
        assert not (tmp_path / "run/config.py").exists()


@pytest.mark.parametrize(
    "row, message",
    [
        (dict(type="DenseCFR"), "^inference.refiners.0.type = 'DenseCFR': no such refiner; did you mean 'DenseCRF'"),
        (dict(type="DenseCRF", step=3), "^inference.refiners.0.step: DenseCRF has no argument 'step'"),
        (dict(type="DenseCRF", color_sigma=0), "^inference.refiners.0.color_sigma = 0: must be a number above 0"),
        (dict(type="DenseCRF", normalization="sym"), "normalization = 'sym': must be one of 'symmetric'"),
        (dict(type=f"{HERE}:Other"), "no refiner; derive it from segkit.refiners.base.Refiner"),
    ],
)
def test_wrong_rows(row, message):
    with pytest.raises(ConfigError, match=message):
        api.checked({**sections(), "inference": dict(refiners=[row])})


def test_what_only_the_constructor_knows_names_the_row():
    with pytest.raises(
        ConfigError, match=r"^inference.refiners.1: WindowDenseCRF cannot be built: window = 4: must be"
    ):
        build_runner(dict(inference=dict(refiners=[dict(type="DenseCRF"), dict(type="WindowDenseCRF", window=4)])))


@pytest.mark.parametrize(
    "coarse, message",
    [
        (
            torch.full((1, 2, 30, 40), 0.5),
            "coarse of 40x30 pixels for an image of 60x40: refiners take maps of the image",
        ),
        (torch.zeros(1, 2, 40, 60) - 4, "coarse of -4 to -4: must be probabilities, 0..1; give logits.softmax"),
        (torch.full((1, 2, 40, 60), torch.nan), "coarse of nan to nan: must be probabilities"),
        (torch.zeros(1, 2, 40, 60, dtype=torch.uint8), "coarse of type torch.uint8: must be probabilities"),
        (torch.zeros(2, 2, 40, 60), r"image of shape \(1, 3, 40, 60\) and coarse of shape \(2, 2, 40, 60\)"),
        (torch.zeros(2, 40, 60), r"coarse of shape \(2, 40, 60\): must be \[B,C,H,W\] and \[B,K,H,W\]"),
    ],
)
def test_what_refine_refuses(coarse, message):
    with pytest.raises(ValueError, match=message):
        Swap().refine(torch.zeros(1, 3, 40, 60), coarse)


def test_a_runner_without_refiners_does_not_keep_stored_images():
    assert not Semantic().keep_stored and build_runner(dict(inference=SWAP)).keep_stored
    assert SimpleNamespace(**build_runner({}).__dict__).refiners == []
