"""Where labels are right: distances from outlines and sizes of regions, by hand and by slow loops."""

from types import SimpleNamespace

import numpy as np
import torch

from segkit.analysis import regions
from segkit.analysis.bootstrap import Plan
from segkit.analysis.findings import findings_of
from segkit.analysis.recorders import LabelRecorder
from segkit.metrics.confusion import Confusion


def slow_distance(truth: np.ndarray, ignore: int) -> np.ndarray:
    height, width = truth.shape
    edges = []
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                v, u = y + dy, x + dx
                is_inside = 0 <= v < height and 0 <= u < width
                if is_inside and ignore not in (truth[y, x], truth[v, u]) and truth[y, x] != truth[v, u]:
                    edges.append((y, x))
    found = np.full(truth.shape, np.inf)
    for y in range(height):
        for x in range(width):
            for v, u in edges:
                found[y, x] = min(found[y, x], 1 + ((y - v) ** 2 + (x - u) ** 2) ** 0.5)
    return found


def test_distances_from_outlines():
    rng = np.random.default_rng(0)
    truth = np.zeros((14, 18), np.uint8)
    truth[3:9, 4:12] = 1
    truth[6:13, 10:16] = 2
    truth[rng.random(truth.shape) < 0.05] = 255
    np.testing.assert_allclose(regions.outline_distance(truth, 255), slow_distance(truth, 255), rtol=1e-5)
    assert np.isinf(regions.outline_distance(np.full((4, 4), 3), 255)).all()
    # an ignored stripe between two classes is no outline
    assert np.isinf(regions.outline_distance(np.array([[0, 255, 1]]), 255)).all()


def test_the_bands_hold_every_pixel_once():
    rng = np.random.default_rng(1)
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    truth[0, :5] = 255
    labels = np.where(rng.random(truth.shape) < 0.7, truth % 2, 1).astype(np.uint8)
    found = regions.band_counts(truth, labels, 2, 255)
    distance = slow_distance(truth, 255)
    ends = (0, *regions.BANDS, np.inf)
    for b in range(len(regions.BAND_NAMES)):
        inside = (distance > ends[b]) & (distance <= ends[b + 1]) & (truth != 255)
        for k in (0, 1):
            right = (inside & (truth == k) & (labels == k)).sum()
            assert found[b, :, k].tolist() == [right, (inside & (truth == k)).sum(), (inside & (labels == k)).sum()]
    # two columns of pixels on either side are within 2 pixels, up to the corner that is ignored
    assert found[0, 1].sum() == 40 * 4 and found[:, 1].sum() == truth.size - 5


def test_regions_by_their_size():
    truth = np.zeros((120, 130), np.uint8)
    truth[:10, :10] = 1  # small: 100 pixels, all found
    truth[20:30, :10] = 1  # small: 100 pixels, 40 found
    truth[30, 10] = 1  # touches at a corner: one region of 101 pixels
    truth[40:80, :40] = 1  # medium: 1,600 pixels, half found
    truth[:, 120:] = 255
    labels = np.zeros_like(truth)
    labels[:10, :10] = 1
    labels[20:24, :10] = 1
    labels[40:60, :40] = 1
    found = regions.region_counts(truth, labels, 255)
    background = 120 * 120 - 100 - 101 - 1600
    assert found.tolist() == [[201, 140, 2, 1], [1600, 800, 1, 1], [background, background, 1, 1]]


def test_findings_of_a_set_say_them_all():
    rng = np.random.default_rng(0)
    dataset = SimpleNamespace(classes=("ground", "thing"), ignore=255)
    recorder = LabelRecorder(dataset, [Confusion()])
    for k in range(6):
        truth = np.zeros((30, 30), np.uint8)
        truth[5:20, 5 : 8 + 2 * k] = 1
        labels = np.where(rng.random(truth.shape) < 0.8, truth, 1 - truth).astype(np.uint8)
        recorder.add([{"labels": labels}], {"mask": [torch.from_numpy(truth)], "meta": [{"id": str(k), "path": ""}]})
    record = recorder.result()
    found = findings_of(record, Plan(100), {"time": ["day", "night"] * 3})
    assert found.images == 6 and found.main == ("mIoU", "mDice", "mAcc", "aAcc", "fwIoU")
    assert list(found.groups) == ["distance from outlines", "size of regions", "time"]
    assert [(group.name, group.images) for group in found.groups["time"]] == [("day", 3), ("night", 3)]
    day = record.table.take(np.array([0, 2, 4])).scores(np.ones((1, 3), int))
    assert found.groups["time"][0].scores["mIoU"].value == day["mIoU"][0]
    content = found.as_json()
    assert content["groups"]["size of regions"]["small"]["images"] == 6
    assert content["intervals"]["mIoU"]["low"] <= content["intervals"]["mIoU"]["value"]
    bands = content["groups"]["distance from outlines"]
    assert list(bands) == list(regions.BAND_NAMES) and bands["0 to 2 px"]["mIoU"]["value"] > 0
