"""The score that chooses best.pt: its name and direction are known before the first step."""

import warnings
from types import SimpleNamespace

import pytest

from segkit.api import check_data
from segkit.engine.monitor import Monitor, choose, names_of
from segkit.engine.setup import build_metrics
from segkit.metrics.base import Metric
from segkit.registry import METRICS, ConfigError
from segkit.settings import LoopSettings
from tests.test_loop import loop_of
from tests.tiny import sections

DATA = SimpleNamespace(classes=("ground", "crop", "weed"), things=(False, True, True), ignore=255)
ARGUMENTS = {"IncrementalIoU": dict(sizes=[2, 1])}
MAIN = {
    "Confusion": "mIoU",
    "IncrementalIoU": "mIoU",
    "BoundaryIoU": "boundary.mIoU",
    "BoundaryF": "boundary_f.mean",
    "BoundaryAccuracy": "mBA.mean",
    "Presence": "presence.AUC",
    "GateThresholds": "gate.Dice",
    "MeanDice": "MeanDice",
    "MeanPrecision": "MeanPrecision",
    "Samplewise": "samplewise.IoU",
    "MultiLabel": "multi_label.macro.IoU",
    "NoC": "NoC@90",
    "CocoAP": "segm.AP",
    "LvisAP": "segm.AP",
    "VocAP": "VOC.AP50",
    "MatchedMaskIoU": "matched.mask_IoU",
    "PQ": "PQ",
}


def chosen(*rows, **loop) -> Monitor:
    return choose(LoopSettings(**loop), build_metrics(list(rows)), DATA)


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_names_its_scores_without_an_image(name):
    if name == "LvisAP":
        pytest.importorskip("lvis")
    row = dict(type=name, **ARGUMENTS.get(name, {}))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        monitor = chosen(row)
    assert monitor == (MAIN[name], "lower" if name == "NoC" else "higher")
    (metric,) = build_metrics([row])
    assert metric.lower_is_better is not None, "says which values are better"
    with pytest.raises(ConfigError, match=rf"loop.monitor = 'nope': no such score; available: .*{MAIN[name]}"):
        chosen(row, monitor="nope")


@pytest.mark.parametrize(
    "name, better",
    [
        ("NoC@80", "lower"),
        ("NoC@92.5", "lower"),
        ("limits.20.NoC.92.5", "lower"),
        ("seconds_per_click", "lower"),
        ("mIoU@5", "higher"),
        ("mIoU", "higher"),
        ("groups.old.mDice", "higher"),
        ("per_class.weed.IoU", "higher"),
        ("segm.per_class.weed.AP", "higher"),
        ("segm.AR@100", "higher"),
    ],
)
def test_each_score_has_its_direction(name, better):
    rows = [
        dict(type="NoC", thresholds=(0.8, 0.9, 0.925)),
        dict(type="Confusion", groups=dict(old=["crop"])),
        dict(type="CocoAP"),
    ]
    assert chosen(*rows, monitor=name) == (name, better) == chosen(*rows, monitor=name, better=better)
    other = "lower" if better == "higher" else "higher"
    with pytest.raises(ConfigError, match=f"loop.better = '{other}': of {name} {better} values are better"):
        chosen(*rows, monitor=name, better=other)


def test_the_usual_score_comes_first():
    assert chosen(dict(type="Samplewise"), dict(type="Confusion")).name == "mIoU"
    assert chosen(dict(type="NoC", thresholds=(0.5,))) == ("NoC@50", "lower")


@pytest.mark.parametrize("name", ["limits", "per_class", "groups", "mIoU.x", ""])
def test_what_is_no_number_cannot_be_monitored(name):
    if not name:
        assert chosen(monitor=name).name == "mIoU"
        return
    with pytest.raises(ConfigError, match=f"loop.monitor = '{name}': no such score"):
        chosen(dict(type="NoC"), dict(type="Confusion", groups=dict(a=["crop"])), monitor=name)


class Distance(Metric):
    """Divides by the number of images, hence has no scores without one."""

    def start(self, dataset):
        self.found = []

    def reset(self):
        self.found = []

    def update(self, predictions, batch):
        self.found += [1.0] * len(predictions)

    def compute(self):
        return {"distance": sum(self.found) / len(self.found)}


def test_a_metric_from_elsewhere_is_asked_at_the_first_evaluation(tmp_path):
    row = dict(type="tests.test_monitor:Distance")
    assert chosen(row, monitor="distance", better="lower") == ("distance", "lower")
    with pytest.raises(ConfigError, match=r"loop\.monitor: name the score"):
        chosen(row)


@pytest.mark.parametrize("loop", [dict(monitor="miou"), dict(better="lower"), dict(better="more")])
def test_a_wrong_monitor_is_found_by_the_check_and_before_the_first_step(loop, tmp_path):
    with pytest.raises(ConfigError, match=r"loop\.(monitor|better)"):
        check_data(sections(**loop))
    with pytest.raises(ConfigError, match=r"loop\.(monitor|better)"):
        loop_of(sections(**loop), tmp_path)


def test_best_follows_the_direction():
    lower, higher = Monitor("NoC@90", "lower"), Monitor("mIoU", "higher")
    assert lower.is_better(3.0, None) and lower.is_better(2.0, 3.0) and not lower.is_better(3.0, 3.0)
    assert higher.is_better(4.0, 3.0) and not higher.is_better(3.0, 3.0)
    assert lower.value({"NoC@90": None}) is None
    assert names_of({"a": 1.0, "b": {"c": None, "d": {"e": 2}}, "per_class": {"x": {"IoU": 1}}, "list": [1]}) == [
        "a",
        "b.c",
        "b.d.e",
    ]


def test_runners_have_metrics_of_their_own():
    from segkit.registry import RUNNERS

    assert [RUNNERS.get(name).default_metrics[0]["type"] for name in ("Semantic", "Interactive", "Instances")] == [
        "Confusion",
        "NoC",
        "CocoAP",
    ]
