"""Intervals and comparisons against slow loops over images, and against numbers worked by hand."""

import math
from itertools import product
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from segkit import dist
from segkit.analysis.bootstrap import (
    Plan,
    bca_shares,
    compared,
    draws,
    exchanges,
    interval,
    intervals,
    left_out,
)
from segkit.analysis.click_table import ClickTable
from segkit.analysis.label_table import LABEL_SCORES, LabelTable, by_column, counts_of
from segkit.analysis.record import ImageRecord, load, matched, save
from segkit.analysis.recorders import ClickRecorder, LabelRecorder, MatchRecorder
from segkit.files import DataError
from segkit.metrics.coco_ap import CocoAP
from segkit.metrics.confusion import Confusion
from segkit.metrics.noc import NoC, noc_scores
from segkit.registry import ConfigError

CLASSES = ("sky", "road", "car", "sign")
SET = SimpleNamespace(classes=CLASSES, ignore=255)


def label_maps(seed: int, count: int = 9) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction of images; signs are rare, and the last pixels are not scored."""
    rng, maps = np.random.default_rng(seed), []
    for _ in range(count):
        truth = rng.choice(4, (6, 8), p=(0.4, 0.4, 0.15, 0.05)).astype(np.uint8)
        labels = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 4, truth.shape)).astype(np.uint8)
        truth[-1, -3:] = 255
        maps.append((truth, labels))
    return maps


def recorded(maps: list, confusion: Confusion) -> ImageRecord:
    recorder = LabelRecorder(SET, [confusion])
    for k, (truth, labels) in enumerate(maps):
        recorder.add([{"labels": labels}], {"mask": [torch.from_numpy(truth)], "meta": [{"id": f"{k:02}", "path": ""}]})
    return recorder.result()


def confusion_scores(maps: list, **options) -> dict:
    metric = Confusion(**options)
    metric.start(SET)
    for k, (truth, labels) in enumerate(maps):
        metric.update([{"labels": labels}], {"mask": [torch.from_numpy(truth)], "meta": [{"id": str(k)}]})
    return metric.compute()


@pytest.mark.parametrize(
    "options", [{}, {"exclude": ["sky"], "absent": "zero"}, {"absent": "one"}, {"absent": "skip_without_truth"}]
)
def test_a_drawn_set_scores_as_its_images_would(options):
    maps = label_maps(0)
    table = recorded(maps, Confusion(**options)).table
    weights = np.random.default_rng(1).multinomial(9, [1 / 9] * 9, 4)
    found = table.scores(weights)
    for b, row in enumerate(weights):
        drawn = [pair for pair, times in zip(maps, row) for _ in range(times)]
        expected = confusion_scores(drawn, **options)
        for name in LABEL_SCORES:
            assert found[name][b] == pytest.approx(expected[name], abs=1e-9), (name, b)
        for name in CLASSES:
            of_class = expected["per_class"][name]["IoU"]
            assert found[f"IoU {name}"][b] == pytest.approx(math.nan if of_class is None else of_class, nan_ok=True)


def test_draws_are_those_of_the_seed_and_keep_the_strata():
    strata = ["a"] * 5 + ["b"] * 3
    plan = Plan(200, seed=4)
    drawn, again = np.concatenate([*draws(strata, plan)]), np.concatenate([*draws(strata, plan)])
    assert np.array_equal(drawn, again) and drawn.shape == (200, 8)
    assert (drawn[:, :5].sum(1) == 5).all() and (drawn[:, 5:].sum(1) == 3).all()
    free = np.concatenate([*draws(strata, plan._replace(is_stratified=False))])
    assert (free.sum(1) == 8).all() and len(set(free[:, :5].sum(1))) > 1
    # an image is drawn once on average
    assert abs(free.mean() - 1) < 1e-12 and abs(free[:, 0].mean() - 1) < 0.25


def test_parts_are_left_out_once(monkeypatch):
    assert np.array_equal(np.concatenate([*left_out(3)]), 1 - np.eye(3, dtype=int))
    monkeypatch.setattr("segkit.analysis.bootstrap.MOST_LEFT_OUT", 4)
    rows = np.concatenate([*left_out(10)])
    assert rows.shape == (4, 10) and (rows.sum(0) == 3).all()


def test_the_interval_of_a_mean_is_that_of_a_slow_loop():
    """Accuracy of images of equal size is a mean: its draws, percentiles and BCa ends by plain loops."""
    rng = np.random.default_rng(3)
    right = rng.integers(20, 100, 12)
    counts = np.zeros((12, 3, 1), np.int64)
    counts[:, 0, 0], counts[:, 1, 0], counts[:, 2, 0] = right, 100, 100
    table = LabelTable(tuple(map(str, range(12))), ("all",), counts, np.ones(1, bool))
    plan = Plan(400, 0.9, seed=7)
    found = intervals(table, plan)["aAcc"]

    values = [float(np.dot(row, right)) / 12 for row in np.concatenate([*draws(table.strata, plan)])]
    mean = sum(right) / 12
    assert found.value == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, (0.05, 0.95))))
    normal, jackknife = NormalDist(), [(sum(right) - one) / 11 for one in right]
    middle = sum(jackknife) / 12
    skew = sum((middle - one) ** 3 for one in jackknife)
    a = skew / (6 * sum((middle - one) ** 2 for one in jackknife) ** 1.5)
    below = sum(value < mean - 1e-9 for value in values) + sum(abs(value - mean) <= 1e-9 for value in values) / 2
    z = normal.inv_cdf(below / 400)
    ends = [z + normal.inv_cdf(tail) for tail in (0.05, 0.95)]
    shares = [normal.cdf(z + end / (1 - a * end)) for end in ends]
    assert (found.bca_low, found.bca_high) == pytest.approx(tuple(np.quantile(values, shares)))


def test_intervals_hold_the_true_value_as_often_as_they_say():
    """Of 80 samples of 40 images, the 90 % interval of a mean holds the true mean in about 90 %: 72, give or take 8."""
    rng, hits = np.random.default_rng(0), 0
    true = sum(math.exp(-k / 20) for k in range(1, 101))  # mean of the floor of min(exponential of mean 20, 100)
    for trial in range(80):
        right = np.minimum(rng.exponential(20, 40), 100).astype(np.int64)
        counts = np.stack([right, np.full(40, 100), np.full(40, 100)], 1)[:, :, None]
        table = LabelTable(tuple(map(str, range(40))), ("all",), counts, np.ones(1, bool))
        found = intervals(table, Plan(150, 0.9, trial))["aAcc"]
        hits += found.bca_low <= true <= found.bca_high
    assert 64 <= hits <= 79


def test_scores_that_cannot_vary_or_do_not_exist():
    same = interval(50.0, np.full(100, 50.0), np.full(4, 50.0), 0.95)
    assert same == (50, 50, 50, 50, 50)
    assert all(math.isnan(end) for end in interval(math.nan, np.full(9, 1.0), np.ones(2), 0.95)[1:])
    few = np.array([math.nan] * 6 + [1.0] * 4)
    assert math.isnan(interval(1.0, few, np.ones(2), 0.95).low)
    assert bca_shares(9.0, np.arange(5.0), np.arange(3.0), (0.1, 0.9)) == (0.1, 0.9)


def test_a_difference_and_its_p_by_all_exchanges(monkeypatch):
    """With every exchange of 6 images in turn, p is the share of the 64 with a difference as large."""
    rng = np.random.default_rng(5)
    right = rng.integers(40, 60, (2, 6)) + np.array([[0], [7]])
    tables = []
    for row in right:
        counts = np.stack([row, np.full(6, 100), np.full(6, 100)], 1)[:, :, None]
        tables.append(LabelTable(tuple("abcdef"), ("all",), counts, np.ones(1, bool)))
    every = np.array(list(product([False, True], repeat=6)))
    monkeypatch.setattr("segkit.analysis.bootstrap.exchanges", lambda count, plan: iter([every]))
    found = compared(*tables, Plan(300, seed=1))["aAcc"]
    observed = (right[1].sum() - right[0].sum()) / 6
    as_large = 0
    for swap in every:
        first, second = np.where(swap, right[1], right[0]), np.where(swap, right[0], right[1])
        as_large += abs(second.sum() - first.sum()) / 6 >= abs(observed) - 1e-9
    assert found.difference.value == pytest.approx(observed) and found.second - found.first == pytest.approx(observed)
    assert found.p == pytest.approx((1 + as_large) / 65)
    # draws are shared: the interval of the difference is that of the differences
    drawn = np.concatenate([*draws(tables[0].strata, Plan(300, seed=1))])
    low, high = np.quantile(drawn @ (right[1] - right[0]) / 6, (0.025, 0.975))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))


def test_a_model_compared_with_itself_differs_in_nothing():
    table = recorded(label_maps(2), Confusion()).table
    found = compared(table, table, Plan(100))
    assert all(one.difference.value == 0 and one.p == 1 for name, one in found.items() if name in LABEL_SCORES)
    swaps = np.concatenate([*exchanges(9, Plan(300))])
    assert 0.4 < swaps.mean() < 0.6


def clicked(names: list[str], curves: list[list[float]], areas: list[int]) -> ImageRecord:
    recorder = ClickRecorder([NoC(thresholds=(0.5, 0.9), limits=(5,))])
    for k, (name, ious, area) in enumerate(zip(names, curves, areas)):
        mask = torch.zeros(10, 10)
        mask.view(-1)[:area] = 1
        meta = {"id": f"{name}-{k}", "path": name}
        recorder.add([{"ious": np.array(ious, np.float32)}], {"mask": [mask], "meta": [meta]})
    return recorder.result()


def test_images_of_one_id_stand_in_one_order_on_any_number_of_processes(monkeypatch):
    """Sets that were put together share ids; the first of two processes had images 0 and 2, the second 1 and 3."""

    def recorder(numbers: list[int]) -> LabelRecorder:
        made = LabelRecorder(SET, [])
        for k in numbers:
            truth, labels = label_maps(3)[k]
            meta = {"id": f"{k % 2}", "path": "dcba"[k]}
            made.add([{"labels": labels}], {"mask": [torch.from_numpy(truth)], "meta": [meta]})
        return made

    whole, halves = recorder([0, 1, 2, 3]).result(), (recorder([0, 2]), recorder([3, 1]))
    monkeypatch.setattr(dist, "gather_objects", lambda rows: [half._rows for half in halves])
    parts = halves[0].result()
    assert parts.table.images == whole.table.images == ("b", "d", "a", "c") == parts.paths
    assert np.array_equal(parts.table.counts, whole.table.counts)


def test_clicks_needed_over_drawn_images():
    """Two objects of image a are drawn together."""
    curves = [[0.6, 0.95], [0.2, 0.4, 0.6, 0.7, 0.8], [0.9]]
    table = clicked(["a", "a", "b"], curves, [4, 50, 99]).table
    assert isinstance(table, ClickTable) and table.images == ("a", "b")
    found = table.scores(np.array([[1, 1], [2, 0], [0, 2], [1, 3]]))
    # NoC@90: 2, 5 (not reached), 1; NoC@50: 1, 3, 1
    assert found["NoC@90"] == pytest.approx([8 / 3, 3.5, 1, (2 + 5 + 3) / 5])
    assert found["NoC@50"] == pytest.approx([5 / 3, 2, 1, (1 + 3 + 3) / 5])
    items = [dict(id=str(k), clicks=[], ious=ious, seconds=0.0) for k, ious in enumerate(curves)]
    expected = noc_scores(items, (0.5, 0.9), (5,))
    assert found["mIoU@1"][0] == pytest.approx(expected["mIoU@1"]) and found["NoC@90"][0] == expected["NoC@90"]
    assert found["mIoU@5"][0] == pytest.approx(expected["mIoU@5"])
    assert table.of_areas(0, 50).items == ("a-0",) and table.of_areas(50, 1e9).images == ("a", "b")
    assert table.joined(table).scores(np.array([[1, 0, 0, 1]]))["NoC@90"] == pytest.approx([8 / 3])


def instances() -> tuple[SimpleNamespace, list[dict]]:
    """Rectangles of two classes in 8 images, with crowds and equal scores, and detections near most of them."""
    rng = np.random.default_rng(2)
    images = [dict(id=i, height=120, width=120) for i in range(8)]
    annotations, predictions = [], []
    for i in range(8):
        masks, labels, scores = [], [], []
        for _ in range(rng.integers(1, 5)):
            y, x, h, w = *rng.integers(0, 60, 2), *rng.integers(8, 60, 2)
            mask = np.zeros((120, 120), np.uint8)
            mask[y : y + h, x : x + w] = 1
            code, label = coco_mask.encode(np.asfortranarray(mask)), int(rng.integers(0, 2))
            entry = dict(image_id=i, category_id=label + 1, segmentation=code, area=float(mask.sum()), iscrowd=0)
            entry |= dict(bbox=coco_mask.toBbox(code).tolist(), id=len(annotations))
            entry["iscrowd"] = int(rng.random() < 0.15)
            annotations.append(entry)
            if rng.random() < 0.8:
                moved = np.roll(mask, rng.integers(-5, 6, 2), (0, 1))
                masks.append(coco_mask.encode(np.asfortranarray(moved)))
                labels.append(label if rng.random() < 0.8 else 1 - label)
                scores.append(round(float(rng.random()), 1))
        predictions.append(dict(masks=masks, labels=np.array(labels, int), scores=np.array(scores, float)))
    categories = [dict(id=1, name="cup"), dict(id=2, name="plate")]
    return SimpleNamespace(annotations=dict(images=images, categories=categories, annotations=annotations)), predictions


def test_average_precision_over_drawn_images_is_that_of_a_set_of_copies():
    dataset, predictions = instances()
    recorder = MatchRecorder(dataset, [CocoAP()])
    for i, prediction in enumerate(predictions):
        recorder.add([prediction], {"meta": [{"id": i}]})
    table = recorder.result().table
    weights = np.random.default_rng(0).multinomial(8, [1 / 8] * 8, 3)
    weights = np.concatenate([np.ones((1, 8), int), weights])
    found = table.scores(weights)
    for b, row in enumerate(weights):
        copies = [i for i in range(8) for _ in range(row[i])]
        truth = dict(dataset.annotations)
        truth["images"] = [dict(dataset.annotations["images"][i], id=n) for n, i in enumerate(copies)]
        truth["annotations"] = [
            dict(entry, image_id=n)
            for n, i in enumerate(copies)
            for entry in dataset.annotations["annotations"]
            if entry["image_id"] == i
        ]
        metric = CocoAP()
        metric.start(SimpleNamespace(annotations=truth))
        for n, i in enumerate(copies):
            metric.update([predictions[i]], {"meta": [{"id": n}]})
        expected = metric.compute()
        for name in table.main_scores():
            one = math.nan if expected[name] is None else expected[name]
            assert found[name][b] == pytest.approx(one, abs=1e-9, nan_ok=True), (name, b)
        assert found["AP cup"][b] == pytest.approx(expected["per_class"]["cup"]["AP"], abs=1e-9)
    # some of the images by themselves
    part = table.take(np.array([5, 2]))
    only = np.zeros((1, 8), int)
    only[0, [2, 5]] = 1
    assert part.scores(np.ones((1, 2), int))["AP"] == pytest.approx(table.scores(only)["AP"])


def test_records_are_written_and_read(tmp_path):
    dataset, predictions = instances()
    recorder = MatchRecorder(dataset, [CocoAP()])
    for i, prediction in enumerate(predictions):
        recorder.add([prediction], {"meta": [{"id": i}]})
    records = [
        recorded(label_maps(0), Confusion(exclude=["sky"])),
        clicked(["a", "b"], [[0.5], [0.9, 0.2]], [4, 9]),
        recorder.result(),
    ]
    for k, record in enumerate(records):
        again = load(save(record, tmp_path / f"{k}.npz"))
        weights = np.arange(len(record.table.images))[None] + 1
        before, after = record.table.scores(weights), again.table.scores(weights)
        assert list(before) == list(after) and again.paths == record.paths
        assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)
    with pytest.raises(DataError, match="different tasks"):
        matched(records[0], records[1], ("a", "b"))


def test_only_images_that_both_have_are_compared():
    maps, confusion = label_maps(0), Confusion()
    first, second = recorded(maps, confusion), recorded(maps[:6], confusion)
    a, b = matched(first, second, ("a", "b"))
    assert a.images == b.images == second.table.images
    assert np.array_equal(a.counts, b.counts)
    with pytest.raises(DataError, match="left-out classes differ"):
        matched(first, recorded(maps, Confusion(exclude=["sky"])), ("a", "b"))
    with pytest.raises(DataError, match="share 0 images"):
        other = second.table.take(np.arange(2))
        matched(first, ImageRecord(LabelTable(("x", "y"), CLASSES, other.counts, other.kept), ("", "")), ("a", "b"))


def test_files_that_are_no_records_are_refused(tmp_path):
    path = tmp_path / "x_images.npz"
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"x_images\.npz: no readable"):
        load(path)
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(DataError, match="objects"):
        load(path)
    np.savez(path, a=np.arange(3))
    with pytest.raises(DataError, match="holds no counts"):
        load(path)
    record = recorded(label_maps(0), Confusion())
    save(record, path)
    whole = dict(np.load(path))
    changes = {
        "table.counts": whole["table.counts"][:, :2],
        "table.kept": np.ones(9, bool),
        "paths": np.arange(9),
        "bands": np.zeros((2, 2)),
    }
    for name, value in changes.items():
        np.savez(path, **{**whole, name: value})
        with pytest.raises(DataError, match=r"x_images\.npz: (is damaged|its arrays)"):
            load(path)


def test_a_file_that_unpacks_to_more_than_it_may(tmp_path, monkeypatch):
    path = tmp_path / "large_images.npz"
    np.savez_compressed(path, a=np.zeros(100_000), b=np.zeros(100_000))
    monkeypatch.setattr("segkit.readers.arrays.UNPACKED", 1_000_000)
    with pytest.raises(DataError, match="needs more than 1,000,000 bytes when decompressed"):
        load(path)


def test_plans_out_of_range():
    for plan in (Plan(10), Plan(level=1.0), Plan(level=0.0)):
        with pytest.raises(ConfigError, match=r"--draws 10|--level"):
            plan.check()


def test_values_of_a_column_part_the_images():
    found = by_column(["a", "b", "c", "d"], ["rain", "sun", "sun", "fog"])
    assert {name: index.tolist() for name, index in found.items()} == {"sun": [1, 2], "fog": [3], "rain": [0]}
    assert next(iter(found)) == "sun"


def test_counts_of_a_matrix():
    assert counts_of(np.array([[3, 1], [2, 4]])).tolist() == [[3, 4], [4, 6], [5, 5]]
