"""What is said of the scores of a test set beyond their values: intervals, parts of the images, calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from segkit.analysis.bootstrap import Difference, Interval, Plan, compared, intervals
from segkit.analysis.calibration import Calibration
from segkit.analysis.click_table import ClickTable
from segkit.analysis.label_table import by_column
from segkit.analysis.record import ImageRecord
from segkit.analysis.regions import SIZE_NAMES, SIZES
from segkit.analysis.table import ImageTable

MOST_GROUPS = 30
"""Values of a column whose groups are scored; the rest, the rarer ones, is left out and said so."""

SHOWN_OF_GROUP = 2
"""Main scores of a group."""


class Group(NamedTuple):
    """Some of the images, or some of their pixels or objects.

    Attributes:
        name: of the group.
        images: number of its images.
        scores: main scores with their intervals.
    """

    name: str
    images: int
    scores: Mapping[str, Interval]


@dataclass(frozen=True)
class Findings:
    """What is said of a test set.

    Attributes:
        plan: how images were drawn.
        images: number of images, the units that are drawn.
        strata: number of main classes within which they are drawn, 1 for none.
        main: names of the main scores.
        intervals: of all scores.
        groups: by what the images, pixels or objects are parted, such as "size" or "weather.csv:weather".
        calibration: None where probabilities were not asked for.
        lower_is_better: names of scores whose lower values are better.
    """

    plan: Plan
    images: int = 0
    strata: int = 1
    main: tuple[str, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)
    calibration: Calibration | None = None
    lower_is_better: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Returns the findings ready for JSON, None for what has no value."""
        content: dict[str, Any] = {"plan": self.plan._asdict()}
        if self.intervals:
            content |= {"images": self.images, "strata": self.strata, "intervals": as_rows(self.intervals)}
        if self.groups:
            content["groups"] = {
                by: {group.name: {"images": group.images, **as_rows(group.scores)} for group in groups}
                for by, groups in self.groups.items()
            }
        if self.calibration is not None:
            content["calibration"] = self.calibration.scores()
        return content


def as_rows(found: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Returns intervals ready for JSON, None for NaN."""
    return {name: {key: plain(value) for key, value in one._asdict().items()} for name, one in found.items()}


def plain(value: float) -> float | None:
    """Returns a number for JSON, None for NaN."""
    return None if value != value else float(value)


def differences_as_rows(found: Mapping[str, Difference]) -> dict[str, dict[str, Any]]:
    """Returns differences ready for JSON, None for NaN."""
    return {
        name: {
            "first": plain(one.first),
            "second": plain(one.second),
            **as_rows({"difference": one.difference}),
            "p": plain(one.p),
        }
        for name, one in found.items()
    }


def findings_of(
    record: ImageRecord | None,
    plan: Plan,
    columns: Mapping[str, Sequence[str]] | None = None,
    calibration: Calibration | None = None,
) -> Findings:
    """Computes what is said of a test set.

    Args:
        record: of its images; None where only the calibration was asked for.
        plan: how images are drawn.
        columns: a value of each image of the record, by the column's name.
        calibration: of the probabilities.
    """
    if record is None:
        return Findings(plan, calibration=calibration)
    table = record.table
    groups = _parts(record, plan)
    for by, values in (columns or {}).items():
        found = list(by_column(table.images, values).items())[:MOST_GROUPS]
        groups[by] = [_group(name, table.take(index), plan) for name, index in found]
    scores = intervals(table, plan)
    return Findings(
        plan=plan,
        images=len(table.images),
        strata=len(set(table.strata)) if plan.is_stratified else 1,
        main=table.main_scores(),
        intervals=scores,
        groups=groups,
        calibration=calibration,
        lower_is_better=tuple(name for name in scores if table.lower_is_better(name)),
    )


def _parts(record: ImageRecord, plan: Plan) -> dict[str, list[Group]]:
    """Groups of pixels and objects that every record of its kind has."""
    groups: dict[str, list[Group]] = {}
    bands = record.band_tables()
    if bands:
        groups["distance from outlines"] = [
            Group(name, len(record.table.images), _chosen(table, plan, ("mIoU", "aAcc")))
            for name, table in bands.items()
        ]
    regions = record.region_table()
    if regions is not None:
        scores = intervals(regions, plan)
        groups["size of regions"] = [
            Group(name, _with(regions.counts[:, s, 2]), {word: scores[f"{word} {name}"] for word in ("found", "Acc")})
            for s, name in enumerate(SIZE_NAMES)
        ]
    if isinstance(record.table, ClickTable):
        ends = (0, *SIZES, float("inf"))
        sized = [(name, record.table.of_areas(ends[k], ends[k + 1])) for k, name in enumerate(SIZE_NAMES)]
        groups["size of objects"] = [_group(name, table, plan) for name, table in sized if table.images]
    return groups


def _with(counts: np.ndarray) -> int:
    return int((counts > 0).sum())


def _group(name: str, table: ImageTable, plan: Plan) -> Group:
    return Group(name, len(table.images), _chosen(table, plan, table.main_scores()))


def _chosen(table: ImageTable, plan: Plan, names: Sequence[str]) -> dict[str, Interval]:
    scores = intervals(table, plan)
    return {name: scores[name] for name in names}


class Comparison(NamedTuple):
    """Two models on the same images.

    Attributes:
        first, second: what they are called.
        plan: how images were drawn.
        images: number of images that both have.
        main: names of the main scores.
        differences: of all scores.
        lower_is_better: names of scores whose lower values are better.
    """

    first: str
    second: str
    plan: Plan
    images: int
    main: tuple[str, ...]
    differences: Mapping[str, Difference]
    lower_is_better: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Returns the comparison ready for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "plan": self.plan._asdict(),
            "images": self.images,
            "scores": differences_as_rows(self.differences),
        }


def comparison_of(first: ImageTable, second: ImageTable, names: tuple[str, str], plan: Plan) -> Comparison:
    """Compares two models; see bootstrap.compared for the tables.

    Args:
        first, second: tables of the same images in the same order.
        names: what the models are called.
        plan: how images are drawn.
    """
    found = compared(first, second, plan)
    lower = tuple(name for name in found if first.lower_is_better(name))
    return Comparison(*names, plan, len(first.images), first.main_scores(), found, lower)
