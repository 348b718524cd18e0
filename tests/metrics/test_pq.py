"""Panoptic quality: by hand, and against a slow reference that counts pixel by pixel."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from segkit.metrics.pq import PQ, match_segments
from segkit.registry import ConfigError


def rle(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def scored(things, images):
    """images: of each (true map, labels, crowd marks, predicted map, labels); maps hold 1..n, 0 for nothing."""
    metric = PQ()
    metric.start(SimpleNamespace(classes=tuple(f"c{k}" for k in range(len(things))), things=things))
    metric.reset()
    for number, (truth, labels, crowd, found, found_labels) in enumerate(images):
        batch = dict(
            meta=[dict(id=str(number), size=truth.shape)],
            masks=[[rle(truth == k) for k in range(1, len(labels) + 1)]],
            labels=[torch.tensor(labels, dtype=torch.long)],
            crowd=[torch.tensor(crowd, dtype=torch.bool)],
        )
        masks = [rle(found == k) for k in range(1, len(found_labels) + 1)]
        metric.update([dict(masks=masks, labels=torch.tensor(found_labels), scores=torch.ones(len(masks)))], batch)
    return metric.compute()


def reference(things, images):
    """Tables of counts by loops over segments and pixels, in the order of the paper's section 4 and 4.1."""
    number = len(things)
    hits, misses, wrongs, overlap = ([0.0] * number for _ in range(4))
    for truth, labels, crowd, found, found_labels in images:
        pixels = list(zip(truth.ravel().tolist(), found.ravel().tolist()))
        used, taken = set(), set()
        for t, label in enumerate(labels, 1):
            for p, found_label in enumerate(found_labels, 1):
                if crowd[t - 1] or label != found_label:
                    continue
                common = sum(pair == (t, p) for pair in pixels)
                union = sum((a == t or b == p) and not (a == 0 and b == p) for a, b in pixels)
                if union and common / union > 0.5:
                    hits[label] += 1
                    overlap[label] += common / union
                    used.add(t)
                    taken.add(p)
        for t, label in enumerate(labels, 1):
            misses[label] += t not in used and not crowd[t - 1]
        for p, label in enumerate(found_labels, 1):
            if p in taken:
                continue
            crowds = [t for t, kind in enumerate(labels, 1) if crowd[t - 1] and kind == label]
            forgiven = {0, *crowds[-1:]}
            area = sum(b == p for _, b in pixels)
            if not sum(b == p and a in forgiven for a, b in pixels) / area > 0.5:
                wrongs[label] += 1
    rows = []
    for k in range(number):
        if hits[k] + misses[k] + wrongs[k]:
            total = hits[k] + misses[k] / 2 + wrongs[k] / 2
            rows.append((k, overlap[k] / total, overlap[k] / hits[k] if hits[k] else 0.0, hits[k] / total))
    return rows


def random_images(rng, number, num_classes, things):
    images = []
    for _ in range(number):
        size, cells = (12, 15), rng.integers(2, 5)
        rough = rng.integers(0, 5, (cells, cells))
        rows, columns = (np.arange(n) * cells // n for n in size)
        truth = rough[rows][:, columns]
        found = np.where(rng.random(size) < 0.75, np.roll(truth, rng.integers(0, 2), 1), rng.integers(0, 5, size))
        maps = []
        for segments in (truth, found):
            values = [v for v in np.unique(segments).tolist() if v]
            maps.append(sum((segments == v) * k for k, v in enumerate(values, 1)) + 0 * segments)
            maps.append([(v + rng.integers(0, 3) // 2) % num_classes for v in values])
        crowd = [bool(things[label] and rng.random() < 0.3) for label in maps[1]]
        images.append((maps[0], maps[1], crowd, maps[2], maps[3]))
    return images


def test_equal_to_the_reference_on_random_cases():
    things = (True, False, True, False)
    matched = 0
    for seed in range(12):
        images = random_images(np.random.default_rng(seed), 4, 4, things)
        rows, result = reference(things, images), scored(things, images)
        for suffix, kept in (
            ("", rows),
            ("_things", [r for r in rows if things[r[0]]]),
            ("_stuff", [r for r in rows if not things[r[0]]]),
        ):
            for column, name in enumerate(("PQ", "SQ", "RQ"), 1):
                expected = 100 * sum(row[column] for row in kept) / len(kept)
                assert result[name + suffix] == pytest.approx(expected, abs=1e-10)
        known = {k: row for k, *row in rows}
        for k in range(4):
            values = list(result["per_class"][f"c{k}"].values())
            expected = [100 * v for v in known[k]] if k in known else [None] * 3
            assert values == pytest.approx(expected, abs=1e-10)
        matched += sum(0 < row[1] < 1 for row in rows)
    assert matched > 20  # the cases are neither all right nor all wrong


def test_by_hand():
    """A match of IoU 3/4, a missed segment, and a wrong one."""
    truth = np.array([[1, 1, 1, 1], [2, 2, 2, 2]])
    found = np.array([[1, 1, 1, 0], [2, 0, 0, 0]])
    result = scored((True,), [(truth, [0, 0], [False, False], found, [0, 0])])
    assert result["SQ"] == pytest.approx(75) and result["RQ"] == pytest.approx(50)
    assert result["PQ"] == pytest.approx(37.5) == result["PQ_things"]
    assert result["PQ_stuff"] is None


@pytest.mark.parametrize("share, wrong", [(2, [0]), (3, [])])
def test_segments_on_void_or_crowd_are_not_wrong(share, wrong):
    """Of 4 pixels `share` lie on void, or on a crowd: more than half of them are forgiven."""
    found = np.array([[1, 1, 1, 1]])
    void = np.where(np.arange(4) < share, 0, 1)[None]
    assert match_segments(void, [1], [False], found, [0]).wrong == wrong
    crowd = np.where(np.arange(4) < share, 2, 1)[None]
    assert match_segments(crowd, [1, 0], [False, True], found, [0]).wrong == wrong
    assert match_segments(crowd, [1, 1], [False, True], found, [0]).wrong == [0]  # a crowd of another class


def test_void_is_no_part_of_a_union():
    truth, found = np.array([[1, 1, 0, 0, 0]]), np.array([[1, 1, 1, 1, 1]])
    assert match_segments(truth, [0], [False], found, [0]).pairs == [(0, 1.0)]
    # pixels of a crowd are
    truth = np.array([[1, 1, 2, 2, 2]])
    assert match_segments(truth, [0, 0], [False, True], found, [0]).pairs == []


def test_an_iou_of_one_half_is_no_match():
    truth, found = np.array([[1, 1, 2, 2]]), np.array([[1, 0, 0, 0]])
    assert match_segments(truth, [0, 1], [False, False], found, [0]) == ([], [0, 1], [0])


def test_no_image_and_no_class():
    metric = PQ()
    scores = metric.empty_scores(SimpleNamespace(classes=("a",), things=(False,)))
    assert scores["PQ"] is None and scores["per_class"]["a"] == dict(PQ=None, SQ=None, RQ=None)


def test_data_without_things_and_masks_that_overlap_are_refused():
    with pytest.raises(ConfigError, match="PQ scores panoptic data, and SimpleNamespace does not know"):
        PQ().start(SimpleNamespace(classes=("a",), things=None))
    metric = PQ()
    metric.start(SimpleNamespace(classes=("a",), things=(True,)))
    metric.reset()
    mask = rle(np.ones((2, 2)))
    batch = dict(meta=[dict(id="7", size=(2, 2))], masks=[[]], labels=[torch.zeros(0)], crowd=[torch.zeros(0)])
    with pytest.raises(ValueError, match=r"7: its predicted segments overlap.*runner Panoptic"):
        metric.update([dict(masks=[mask, mask], labels=torch.tensor([0, 0]))], batch)
    with pytest.raises(ValueError, match="must be equal"):
        metric.update([dict(masks=[rle(np.ones((3, 2)))], labels=torch.tensor([0]))], batch)
