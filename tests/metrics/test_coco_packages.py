"""COCO's curves by hotcoco and by pycocotools: equal to the last bit on random data, or pycocotools is kept."""

from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as rle

from segkit.metrics import _rle_results
from segkit.metrics._rle_results import HOTCOCO, PYCOCOTOOLS, Curves, RleResults, coco_curves, package_for
from segkit.metrics.coco_ap import IOUS, CocoAP

SIZE = (120, 160)


def encode(mask: np.ndarray) -> dict:
    return rle.encode(np.asfortranarray(mask))


def blob(rng: np.random.Generator) -> np.ndarray:
    """A rectangle of any size, solid or with holes; now and then empty."""
    mask = np.zeros(SIZE, np.uint8)
    if rng.random() < 0.05:
        return mask
    height, width = rng.integers(1, SIZE[0]), rng.integers(1, SIZE[1])
    if rng.random() < 0.5:
        height, width = min(height, 20), min(width, 20)
    y, x = rng.integers(0, SIZE[0] - height + 1), rng.integers(0, SIZE[1] - width + 1)
    mask[y : y + height, x : x + width] = 1 if rng.random() < 0.5 else rng.random((height, width)) < 0.7
    return mask


def outline(rng: np.random.Generator) -> list[list[float]]:
    """One or two polygons, which may leave the image's middle, cross each other or have no area."""
    polygons = []
    for _ in range(rng.integers(1, 3)):
        angles = np.sort(rng.random(rng.integers(3, 9)) * 2 * np.pi)
        radii, center = rng.random(len(angles)) * 40, rng.random(2) * SIZE[::-1]
        points = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        polygons.append(points.clip(0, SIZE[::-1]).round(2).ravel().tolist())
    return polygons


def stored(mask: np.ndarray, rng: np.random.Generator) -> dict | list:
    """A mask in one of the ways in which COCO's files have them."""
    packed, way = encode(mask), rng.integers(3)
    if way == 0:
        return dict(size=list(SIZE), counts=packed["counts"].decode())
    if way == 1:
        values = np.concatenate([[0], mask.T.ravel(), [1 - mask.T.ravel()[-1]]])
        ends = np.flatnonzero(np.diff(values))
        first = [] if mask[0, 0] == 0 else [0]
        return dict(size=list(SIZE), counts=[*first, *np.diff([0, *(end for end in ends if end)]).tolist()])
    return packed


def random_results(seed: int, images: int = 8) -> RleResults:
    """Crowds, empty images, ties among scores, areas at the ends of the ranges, unused classes, ids out of order."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(10**12, images, replace=False).tolist()
    categories = [*rng.choice(500, 3, replace=False).tolist(), 2**40, 0][seed % 2 :]
    truth, found = [], {number: [] for number in ids}
    for number in ids:
        for _ in range(0 if rng.random() < 0.2 else rng.integers(0, 12)):
            mask, is_crowd = blob(rng), int(rng.random() < 0.15)
            segmentation = stored(mask, rng)
            if rng.random() < 0.3 and not is_crowd:
                segmentation = outline(rng)
                mask = rle.decode(rle.merge(rle.frPyObjects(segmentation, *SIZE)))
            area = float(rng.choice([1024, 9216, 1023.5, 1e5])) if rng.random() < 0.2 else float(mask.sum())
            label = int(rng.integers(len(categories) - 1))
            truth.append(
                dict(
                    id=7,  # numbered anew
                    image_id=number,
                    category_id=categories[label],
                    segmentation=segmentation,
                    area=area,
                    bbox=rle.toBbox(encode(mask)).tolist(),
                    iscrowd=is_crowd,
                    ignore=int(rng.random() < 0.1),
                )
            )
            if rng.random() < 0.8:
                score = float(rng.choice([0.1, 0.5, 0.5, 0.9])) if rng.random() < 0.5 else float(rng.random())
                moved = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
                found[number].append((encode(moved), score, label if rng.random() < 0.9 else 0))
        for _ in range(rng.integers(0, 4)):
            found[number].append((encode(blob(rng)), float(np.float32(rng.random())), int(rng.integers(3))))
    annotations = dict(
        images=[dict(id=number, height=SIZE[0], width=SIZE[1]) for number in ids],
        categories=[dict(id=number, name=f"c{number}") for number in categories],
        annotations=truth,
    )
    results = RleResults(annotations)
    for number, rows in found.items():
        add(results, number, rows)
    return results


def add(results: RleResults, number: int | str, rows: list[tuple[dict, float, int]]) -> None:
    """rows: mask, score, label."""
    prediction = dict(zip(("masks", "scores", "labels"), map(list, zip(*rows)))) if rows else None
    results.add([prediction or dict(masks=[], scores=[], labels=[])], dict(meta=[dict(id=str(number))]))


def both(results: RleResults, iou_type: str, counts: tuple[int, ...], monkeypatch) -> tuple[Curves, Curves]:
    """-> the curves of hotcoco and of pycocotools."""
    curves = []
    for package in (HOTCOCO, PYCOCOTOOLS):
        monkeypatch.setattr(_rle_results, "package_for", lambda results, package=package: package)
        curves.append(coco_curves(results, iou_type, ious=IOUS, max_detections=counts))
    return curves[0], curves[1]


def assert_equal(one: Curves, other: Curves) -> None:
    for name, a, b in zip(Curves._fields, one, other):
        assert a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b), name


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("counts", [(1, 10, 100), (1, 2, 300)])
def test_both_packages_agree_to_the_last_bit(iou_type, counts, monkeypatch):
    pytest.importorskip(HOTCOCO)
    for seed in range(5):
        ours, reference = both(random_results(seed), iou_type, counts, monkeypatch)
        assert_equal(ours, reference)
    assert 0 < reference.recall.max() <= 1


@pytest.mark.parametrize("keep_truth, keep_found", [(False, True), (True, False), (False, False)])
def test_they_agree_where_a_side_is_empty(keep_truth, keep_found, monkeypatch):
    pytest.importorskip(HOTCOCO)
    results = random_results(3)
    if not keep_truth:
        results.annotations = {**results.annotations, "annotations": []}
    if not keep_found:
        results.forget()
    assert_equal(*both(results, "segm", (1, 10, 100), monkeypatch))


def test_every_score_of_the_metric_is_equal(monkeypatch):
    pytest.importorskip(HOTCOCO)
    scores = []
    for package in (HOTCOCO, PYCOCOTOOLS):
        monkeypatch.setattr(_rle_results, "package_for", lambda results, package=package: package)
        results, metric = random_results(5), CocoAP()
        metric.start(SimpleNamespace(annotations=results.annotations))
        metric._results = results
        scores.append(metric.compute())
    assert scores[0] == scores[1] and scores[0]["AP"] > 0


def test_what_hotcoco_does_not_take_goes_to_pycocotools(monkeypatch):
    """Ids as text, a score that is no number, and a machine without hotcoco."""
    pytest.importorskip(HOTCOCO)
    results = random_results(0)
    number = results.annotations["images"][0]["id"]
    assert package_for(results) == HOTCOCO
    add(results, number, [(encode(np.ones(SIZE, np.uint8)), float("nan"), 0)])
    assert package_for(results) == PYCOCOTOOLS

    mask = encode(np.ones(SIZE, np.uint8))
    entry = dict(id=1, image_id="a", category_id=1, segmentation=mask, area=9e4, bbox=[0, 0, 160, 120])
    image, category = dict(id="a", height=SIZE[0], width=SIZE[1]), dict(id=1, name="c")
    named = RleResults(dict(images=[image], categories=[category], annotations=[entry]))
    add(named, "a", [(mask, 0.5, 0)])
    assert package_for(named) == PYCOCOTOOLS
    assert coco_curves(named, "segm", ious=IOUS, max_detections=(1, 10, 100)).precision[0, 0, 0, 0, 2] == pytest.approx(
        1
    )

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert package_for(random_results(0)) == PYCOCOTOOLS
