"""Proposed regions: read, moved with the labels, classified by MicroSeg's head over class steps; what is refused."""

import json

import cv2
import numpy as np
import pytest
import torch

from segkit.api import load_model
from segkit.archs.microseg import MicroSegHead
from segkit.data.incremental.class_steps import ClassSteps
from segkit.data.incremental.proposals import read_proposals
from segkit.data.incremental.replay import Replay
from segkit.data.loader import EvalItems, TrainItems, collate_eval, collate_train
from segkit.data.semantic.shapes import Shapes
from segkit.data.transforms.geometry import image_size
from segkit.engine import checkpoint
from segkit.files import DataError
from segkit.registry import TRANSFORMS, ConfigError, build
from segkit.runners.incremental.proposals import with_proposals
from segkit.settings import InferenceSettings
from tests.incremental.test_step_runs import config, loop_of

STEPS = [[0, 1, 2], [3, 4], [5]]
ROWS = [dict(type="PseudoLabelBCE", threshold=0.2), dict(type="UnknownContrast")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map of proposed regions for each image: its labels, of which those of class 2 are numbered 9, and none of 0."""
    place = tmp_path_factory.mktemp("proposals")
    for split, length in (("train", 12), ("val", 5)):
        data = Shapes(size=(32, 32), length=length, split=split)
        for index, name in enumerate(data.ids):
            mask = data.mask(index)
            cv2.imwrite(str(place / f"{name}.png"), np.where(mask == 2, 9, mask * (mask < 6)).astype(np.uint8))
    return place


def steps_of(folder, step: int = 0, part: str = "train", **more) -> ClassSteps:
    data = Shapes(size=(32, 32), length=12)
    return ClassSteps(data, steps=STEPS, step=step, part=part, proposals=str(folder), **more)


def microseg(folder, **runner) -> dict:
    """Three steps with a small MicroSeg network."""
    base = dict(
        init="random",
        train_only=[r"classifier\.region_(unknown|background)\.", r"classifier\.region_steps\.{new}\."],
        evaluation_mode=True,
        convention="ssul",
        proposals=str(folder),
    )
    cfg = config(ROWS, **(base | runner))
    cfg["losses"] = [dict(type="UnknownBCE"), dict(type="UnknownBCE", on="pixel.logits"), dict(type="UnknownContrast")]
    head = dict(type="MicroSegHead", channels=4, num_unknown=2, rates=(1,), dropout=0.0)
    cfg["model"] |= dict(type="GrowingSegmentor", readout="unknown", head=head)
    return cfg


def test_regions_are_read_and_numbered_from_one(tmp_path):
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), np.array([[0, 7, 7], [200, 0, 3]], np.uint8))
    assert read_proposals(file, (2, 3)).tolist() == [[0, 2, 2], [3, 0, 1]]
    cv2.imwrite(str(file), np.zeros((2, 3), np.uint8))
    assert not read_proposals(file, (2, 3)).any()
    with pytest.raises(DataError, match=r"a\.png: a map of 3x2 pixels for an image of 3x4"):
        read_proposals(file, (4, 3))
    cv2.imwrite(str(file), np.arange(101, dtype=np.uint8)[None])
    assert read_proposals(file, (1, 101)).max() == 100
    cv2.imwrite(str(file), np.arange(102, dtype=np.uint8)[None])
    with pytest.raises(DataError, match="proposes 101 regions; keep the 100 surest"):
        read_proposals(file, (1, 102))
    with pytest.raises(DataError, match=r"b\.png: the proposed regions of an image are missing"):
        read_proposals(tmp_path / "b.png", (2, 3))


@pytest.mark.parametrize(
    "transform",
    [
        dict(type="RandomScaleCrop", size=(40, 24), low=0.5, high=2.0),
        dict(type="RandomRotate", degrees=30.0, p=1.0),
        dict(type="Flip"),
    ],
    ids=lambda t: t["type"],
)
def test_regions_move_with_the_labels(folder, transform):
    """Regions are the labels themselves in the fixture; what a transform adds is in none."""
    data = steps_of(folder)
    items = TrainItems(data, [build(transform, TRANSFORMS, "transforms.0")], seed=0)
    samples = [items[position, position % len(data)] for position in range(4)]
    batch = collate_train(samples)
    assert batch["proposals"].dtype == torch.uint8 and batch["proposals"].shape == batch["mask"].shape
    for mask, regions in zip(batch["mask"], batch["proposals"]):
        assert not regions[mask == 255].any()
        assert all(len(torch.unique(mask[regions == number])) == 1 for number in torch.unique(regions) if number)
    assert batch["proposals"].any()


def test_the_network_sees_regions_as_the_image_lies(folder):
    data = steps_of(folder, part="test")
    items = EvalItems(data, [build(dict(type="Resize", size=(64, 64)), TRANSFORMS, "transforms.0")])
    batch = collate_eval([items[0], items[1]])
    stored = data.sample(0, np.random.default_rng(0))["proposals"]
    assert image_size(items[0]) == (64, 64) and batch["mask"][0].shape == (32, 32)
    assert batch["proposals"][0].tolist() == stored.repeat(2, 0).repeat(2, 1).tolist()
    taken = with_proposals(batch)["image"]
    assert taken.shape == (2, 4, 64, 64) and torch.equal(taken[:, 3].to(torch.uint8), batch["proposals"])
    assert batch["image"].shape[1] == 3, "the batch itself stays as it is"


def test_a_remembered_image_has_its_regions(folder, tmp_path):
    data = steps_of(folder, 1)
    whole = data.dataset
    content = {"step": 0, "images": [{"id": whole.ids[0], "classes": [1]}]}
    (tmp_path / "memory.json").write_text(json.dumps(content))
    replay = Replay(data, str(tmp_path / "memory.json"))
    sample = replay.sample(len(data), np.random.default_rng(0))
    assert np.array_equal(sample["proposals"] > 0, cv2.imread(str(folder / f"{whole.ids[0]}.png"), -1) > 0)


@torch.no_grad()
def test_pixels_outside_of_all_regions_are_background():
    """Their logits are 0: unknown and background together have probability 1, each class one half."""
    torch.manual_seed(0)
    head = MicroSegHead((8,), 5, num_unknown=2, channels=4, rates=(1,)).eval()
    regions = torch.zeros(1, 6, 6, dtype=torch.uint8)
    regions[:, 2:] = 1
    outputs = head([torch.randn(1, 8, 3, 3)], regions)
    assert not outputs["logits"][:, :, :2].any() and outputs["logits"][:, :, 2:].any()
    assert outputs["logits"].shape == (1, 5, 6, 6) and outputs["pixel.logits"].shape == (1, 5, 3, 3)
    inside = outputs["logits"][0, :, 2:].flatten(1)
    assert torch.equal(inside, inside[:, :1].expand_as(inside)), "a region has one answer"
    unknown = outputs["proposal_logits"][0, 0]
    assert inside[0, 0] == pytest.approx(float(unknown[:2].sum()), rel=1e-5)


def test_microseg_learns_in_steps_with_memory(folder, tmp_path):
    loop = loop_of(microseg(folder, memory=dict(size=4, mix="half")), tmp_path)
    loop.fit()
    before, after = (checkpoint.read(tmp_path / f"step{step}" / "last.pt")["model"] for step in (1, 2))
    changed = {name.split(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {"region_unknown", "region_background"} and "region_unknown" in changed
    added = {".".join(name.split(".")[2:4]) for name in after.keys() - before.keys()}
    assert added == {"steps.2", "region_steps.2"}
    model = load_model(None, tmp_path / "step2" / "last.pt", trust=True)
    assert model.num_classes == 6 and model.head.classifier.sizes == (4, 2, 1)
    scores = json.loads((tmp_path / "metrics.json").read_text())["steps"]
    assert [len(one["classes"]) for one in scores] == [3, 5, 6]
    with pytest.raises(ConfigError, match="MicroSegHead: classifies proposed regions, and this image comes without"):
        model(torch.zeros(1, 3, 32, 32))


def test_what_would_change_the_numbers_is_refused(folder, tmp_path):
    loop = loop_of(microseg(folder), tmp_path)
    items = EvalItems(steps_of(folder, part="test"), [])
    for settings in (dict(tta=dict(scales=[0.5, 1.0])), dict(pad_divisor=64)):
        loop.runner.inference = InferenceSettings(**settings)
        with pytest.raises(ConfigError, match="proposed regions"):
            loop.runner.predict(loop.raw_model.eval(), collate_eval([items[0]]))
    loop.runner.inference = InferenceSettings(tta=dict(flip=True))
    with torch.no_grad():
        labels = loop.runner.predict(loop.raw_model.eval(), collate_eval([items[0]]))[0]["labels"]
    assert labels.shape == (32, 32)
    with pytest.raises(ConfigError, match="cuts images, and proposed regions are of whole ones"):
        steps_of(folder, part="test", convention="cropped")


@pytest.mark.parametrize(
    "runner, words",
    [
        (dict(proposals=None), "name their folder in runner.proposals"),
        (dict(init="unknown"), "set runner.init = 'random'"),
    ],
)
def test_a_wrong_recipe_is_refused(folder, tmp_path, runner, words):
    with pytest.raises(ConfigError, match=words):
        loop_of(microseg(folder, **runner), tmp_path).fit()
