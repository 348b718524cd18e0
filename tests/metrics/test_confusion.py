"""Confusion against mmsegmentation's and torchmetrics' numbers, and against cases worked by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.metrics.confusion import Confusion
from segkit.registry import METRICS, ConfigError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "metrics"
NAMES = tuple("abcdefg")


@pytest.fixture(scope="module")
def maps():
    stored = np.load(FIXTURES / "maps.npz")
    return stored["gt"], stored["pred"]


def started(metric=None, classes=NAMES, ignore=255):
    metric = metric or Confusion()
    metric.start(SimpleNamespace(classes=classes, ignore=ignore))
    return metric


def feed(metric, truths, predictions, batch_size: int = 2):
    for i in range(0, len(truths), batch_size):
        mine = range(i, min(i + batch_size, len(truths)))
        batch = dict(mask=[torch.as_tensor(truths[k]) for k in mine], meta=[dict(id=f"img_{k}") for k in mine])
        metric.update([dict(labels=torch.as_tensor(predictions[k])) for k in mine], batch)
    return metric


def null_to_nan(values) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


@pytest.mark.parametrize(
    ("case", "arguments"), [("{}", {}), ('{"nan_to_num": 0}', dict(absent="zero")), ('{"beta": 2}', dict(beta=2))]
)
def test_equals_mmsegs_iou_metric(maps, case, arguments):
    expected = json.loads((FIXTURES / "mmseg_iou.json").read_text())[case]
    result = feed(started(Confusion(**arguments)), *maps).compute()
    for name, value in expected["summary"].items():
        assert result[name] == pytest.approx(value, abs=0.00501), name  # its numbers have two decimals
    for name, values in expected["per_class"].items():
        if name != "aAcc":
            ours = null_to_nan(result["per_class"][one][name] for one in NAMES)
            np.testing.assert_allclose(ours, 100 * null_to_nan(values), atol=1e-5, err_msg=name)


def test_matrix_equals_torchmetrics(maps):
    metric = feed(started(), *maps)
    assert metric.matrix().tolist() == json.loads((FIXTURES / "torchmetrics_confmat.json").read_text())
    metric.compute()
    assert metric.matrix().tolist() == json.loads((FIXTURES / "torchmetrics_confmat.json").read_text())


def by_hand(**arguments):
    """Rows of truth [[2, 1, 0], [0, 3, 0], [0, 0, 0]]; two more pixels are ignored."""
    truth = np.array([[0, 0, 0, 255], [1, 1, 1, 255]], np.uint8)
    labels = np.array([[0, 0, 1, 1], [1, 1, 1, 0]], np.uint8)
    return feed(started(Confusion(**arguments), classes=("sky", "road", "cat")), [truth], [labels]).compute()


def test_scores_by_hand():
    result = by_hand()
    assert result["per_class"]["sky"] == pytest.approx(
        {"IoU": 200 / 3, "Dice": 80, "Acc": 200 / 3, "Precision": 100, "Recall": 200 / 3, "Fscore": 80}
    )
    assert result["per_class"]["road"]["IoU"] == pytest.approx(75)
    assert set(result["per_class"]["cat"].values()) == {None}
    assert result["mIoU"] == pytest.approx((200 / 3 + 75) / 2)
    assert result["aAcc"] == pytest.approx(100 * 5 / 6)
    assert result["mAcc"] == pytest.approx((200 / 3 + 100) / 2)
    assert result["fwIoU"] == pytest.approx((200 / 3 + 75) / 2)  # three pixels each
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(("absent", "cat"), [("zero", 0), ("one", 100)])
def test_absent_class(absent, cat):
    result = by_hand(absent=absent)
    assert result["per_class"]["cat"]["IoU"] == cat
    assert result["mIoU"] == pytest.approx((200 / 3 + 75 + cat) / 3)


def test_class_that_is_only_predicted():
    truth, labels = np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 1]], np.uint8)
    scores = {}
    for absent in ("skip", "skip_without_truth"):
        metric = started(Confusion(absent=absent), classes=("a", "b"))
        scores[absent] = feed(metric, [truth], [labels]).compute()["mIoU"]
    assert scores == {"skip": pytest.approx(37.5), "skip_without_truth": pytest.approx(75)}


def test_groups_and_excluded_classes():
    result = by_hand(groups={"old": ["sky", 2], "new": ["road"]}, exclude=["sky"])
    assert result["mIoU"] == pytest.approx(75)
    assert result["aAcc"] == pytest.approx(100 * 5 / 6)
    assert result["groups"]["old"]["mIoU"] == pytest.approx(200 / 3)
    assert result["groups"]["new"]["mIoU"] == pytest.approx(75)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="skip, skip_without_truth, zero, one"):
        METRICS.get("Confusion")(absent="nan")
    with pytest.raises(ConfigError, match=r"Confusion.groups.old: no class 'raod'; did you mean 'road'"):
        by_hand(groups={"old": ["raod"]})
    with pytest.raises(ConfigError, match=r"Confusion.exclude: no class 3; available"):
        by_hand(exclude=[3])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_values_outside_the_classes_name_the_image(dtype):
    good = torch.zeros(4, 4, dtype=dtype)
    bad = good.clone()
    bad[2, 3] = 7
    with pytest.raises(ValueError, match=r"img_1: label 7 is outside the classes.*label_map"):
        feed(started(), [good, bad], [good, good])
    with pytest.raises(ValueError, match="img_1: prediction 7 is outside"):
        feed(started(), [good, good], [good, bad])
    if dtype == torch.int64:
        for value in (-1, 256 + 3, 100_000):  # 259 is class 3 where it is cut to a byte
            bad[2, 3] = value
            with pytest.raises(ValueError, match=f"img_1: label {value} is outside"):
                feed(started(), [good, bad], [good, good])
            with pytest.raises(ValueError, match=f"img_1: prediction {value} is outside"):
                feed(started(), [good, good], [good, bad])


def test_shapes_and_masks_are_checked():
    with pytest.raises(ValueError, match="img_0: the prediction is of"):
        feed(started(), [np.zeros((4, 4), np.uint8)], [np.zeros((4, 5), np.uint8)])
    with pytest.raises(ValueError, match="no mask"):
        started().update([dict(labels=np.zeros((4, 4), np.uint8))], dict(meta=[dict(id="x")]))


@pytest.mark.parametrize("ignore", [255, 0, -1, None])
@pytest.mark.parametrize("num_classes", [3, 300])
def test_ignore_value_and_many_classes(ignore, num_classes):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, num_classes, (9, 11)).astype(np.int16)
    labels = rng.integers(0, num_classes, (9, 11)).astype(np.int16)
    if ignore is not None:
        truth[:2] = ignore
    expected = np.zeros((num_classes, num_classes), np.int64)
    for t, p in zip(truth.flat, labels.flat):
        if t != ignore:
            expected[t, p] += 1
    metric = started(classes=tuple(str(k) for k in range(num_classes)), ignore=ignore)
    assert np.array_equal(feed(metric, [truth], [labels]).matrix(), expected)


def test_many_classes_are_checked_too():
    metric = started(classes=tuple(str(k) for k in range(300)))
    maps = [torch.full((2, 2), 300, dtype=torch.int16), torch.zeros(2, 2, dtype=torch.int16)]
    with pytest.raises(ValueError, match="img_0: label 300"):
        feed(metric, maps[:1], maps[1:])
    with pytest.raises(ValueError, match="img_0: prediction 300"):
        feed(metric, maps[1:], maps[:1])


def test_reset_start_and_an_empty_run(maps):
    metric = feed(started(), *maps)
    first = metric.compute()
    metric.reset()
    assert metric.compute()["mIoU"] is None and metric.compute()["aAcc"] is None
    assert feed(metric, *maps).compute() == first
    assert feed(started(metric, classes=(*NAMES, "h")), *maps).matrix().shape == (8, 8)
    everything = np.full((3, 4), 255, np.uint8)
    assert feed(started(), [everything], [everything * 0]).compute()["fwIoU"] is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_counts_the_same_and_checks_in_compute(maps):
    on_cpu = feed(started(), *maps).compute()
    truths, labels = (torch.as_tensor(one).cuda() for one in maps)
    assert feed(started(), truths, labels).compute() == on_cpu
    labels[1, 0, 0] = 9
    metric = feed(started(), truths, labels)
    with pytest.raises(ValueError, match="img_1: prediction 9"):
        metric.compute()
