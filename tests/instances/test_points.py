"""Labelled points: the reader, their transforms, and the losses of three kinds of heads."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segkit.data.instances.coco import COCOInstances
from segkit.data.instances.penn_fudan import PennFudanInstances
from segkit.data.loader import collate_train
from segkit.data.transforms.crops import RandomCrop
from segkit.data.transforms.weak_labels import RandomPoints
from segkit.files import DataError
from segkit.losses.instances.mask_points import CellPoints, MaskPoints, QueryPoints
from segkit.runners.instances.runner import without_crowds
from segkit.types import Meta, Sample
from tests.data.layouts import write_image
from tests.instances.test_apro import query_inputs, solo_inputs


def rng():
    return np.random.default_rng(0)


def entry(number, coords, labels, **others):
    return {
        **dict(id=number, image_id=1, category_id=1, bbox=[2, 2, 20, 20], area=400, iscrowd=0),
        **dict(point_coords=coords, point_labels=labels),
        **others,
    }


def dataset(tmp_path, *entries, **options):
    write_image(tmp_path / "images" / "1.png", (40, 48))
    content = dict(
        images=[dict(id=1, file_name="1.png", height=40, width=48)],
        categories=[dict(id=1, name="thing")],
        annotations=list(entries),
    )
    (tmp_path / "a.json").write_text(json.dumps(content))
    return COCOInstances(annotations=str(tmp_path / "a.json"), images=str(tmp_path / "images"), **options)


def test_points_are_read_at_pixel_centres_and_filled_up(tmp_path):
    found = dataset(tmp_path, entry(1, [[3, 4], [5, 6]], [1, 0]), entry(2, [[7, 8]], [1]), points=True)
    sample = found.sample(0, rng())
    assert sample["points"].tolist() == [[[3.5, 4.5], [5.5, 6.5]], [[7.5, 8.5], [0, 0]]]
    assert sample["point_labels"].tolist() == [[1, 0], [1, -1]] and "masks" not in sample
    assert "points" not in dataset(tmp_path, entry(1, [[3, 4]], [1])).sample(0, rng())


def test_objects_that_are_left_out_take_their_points_along(tmp_path):
    entries = entry(1, [[3, 4]], [1], bbox=[5, 5, 0, 9]), entry(2, [[9, 9]], [0])
    sample = dataset(tmp_path, *entries, points=True).sample(0, rng())
    assert sample["points"].tolist() == [[[9.5, 9.5]]] and sample["point_labels"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(point_coords=None), "no labelled points .*segkit prepare points"),
        (dict(point_labels=[2]), "point_labels must be 0 or 1 for each of point_coords"),
        (dict(point_labels=[1, 0]), "point_labels must be 0 or 1 for each of point_coords"),
        (dict(point_coords=[[1, 2, 3]]), "no labelled points"),
        (dict(point_coords=[[1, math.inf]]), "point_labels must be .* whose numbers are finite"),
    ],
)
def test_wrong_points_are_named(tmp_path, values, message):
    with pytest.raises(DataError, match=f"annotation 1: {message}"):
        dataset(tmp_path, entry(1, [[3, 4]], [1], **values), points=True)


def test_a_crowd_needs_no_points(tmp_path):
    crowd = {**entry(2, [], []), "iscrowd": 1}
    crowd.pop("point_coords")
    sample = dataset(tmp_path, entry(1, [[3, 4]], [1]), crowd, points=True).sample(0, rng())
    assert sample["point_labels"].tolist() == [[1], [-1]]


def test_crops_mark_points_outside_as_not_used_and_drop_those_of_lost_objects():
    sample = Sample(
        image=np.zeros((20, 20, 3), np.uint8),
        boxes=np.array([[0, 0, 20, 20], [15, 15, 20, 20]], np.float32),
        labels=np.array([0, 1]),
        points=np.array([[[5.5, 5.5], [18.5, 18.5]], [[16.5, 16.5], [17.5, 17.5]]], np.float32),
        point_labels=np.array([[1, 1], [1, 0]], np.int8),
        meta=Meta(id="a", path="a", size=(20, 20)),
    )
    for seed in range(20):
        cut = RandomCrop((10, 10))(sample, np.random.default_rng(seed))
        if cut["window"][:2].max() < 5:  # the second object is outside
            break
    y, x = cut["window"][:2]
    assert len(cut["boxes"]) == 1 and cut["points"].shape == (1, 2, 2) and cut["labels"].tolist() == [0]
    assert cut["points"][0].tolist() == [[5.5 - x, 5.5 - y], [18.5 - x, 18.5 - y]]
    assert cut["point_labels"][0].tolist() == [1 if x <= 5 and y <= 5 else -1, -1]
    batch = collate_train([cut])
    assert batch["points"][0].shape == (1, 2, 2) and batch["point_labels"][0].dtype == torch.int8


def test_random_points_are_drawn_for_each_object_and_anew():
    points = np.arange(40, dtype=np.float32).reshape(2, 10, 2)
    labels = np.arange(20).reshape(2, 10).astype(np.int8) % 2
    sample = Sample(image=np.zeros((4, 4, 3), np.uint8), points=points, point_labels=labels)
    first, second = (RandomPoints(5)(sample, np.random.default_rng(seed)) for seed in (0, 1))
    assert first["points"].shape == (2, 5, 2) and not np.array_equal(first["points"], second["points"])
    for row, place, known in zip(range(2), first["points"], first["point_labels"]):
        index = (place[:, 0].astype(int) - 20 * row) // 2
        assert len(set(index.tolist())) == 5 and np.array_equal(known, labels[row, index])
    few = Sample(image=sample["image"], points=points[:, :2], point_labels=labels[:, :2])
    assert RandomPoints(5)(few, rng())["points"].shape == (2, 5, 2)


def test_crowds_leave_with_their_points():
    batch = dict(
        boxes=[torch.zeros(2, 4)],
        crowd=[torch.tensor([True, False])],
        points=[torch.arange(4.0).view(2, 1, 2)],
        point_labels=[torch.tensor([[0], [1]], dtype=torch.int8)],
    )
    kept = without_crowds(batch)
    assert kept["points"][0].tolist() == [[[2, 3]]] and kept["point_labels"][0].tolist() == [[1]]


def test_sets_without_points_say_so(tmp_path):
    assert "points" not in PennFudanInstances.__init__.__annotations__


# losses

POINTS = [
    torch.tensor([[[9.0, 9.0], [60.0, 60.0]]]),
    torch.tensor([[[10.0, 30.0], [1.0, 1.0]], [[40.0, 9.0], [2.0, 60.0]]]),
]
KNOWN = [torch.tensor([[1, 0]], dtype=torch.int8), torch.tensor([[1, -1], [1, 0]], dtype=torch.int8)]


def plain_entropy(maps, point, label, side):
    """Cross entropy of a map at a point of a 64 x 64 image, by bilinear interpolation written out."""
    padded = F.pad(maps, [1, 1, 1, 1])
    x, y = (float(value) * side / 64 - 0.5 + 1 for value in point)
    left, top = math.floor(x), math.floor(y)
    total = 0
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        total = total + (1 - abs(x - column)) * (1 - abs(y - row)) * padded[row, column]
    return F.softplus(total) - label * total


@pytest.mark.parametrize(("average", "number"), [("valid", 7), ("all", 8)])
def test_mask_points_is_the_mean_cross_entropy_at_points(average, number):
    """Of four masks: the first object's, and of the second image object 1, 0 and 1."""
    logits = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    objects = [torch.tensor([0]), torch.tensor([1, 0, 1])]
    loss = MaskPoints(average)(logits, objects, torch.zeros(2, 3, 64, 64), POINTS, KNOWN)
    right, k = 0, 0
    for image, index in enumerate(objects):
        for instance in index.tolist():
            for point, label in zip(POINTS[image][instance], KNOWN[image][instance].tolist()):
                right += plain_entropy(logits[k], point, label, 16) if label >= 0 else 0
            k += 1
    assert loss.item() == pytest.approx(right.item() / number, rel=1e-5)
    loss.backward()
    assert logits.grad.abs().sum() > 0


def test_mask_points_without_masks_is_zero_with_a_graph():
    logits = torch.zeros(0, 16, 16, requires_grad=True)
    none = [torch.zeros(0, dtype=torch.int64)] * 2
    MaskPoints()(logits, none, torch.zeros(2, 3, 64, 64), POINTS, KNOWN).backward()
    assert logits.grad is not None


def test_cell_points_teach_the_masks_of_positive_cells():
    categories, kernels, features, image, boxes, labels, masks = solo_inputs()
    loss = CellPoints()
    terms = loss(categories, kernels, features, image, boxes, labels, masks, POINTS, KNOWN)
    (gradient,) = torch.autograd.grad(terms["points"], features)
    assert terms["points"] > 0 and gradient.abs().sum() > 0
    half = CellPoints(points=1.5)(categories, kernels, features, image, boxes, labels, masks, POINTS, KNOWN)
    assert half["points"].item() == pytest.approx(terms["points"].item() / 2)
    none = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2, [torch.zeros(0, 64, 64).byte()] * 2
    empty = [torch.zeros(0, 2, 2)] * 2, [torch.zeros(0, 2, dtype=torch.int8)] * 2
    assert loss(categories, kernels, features, image, *none, *empty)["points"] == 0


def test_query_points_match_what_is_right_at_the_points():
    """Query 2 is right at the only object's points and of its class: it is matched, and its losses are near 0."""
    classes = torch.zeros(1, 4, 3)
    classes[0, 2, 1] = 9
    masks = torch.full((1, 4, 16, 16), -9.0)
    masks[0, 2, :8, :8] = 9
    inputs = [classes.requires_grad_()], [masks.requires_grad_()], torch.zeros(1, 3, 64, 64), [torch.tensor([1])]
    terms = QueryPoints()(*inputs, POINTS[:1], KNOWN[:1])
    assert terms["mask"] < 0.01 and terms["dice"] < 0.01
    (gradient,) = torch.autograd.grad(terms["mask"], masks)
    assert gradient.abs().sum((0, 2, 3)).nonzero()[:, 0].tolist() == [2]


def test_query_points_add_up_sets_and_are_zero_without_objects():
    classes, masks, image, labels, _ = query_inputs()
    one = QueryPoints()(classes[:1], masks[:1], image, labels, POINTS, KNOWN)
    two = QueryPoints()([classes[0]] * 2, [masks[0]] * 2, image, labels, POINTS, KNOWN)
    for name, value in one.items():
        assert two[name].item() == pytest.approx(2 * value.item(), rel=1e-5), name
    none = [torch.zeros(0, dtype=torch.int64)] * 2, [torch.zeros(0, 2, 2)] * 2, [torch.zeros(0, 2).to(torch.int8)] * 2
    terms = QueryPoints()(classes, masks, image, *none)
    sum(terms.values()).backward()
    assert terms["mask"] == 0 and masks[0].grad is not None
