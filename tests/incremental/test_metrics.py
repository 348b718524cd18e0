"""Scores of incremental tasks: the published code's numbers, means and forgetting by hand, tables and the plot."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from segkit.engine.schedules import LearningRate, Poly
from segkit.metrics.incremental import (
    IncrementalIoU,
    harmonic_mean,
    incremental_scores,
    paper_table,
    step_record,
    steps_table,
    summary,
)
from segkit.registry import ConfigError
from segkit.viz.plots import steps_plot

STORED = np.load(Path(__file__).parents[1] / "fixtures/mib/metrics.npz")
CASES = ("voc_all", "voc_absent_in_gt_but_predicted", "perfect", "ade_like_no_bg_in_gt")


def scored(sizes, classes, truth, prediction, **options) -> IncrementalIoU:
    metric = IncrementalIoU(sizes, **options)
    metric.start(SimpleNamespace(classes=classes, ignore=255))
    for i, (true, found) in enumerate(zip(truth, prediction)):
        metric.update(
            [{"labels": torch.from_numpy(found)}], {"mask": [torch.from_numpy(true)], "meta": [{"id": str(i)}]}
        )
    return metric


@pytest.mark.parametrize("case", CASES)
def test_published_scores(case):
    truth, prediction, matrix, iou, acc, means = (
        STORED[f"{case}/{name}"] for name in ("gt", "pred", "confusion", "iou", "acc", "means")
    )
    names = [f"c{i}" for i in range(len(matrix))]
    metric = scored((len(matrix) - 1, 1), names, truth, prediction)
    result = metric.compute()
    assert np.array_equal(metric._confusion.matrix().numpy(), matrix)
    for score, values in (("IoU", iou), ("Acc", acc)):
        ours = [result["per_class"][name][score] for name in names]
        assert [value is None for value in ours] == np.isnan(values).tolist()
        assert [value for value in ours if value is not None] == pytest.approx(
            100 * values[~np.isnan(values)], rel=1e-12
        )
    ours = [result[name] for name in ("aAcc", "mAcc", "fwIoU", "mIoU")]
    assert ours == pytest.approx(100 * means, rel=1e-12)
    assert result["mIoU_all_with_background"] == result["mIoU"]


# Background, two base classes, two of step 1, one of step 2: diagonals over row and column sums.
MATRIX = np.array(
    [
        [8, 1, 0, 1, 0, 0],
        [2, 6, 0, 0, 0, 0],
        [0, 0, 4, 0, 0, 0],
        [1, 0, 0, 3, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [4, 0, 0, 0, 0, 0],
    ]
)
NAMES = ("background", "a", "b", "c", "d", "e")


def test_old_new_and_all_by_hand():
    scores = incremental_scores(MATRIX, NAMES, sizes=(3, 2, 1), epsilon=0)
    iou = {"background": 8 / 17, "a": 6 / 9, "b": 1.0, "c": 3 / 5, "e": 0.0}
    for name, value in iou.items():
        assert scores["per_class"][name]["IoU"] == pytest.approx(100 * value)
    assert scores["per_class"]["d"] == {"IoU": None, "Acc": None}
    old, new = 100 * (6 / 9 + 1) / 2, 100 * (3 / 5 + 0) / 2
    assert scores["mIoU_old"] == pytest.approx(old)
    assert scores["mIoU_new"] == pytest.approx(new)
    assert scores["mIoU_all"] == pytest.approx(100 * (6 / 9 + 1 + 3 / 5 + 0) / 4)
    assert scores["mIoU_old_with_background"] == pytest.approx(100 * (8 / 17 + 6 / 9 + 1) / 3)
    assert scores["mIoU_all_with_background"] == scores["mIoU"] == pytest.approx(100 * sum(iou.values()) / 5)
    assert scores["hIoU"] == pytest.approx(2 * old * new / (old + new))
    assert scores["mIoU_steps"] == pytest.approx([old, 60.0, 0.0])
    assert scores["aAcc"] == pytest.approx(100 * 21 / 30)
    assert scores["fwIoU"] == pytest.approx(100 * (10 * 8 / 17 + 8 * 6 / 9 + 4 + 4 * 3 / 5) / 30)


def test_the_first_step_has_no_new_classes():
    scores = incremental_scores(MATRIX[:3, :3], NAMES[:3], sizes=(3,))
    assert scores["mIoU_new"] is None and scores["hIoU"] is None
    assert scores["mIoU_old"] == scores["mIoU_all"] == scores["mIoU_steps"][0]
    nothing = incremental_scores(np.zeros((3, 3), np.int64), NAMES[:3], sizes=(2, 1))
    assert all(nothing[name] is None for name in ("mIoU", "aAcc", "fwIoU", "mIoU_old", "mIoU_new"))
    assert (harmonic_mean(0.0, 0.0), harmonic_mean(60.0, 20.0), harmonic_mean(None, 3.0)) == (0.0, 30.0, None)


def test_sizes_come_from_the_data_set_and_must_fit():
    dataset = SimpleNamespace(
        classes=NAMES[:3], ignore=255, step=1, plan=SimpleNamespace(sizes=lambda step: (2, 1)[: step + 1])
    )
    metric = IncrementalIoU()
    metric.start(dataset)
    assert metric.sizes == (2, 1)
    with pytest.raises(ConfigError, match="has no class steps; set sizes"):
        IncrementalIoU().start(SimpleNamespace(classes=NAMES))
    with pytest.raises(ConfigError, match=r"sizes = \[3, 2\]: must add up to the 6 classes"):
        IncrementalIoU((3, 2)).start(SimpleNamespace(classes=NAMES))


def record(step: int, sizes: tuple[int, ...], **iou: float | None) -> dict:
    """A record of these IoU in percent, its means as incremental_scores takes them."""
    values = np.array([np.nan if value is None else value for value in iou.values()])
    ends = np.cumsum(sizes)
    groups = [values[max(end - size, 1) : end] for size, end in zip(sizes, ends)]
    mean = lambda part: float(np.nanmean(part)) if np.isfinite(part).any() else None  # noqa: E731
    new = np.concatenate([np.zeros(0), *groups[1:]])
    scores = {
        "mIoU_old": mean(groups[0]),
        "mIoU_new": mean(new),
        "mIoU_all": mean(values[1:]),
        "mIoU_old_with_background": mean(values[: sizes[0]]),
        "mIoU_all_with_background": mean(values),
        "hIoU": harmonic_mean(mean(groups[0]), mean(new)),
        "mIoU_steps": [mean(part) for part in groups],
        "sizes": list(sizes),
        "per_class": {name: {"IoU": value} for name, value in iou.items()},
    }
    return step_record(step, scores)


RECORDS = [
    record(0, (3,), background=90.0, a=60.0, b=80.0),
    record(1, (3, 1), background=80.0, a=70.0, b=30.0, c=50.0),
    record(2, (3, 1, 1), background=85.0, a=40.0, b=50.0, c=None, d=20.0),
]


def test_forgetting_and_averages_by_hand():
    result = summary(RECORDS)
    first, second, third = result["steps"]
    assert first["forgetting"] == {} and first["mForgetting"] is None
    assert second["forgetting"] == pytest.approx({"background": 10, "a": -10, "b": 50})
    assert second["mForgetting"] == pytest.approx(20)
    # The best of both steps before; what is not scored is not counted.
    assert third["forgetting"] == pytest.approx({"background": 5, "a": 30, "b": 30})
    assert third["mForgetting"] == pytest.approx(30)
    assert result["average"]["mIoU_all"] == pytest.approx((70 + 50 + (40 + 50 + 20) / 3) / 3)
    with_background = [230 / 3, 230 / 4, (85 + 40 + 50 + 20) / 4]
    assert result["average"]["mIoU_all_with_background"] == pytest.approx(np.mean(with_background))
    assert third["classes"] == ["background", "a", "b", "c", "d"] and third["step"] == 2


def test_tables():
    assert steps_table(summary(RECORDS)["steps"]).splitlines() == [
        "| step | classes |  old |  new |  all | harmonic | old + bg | all + bg | forgotten |",
        "| ---- | ------: | ---: | ---: | ---: | -------: | -------: | -------: | --------: |",
        "| 0    |       3 | 70.0 |    - | 70.0 |        - |     76.7 |     76.7 |         - |",
        "| 1    |       4 | 50.0 | 50.0 | 50.0 |     50.0 |     60.0 |     57.5 |      20.0 |",
        "| 2    |       5 | 45.0 | 20.0 | 36.7 |     27.7 |     58.3 |     48.8 |      30.0 |",
    ]
    methods = {"FT": RECORDS[2], "MiB": record(2, (3, 1, 1), background=85.0, a=60.0, b=70.0, c=44.0, d=28.0)}
    assert paper_table(methods).splitlines() == [
        "| method |  1-2 |  3-4 |  all |",
        "| ------ | ---: | ---: | ---: |",
        "| FT     | 45.0 | 20.0 | 36.7 |",
        "| MiB    | 65.0 | 36.0 | 50.5 |",
    ]
    methods.pop("FT")
    by_step = paper_table(methods, by_step=True, with_background=True).splitlines()
    assert by_step[0] == "| method |  0-2 |    3 |    4 |  all |"
    assert by_step[2] == "| MiB    | 71.7 | 44.0 | 28.0 | 57.4 |"
    assert paper_table({"base": RECORDS[0]}).splitlines()[0] == "| method |  1-2 |  all |"
    with pytest.raises(ValueError, match=r"other has learned steps of \[3, 1\] classes"):
        paper_table({"one": RECORDS[2], "other": RECORDS[1]})


@pytest.mark.parametrize("num_classes", [5, 151])
def test_plot(tmp_path, num_classes):
    cv2 = pytest.importorskip("cv2")
    names = ["background", *(f"c{i}" for i in range(1, num_classes))]
    sizes = [(num_classes - 2,), (num_classes - 2, 1), (num_classes - 2, 1, 1)]
    records = [record(t, one, **dict.fromkeys(names[: sum(one)], 50.0 + t)) for t, one in enumerate(sizes)]
    image = cv2.imread(str(steps_plot(records, tmp_path / "steps.png", "a run")))
    assert image.shape[0] > 300 and image.std() > 20
    with pytest.raises(ValueError, match="no steps"):
        steps_plot([], tmp_path / "none.png")


@pytest.mark.parametrize("step", ["step0", "step1"])
def test_poly_is_the_published_schedule(step):
    rates = STORED[f"poly/{step}"]
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=float(rates[0]))
    schedule = LearningRate(optimizer, Poly(power=0.9), len(rates) - 1)
    found = []
    for iteration in range(len(rates)):
        schedule.set(iteration)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(rates.tolist(), rel=1e-12, abs=1e-18)


def test_poly_of_the_other_toolbox_where_it_is_applied():
    for name, floor in (("min0", 0.0), ("default_min", 1e-4)):
        rates = STORED[f"csseg_poly/{name}"]
        found = [Poly(0.9, floor).rate(0.01, i, len(rates)) for i in range(len(rates))]
        assert found == pytest.approx(rates.tolist(), rel=1e-9), name
