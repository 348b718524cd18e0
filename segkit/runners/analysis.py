"""Intervals, groups and calibration of an evaluation: what `segkit test --intervals` adds to the scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segkit import dist
from segkit.analysis.bootstrap import Plan
from segkit.analysis.calibration import CalibrationRecorder
from segkit.analysis.findings import Findings, findings_of
from segkit.analysis.record import ImageRecord, save
from segkit.data.dataset import Dataset
from segkit.data.splits.grouping import group_names
from segkit.engine.hooks import Hook
from segkit.metrics.base import Metric
from segkit.registry import ConfigError
from segkit.runners.base import Runner
from segkit.types import Batch, Prediction
from segkit.viz.page.analysis import findings_sections
from segkit.viz.page.html import Markup

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

DEFAULT = Plan()

KEY = "analysis"
"""Of the findings among the scores of a test set."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What is asked for beyond the scores.

    Attributes:
        images: .npz file for the counts of the images, which `segkit compare` reads; of several test sets
            NAME_SET.npz. None for no intervals.
        plan: how images are drawn.
        by: rules that part the images, such as "weather.csv:weather", as of the data set Split.
        calibration: whether probabilities are compared with what is right.

    Raises:
        ConfigError: a value is out of range, or parts do not fit one another.
    """

    images: Path | None = None
    plan: Plan = DEFAULT
    by: tuple[str, ...] = ()
    calibration: bool = False

    def __post_init__(self) -> None:
        self.plan.check()
        if self.by and self.images is None:
            raise ConfigError(f"--by {self.by[0]}: parts the images of --intervals; give both")


class Analysis(Hook):
    """Follows the evaluation of a test set.

    Args:
        request: what is asked for.
        runner: whose predictions are seen; they hold probabilities from now on where those are asked for.
        dataset: that is scored.
        metrics: of the evaluation.

    Raises:
        ConfigError: the runner's predictions have no counts, or no probabilities.
        DataError: a rule of `by` does not fit the images.
    """

    def __init__(self, request: AnalysisRequest, runner: Runner, dataset: Dataset, metrics: Sequence[Metric]):
        self.request = request
        self._records = None if request.images is None else runner.image_recorder(dataset, metrics)
        self._values = {by: _values(dataset, by) for by in request.by}
        self._calibration = None
        if request.calibration:
            try:
                runner.keep_probabilities()
            except ConfigError as error:
                raise ConfigError(str(error).replace("--probabilities", "--calibration")) from error
            self._calibration = CalibrationRecorder(dataset)

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        if self._records is not None:
            self._records.add(predictions, batch)
        if self._calibration is not None:
            self._calibration.add(predictions, batch)

    def result(self, images: Path | None) -> Findings:
        """Computes what is said of the set, and writes the counts; called on every process.

        Args:
            images: .npz file for the counts.
        """
        record = None if self._records is None else self._records.result()
        calibration = None if self._calibration is None else self._calibration.result()
        if record is not None and images is not None and dist.is_main():
            save(record, images)
        columns = {} if record is None else {by: _of_record(record, values) for by, values in self._values.items()}
        return findings_of(record, self.request.plan, columns, calibration)


def _values(dataset: Dataset, by: str) -> dict[str, str]:
    """Value of a rule by the id and by the path of each image."""
    names = group_names(dataset, by, "--by")
    paths = [str(dataset.path(index)) for index in range(len(dataset))]
    return dict(zip(paths, names)) | dict(zip(map(str, dataset.ids), names))


def _of_record(record: ImageRecord, values: dict[str, str]) -> list[str]:
    return [
        values.get(name) or values.get(path) or "not known" for name, path in zip(record.table.images, record.paths)
    ]


def text_of(findings: Findings) -> str:
    """Returns the main scores with their intervals, groups and the calibration as text."""
    lines = []
    if findings.intervals:
        plan = findings.plan
        within = f" within {findings.strata} main classes" if findings.strata > 1 else ""
        drawn = f"{plan.replicates:,} draws of {findings.images:,} images{within}, seed {plan.seed}"
        lines.append(f"{100 * plan.level:g} % intervals ({drawn}):")
        lines.append(f"  {'':16}{'score':>8}{'percentile':>20}{'BCa':>20}")
        for name in findings.main:
            one = findings.intervals[name]
            ends = [f"{low:.2f} .. {high:.2f}" for low, high in (one[1:3], one[3:5])]
            lines.append(f"  {name:16}{one.value:>8.2f}{ends[0]:>20}{ends[1]:>20}".replace("nan", " - "))
    for by, groups in findings.groups.items():
        lines.append(f"by {by}:")
        for group in groups:
            cells = [f"{name} {one.value:.2f} ({one.low:.2f} .. {one.high:.2f})" for name, one in group.scores.items()]
            lines.append(f"  {group.name:16}{group.images:>7,} images  {'  '.join(cells[:3])}".replace("nan", "-"))
    if findings.calibration is not None:
        found = findings.calibration.scores()
        names = ("ECE", "MCE", "classwise_ECE", "temperature", "ECE_at_temperature")
        cells = [f"{name} {'-' if found[name] is None else format(found[name], '.2f')}" for name in names]
        lines.append(f"calibration: {'  '.join(cells)}")
    return "\n".join(lines)


def sections_of(findings: Findings) -> list[tuple[str, Markup]]:
    """Returns title and content of the sections of a page."""
    return findings_sections(findings)
