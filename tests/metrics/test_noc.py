"""Clicks to an IoU: by hand, and as the published code counts and prints them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.metrics import noc_table
from segkit.metrics.noc import NoC, clicks_needed, mean_curve, noc_scores, shortest_curve, threshold_name
from segkit.registry import METRICS, ConfigError

PUBLISHED = json.loads((Path(__file__).parents[1] / "fixtures/ritm/noc_metrics.json").read_text())
CURVES = [np.array(curve, np.float32) for curve in PUBLISHED["curves"]]
NAMES = [threshold_name(t) for t in PUBLISHED["iou_thrs"]]


def item(name: str, ious: list[float], seconds: float = 1.0) -> dict:
    clicks = [[float(i), 2.0 * i, i % 2 == 0] for i in range(len(ious))]
    return dict(id=name, clicks=clicks, ious=ious, seconds=seconds)


def batch_of(items: list[dict]) -> tuple[list[dict], dict]:
    predictions = [
        dict(clicks=torch.tensor(i["clicks"], dtype=torch.float32), ious=torch.tensor(i["ious"]), seconds=i["seconds"])
        for i in items
    ]
    return predictions, dict(meta=[dict(id=i["id"]) for i in items])


def scored(items: list[dict], **arguments) -> dict:
    metric = METRICS.get("NoC")(**arguments)
    metric.start(None)
    metric.update(*batch_of(items))
    return metric.compute()


@pytest.mark.parametrize("limit", [5, 10, 20, 100])
def test_the_published_counts(limit):
    stored = PUBLISHED[str(limit)]
    needed = [clicks_needed(CURVES, threshold, limit) for threshold in PUBLISHED["iou_thrs"]]
    assert [float(np.mean(one)) for one in needed] == stored["noc"]
    assert [int((one == limit).sum()) for one in needed] == stored["over_max"]


def test_a_run_of_twenty_clicks_scores_as_published_from_predictions():
    at = scored([item(f"{i:02d}", curve.tolist()) for i, curve in enumerate(CURVES)])["limits"]["20"]
    assert list(at["NoC"]) == ["80", "85", "90", "95"]
    assert list(at["NoC"].values())[:3] == PUBLISHED["20"]["noc"]
    assert list(at[">=20"].values())[:3] == PUBLISHED["20"]["over_max"]
    # three curves of the file reach .90 at the very last click
    reached_at_20 = sum(len(c) == 20 and c[19] >= np.float32(0.9) > c[:19].max() for c in CURVES)
    assert reached_at_20 == 3
    assert at["not_reached"]["90"] == PUBLISHED["20"]["over_max"][2] - reached_at_20


def test_counts_by_hand():
    items = [
        item("a", [0.5, 0.82, 0.91]),
        item("b", [0.1, 0.2, 0.3, 0.85]),  # reaches .80 and .85 at the last click of the limit
        item("c", [0.79, 0.7, 0.7, 0.7]),
        item("d", [0.9], seconds=2.0),
    ]
    result = scored(items, limits=(4,), thresholds=(0.8, 0.85, 0.9))
    assert result["NoC@80"] == (2 + 4 + 4 + 1) / 4
    assert result["NoC@90"] == (3 + 4 + 4 + 1) / 4
    at = result["limits"]["4"]
    assert at[">=4"] == {"80": 2, "85": 2, "90": 2}
    assert at["not_reached"] == {"80": 1, "85": 1, "90": 2}
    assert at["ended_early"] == {"80": 0, "85": 0, "90": 0}
    assert (result["clicks"], result["seconds"], result["seconds_per_click"]) == (12, 5.0, 5 / 12)
    assert result["mIoU@1"] == pytest.approx(100 * (0.5 + 0.1 + 0.79 + 0.9) / 4)
    held = result["mIoU@k"]["held"]
    assert held[2] == pytest.approx(100 * (0.91 + 0.3 + 0.7 + 0.9) / 4) and len(held) == 4
    assert result["mIoU@4"] == held[3] == pytest.approx(100 * (0.91 + 0.85 + 0.7 + 0.9) / 4)
    assert result["mIoU@k"]["shortest"] == [result["mIoU@1"]]
    assert [one["id"] for one in result["items"]] == list("abcd")
    assert result["items"][0]["clicks"] == [[0.0, 0.0, True], [1.0, 2.0, False], [2.0, 4.0, True]]
    assert np.array(result["items"][1]["ious"], np.float32).tolist() == np.float32([0.1, 0.2, 0.3, 0.85]).tolist()
    json.dumps(result, allow_nan=False)


def test_one_run_of_many_clicks_gives_every_limit():
    result = scored([item("a", [0.1, 0.2, 0.3, 0.95]), item("b", [0.96])], limits=(2, 5), thresholds=(0.9,))
    assert result["NoC@90"] == (2 + 1) / 2
    assert result["limits"]["2"] == {
        "NoC": {"90": 1.5},
        ">=2": {"90": 1},
        "not_reached": {"90": 1},
        "ended_early": {"90": 0},
    }
    assert result["limits"]["5"]["NoC"]["90"] == (4 + 1) / 2 and result["limits"]["5"][">=5"]["90"] == 0
    assert len(result["mIoU@k"]["held"]) == 5


def test_a_threshold_above_the_target_tells_whose_clicks_ended_early():
    result = scored([item("a", [0.5, 0.91]), item("b", [0.97])], thresholds=(0.9, 0.95), limits=(20, 100))
    at = result["limits"]["20"]
    assert at["ended_early"] == {"90": 0, "95": 1} and at["NoC"]["95"] == (20 + 1) / 2
    assert "NoC20@95 10.50, not reached after 20 clicks: 1 (1 ended before click 20 and count as 20)" in (
        noc_table.summary(result)
    )


def test_iou_of_nothing_and_no_items():
    result = scored([item("a", [float("nan"), 0.4]), item("b", [0.6, 0.9])])
    assert result["mIoU@1"] == pytest.approx(60) and result["items"][0]["ious"][0] is None
    assert result["NoC@90"] == (20 + 2) / 2
    nothing = scored([])
    assert nothing["NoC@90"] is None and nothing["mIoU@1"] is None and nothing["seconds_per_click"] is None
    assert nothing["mIoU@k"]["shortest"] == []
    json.dumps([result, nothing], allow_nan=False)
    assert "?" in noc_table.published_table({"none": nothing}, "NoBRS")


def test_curves_hold_their_last_value():
    curves = [np.float32([0.2, 0.4, 0.6]), np.float32([0.8])]
    assert mean_curve(curves, 4) == pytest.approx([50, 60, 70, 70])
    assert shortest_curve(curves) == pytest.approx([50])


def test_reset_and_order_of_ids():
    metric = NoC()
    metric.update(*batch_of([item("z", [0.1])]))
    metric.reset()
    metric.update(*batch_of([item("b", [0.95])]))
    metric.update(*batch_of([item("a", [0.5, 0.95])]))
    result = metric.compute()
    assert [one["id"] for one in result["items"]] == ["a", "b"] and result["NoC@90"] == 1.5


@pytest.mark.parametrize(
    "arguments, told",
    [
        (dict(thresholds=(90,)), "NoC.thresholds"),
        (dict(thresholds=()), "NoC.thresholds"),
        (dict(limits=(0,)), "NoC.limits"),
        (dict(limits=(2.5,)), "NoC.limits"),
    ],
)
def test_arguments_out_of_range(arguments, told):
    with pytest.raises(ConfigError, match=told):
        NoC(**arguments)


def test_predictions_without_clicks_name_the_runner():
    with pytest.raises(ConfigError, match="no 'clicks'; it needs runner = dict"):
        NoC().update([dict(labels=torch.zeros(2, 2))], dict(meta=[dict(id="x")]))
    with pytest.raises(ValueError, match="x: 1 clicks with 2 IoUs"):
        NoC().update([dict(clicks=torch.zeros(1, 3), ious=torch.zeros(2), seconds=0.0)], dict(meta=[dict(id="x")]))


def test_published_time_of_a_click():
    items = [item(str(i), curve.tolist(), 12.5 / len(CURVES)) for i, curve in enumerate(CURVES)]
    per_click, _ = PUBLISHED["time_metrics(elapsed=12.5)"]
    assert noc_scores(items, (0.9,), (20,))["seconds_per_click"] == pytest.approx(per_click, rel=1e-12)


def test_published_table_text():
    stored = PUBLISHED["20"]
    noc, over = dict(zip(NAMES, stored["noc"])), dict(zip(NAMES, stored["over_max"]))
    full = dict(noc=noc, at_limit=over, seconds_per_click=0.0671, seconds=3725.9)
    text = [noc_table.header(20, "m"), noc_table.row("NoBRS", "GrabCut", **full)]
    assert text == PUBLISHED["table"]
    one = full | dict(noc={"80": noc["80"]}, at_limit={"80": over["80"]}, seconds=59.2)
    assert [noc_table.header(), noc_table.row("NoBRS", "GrabCut", **one)] == PUBLISHED["table_one_thr"]


def test_thresholds_without_a_column_follow_the_row():
    items = [item("a", [0.5, 0.96]), item("b", [0.97])]
    result = noc_scores(items, (0.8, 0.85, 0.9, 0.95), (20, 100))
    table = noc_table.published_table({"GrabCut": result, "Berkeley": result}, "NoBRS", limit=100, model="tiny")
    lines = table.splitlines()
    assert lines[0] == "Eval results for model: tiny" and ">=100@85%|" in lines[2] and len(lines) == 6
    assert lines[4].startswith("|    NoBRS    |  GrabCut  |  1.50   |  1.50   |  1.50   |    0    |    0    | 0.667 |")
    assert lines[4].endswith("| 0:00:02 | NoC@95.0% = 1.50; >=100@95.0% = 0")


def test_clicks_that_nobody_made_are_no_number_of_the_table():
    """max_clicks=7 and limit 20: an object that 7 clicks did not find needs 8 or more, how many is not known."""
    found = dict(id="a", clicks=[[0, 0, True]] * 2, ious=[0.5, 0.95], seconds=1.0)
    lost = dict(id="b", clicks=[[0, 0, True]] * 7, ious=[0.5] * 6 + [0.86], seconds=1.0)
    scores = noc_scores([found, lost], (0.8, 0.85, 0.9), (20, 7))
    head = noc_table.header(20)
    table = noc_table.published_table({"Set": scores}, "NoBRS", limit=20).removeprefix(head)
    cells = [cell.strip() for cell in table.splitlines()[1].split("|")]
    assert cells[3:8] == ["4.50", "4.50", "?", "0", "?"]
    assert "left below 90 % with fewer than 20 clicks (7 at most), so that NoC20 is not known" in table
    assert "inference.clicks.max_clicks = 20" in table and "20.00" not in table
    known = noc_table.published_table({"Set": scores}, "NoBRS", limit=7)
    assert "?" not in known and "4.50" in known


LATER = json.loads((Path(__file__).parents[1] / "fixtures/clicks/metrics_noc95_nof_miou.json").read_text())


@pytest.mark.parametrize("stop", [1.01, 0.95, 0.90])
def test_published_scores_at_95_and_both_counts_of_failures(stop):
    """Runs that stop at an IoU: what is known of a higher one, and what five clicks give."""
    curves = [np.float32(curve) for curve in LATER["curves"]]
    cut = [
        curve[: int(np.argmax(curve >= np.float32(stop))) + 1] if (curve >= np.float32(stop)).any() else curve
        for curve in curves
    ]
    result = noc_scores([item(f"{i:02d}", curve.tolist()) for i, curve in enumerate(cut)], (0.85, 0.9, 0.95), (20,))
    stored, at = LATER[f"stop_at_{stop:.2f}"], result["limits"]["20"]
    assert list(at["NoC"].values()) == pytest.approx(stored["noc"], abs=1e-12)
    assert list(at[">=20"].values()) == stored["nof_official"]
    assert result["mIoU@k"]["shortest"] == pytest.approx([100 * value for value in stored["mean_iou_at_k"]], rel=1e-6)
    if stop > 1:
        assert list(at["not_reached"].values()) == stored["never_reached"]
        assert result["5-mIoU"] == pytest.approx(100 * stored["mean_iou_at_k"][4], rel=1e-6)
        assert noc_table.warnings(result) == [] and "5-mIoU" in noc_table.summary(result)
        assert "NoC20@95 7.50, not reached after 20 clicks: 1; NoF 2" in noc_table.summary(result)
    else:
        # not every object got five clicks
        assert result["5-mIoU"] is None and "5-mIoU" not in noc_table.summary(result)
    if stop == 0.90:
        (told,) = noc_table.warnings(result)
        early = sum(len(curve) < 20 and curve.max() < np.float32(0.95) for curve in cut)
        assert early > 20 and told.startswith(
            f"warning: NoC20@95: {early} of 30 objects ended below it before click 20"
        )
        assert "set inference.clicks.target_iou = 0.95 (or above) and max_clicks = 20" in told


def test_seconds_are_split_where_they_are_measured():
    timed = dict(image_seconds=0.1, first_seconds=0.5)
    items = [item("a", [0.1, 0.2, 0.3], seconds=1.5) | timed, item("b", [0.9], seconds=0.5) | timed]
    result = noc_scores(items, (0.9,), (20,))
    assert (result["seconds_set_image"], result["seconds_further_click"]) == (pytest.approx(0.1), pytest.approx(0.5))
    assert "seconds: 0.100 set_image, 0.500 for each further click" in noc_table.summary(result)
    assert noc_scores(items[1:], (0.9,), (20,))["seconds_further_click"] is None
    assert "seconds_set_image" not in noc_scores([item("a", [0.5])], (0.9,), (20,))


def test_boundaries_and_users():
    items = [
        item("a", [0.8, 0.9]) | dict(boundary_ious=[0.5, 0.7], user_ious=[0.2, 0.4]),
        item("b", [0.6]) | dict(boundary_ious=[0.3], user_ious=[]),
    ]
    result = noc_scores(items, (0.9,), (3,))
    assert result["boundary@k"] == pytest.approx([40, 50, 50])
    # deviation .1 of a mean of .3
    assert result["user@1"] == pytest.approx(dict(IoU=30, std=10, NSR=100 / 3, objects=1, base=80))
    metric = NoC()
    prediction = dict(clicks=torch.zeros(1, 3), ious=torch.tensor([0.5]), seconds=1.0, boundary_ious=np.float32([0.25]))
    metric.update(
        [prediction | dict(user_ious=np.float32([0.5]), image_seconds=0.2, first_seconds=1.0)],
        dict(meta=[dict(id="x")]),
    )
    scores = metric.compute()
    assert scores["items"][0]["boundary_ious"] == [0.25] and scores["seconds_set_image"] == 0.2
    json.dumps(scores, allow_nan=False)
