"""PointSup: points of a COCO file, points through transforms, and the loss, against numbers of the published code."""

import json

import numpy as np
import pytest
import torch

from segkit.cli.main import main
from segkit.data.prepare.points import points_of
from segkit.data.transforms.geometry import image_size
from segkit.data.transforms.operations import flip, resize
from segkit.ops.instances.point_masks import at_places, places_in_boxes, point_entropy
from segkit.types import Meta, Sample
from tests.instances.boxes_oracle import load, load_json


def test_points_of_a_file_are_the_published_ones():
    known = load_json("pointsup_annotations")
    made = points_of(known["input"], "a.json", count=known["points"], seed=known["seed"])
    for entry, published in zip(made["annotations"], known["output"], strict=True):
        assert sorted(entry) == known["keys_of_an_annotation"]
        assert {key: entry[key] for key in published} == published
    assert made["images"] == known["input"]["images"]


def test_the_command_writes_them(tmp_path, capsys):
    known = load_json("pointsup_annotations")
    (tmp_path / "in.json").write_text(json.dumps(known["input"]))
    command = ["prepare", "points", str(tmp_path / "in.json"), "--out", str(tmp_path / "out.json")]
    assert main(command) == 0
    assert "3 objects with 10 points each" in capsys.readouterr().out
    entries = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert [entry["point_coords"] for entry in entries] == [entry["point_coords"] for entry in known["output"]]
    assert main([*command, "--count", "0"]) == 2
    known["input"]["annotations"][0].pop("segmentation")
    (tmp_path / "in.json").write_text(json.dumps(known["input"]))
    assert main(command) == 2
    assert "annotation 5: it has no outline or no box" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none", "resize", "flip", "both"])
def test_points_follow_the_image(name):
    known = load_json("pointsup_mapper")
    entry, right = known["annotation"], known["results"][name]
    x, y, w, h = entry["bbox"]
    sample = Sample(
        image=np.zeros((*known["image"], 3), np.uint8),
        boxes=np.array([[x, y, x + w, y + h]], np.float32),
        labels=np.zeros(1, np.int64),
        points=np.array([entry["point_coords"]], np.float32) + 0.5,
        point_labels=np.array([entry["point_labels"]], np.int8),
        meta=Meta(id="a", path="a", size=tuple(known["image"])),
    )
    size = tuple(right["size"])
    if image_size(sample) != size:
        sample = resize(sample, size)
    if name in ("flip", "both"):
        sample = flip(sample, horizontal=True, vertical=False)
    np.testing.assert_allclose(sample["points"][0], right["points"], atol=1e-5)
    np.testing.assert_allclose(sample["boxes"][0], right["box"], atol=1e-5)
    assert sample["point_labels"][0].tolist() == right["labels"]


def test_loss_and_gradient_in_boxes_are_the_published_ones():
    known = load("pointsup_loss")
    placed = [places_in_boxes(known[f"points{i}"], known[f"boxes{i}"], known[f"labels{i}"]) for i in (0, 1)]
    places, labels = (torch.cat(parts) for parts in zip(*placed))
    torch.testing.assert_close(places, known["relative"], rtol=0, atol=1e-6)
    assert labels.equal(known["used_labels"])
    logits = known["logits"].clone().requires_grad_()
    classes = torch.cat([known["classes0"], known["classes1"]])
    found = at_places(logits[torch.arange(len(classes)), classes], places)
    torch.testing.assert_close(found, known["point_logits"], rtol=0, atol=1e-5)
    entropy, used = point_entropy(found, labels)
    assert (int(used.sum()), int((~used).sum())) == (known["counted"].item(), known["ignored"].item())
    loss = entropy.mean()  # over all points, as published
    assert loss.item() == pytest.approx(known["loss"].item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    own = gradient[torch.arange(len(classes)), classes]
    torch.testing.assert_close(own, known["grad"], rtol=0, atol=1e-6)
