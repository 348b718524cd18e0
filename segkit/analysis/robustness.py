"""Scores under corruptions, and what they say together. S strengths.

Michaelis et al., 2019, https://arxiv.org/abs/1907.07484 (mean performance under corruption and its share of the clean
one); Hendrycks and Dietterich, ICLR 2019, https://arxiv.org/abs/1903.12261 (corruption errors against a reference).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur"),
    "weather": ("fog", "frost", "snow", "spatter"),
    "digital": ("brightness", "contrast", "saturate", "jpeg"),
    "geometry": ("scale_down", "scale_up", "rotation"),
    "further": ("zoom_blur", "pixelate"),
}
"""Corruptions by what they are like."""

SIXTEEN = tuple(name for family in ("noise", "blur", "weather", "digital") for name in FAMILIES[family])
"""Those that the means are taken over."""

DEFAULT = (*SIXTEEN, *FAMILIES["geometry"])
"""Those that are scored where none are named."""

STRENGTHS = (1, 2, 3, 4, 5)

FACTORS = {"scale_down": (0.8, 0.65, 0.5, 0.35, 0.25), "scale_up": (1.2, 1.4, 1.6, 1.8, 2.0)}
"""By which the network sees images smaller or larger, by strength."""

CLEAN = "clean"


def cell(name: str, strength: int) -> str:
    """Returns what the scores of a corruption and strength are called: "fog/3"."""
    return f"{name}/{strength}"


class Row(NamedTuple):
    """A corruption over its strengths.

    Attributes:
        family: of FAMILIES.
        name: of the corruption.
        scores: float of each strength, NaN where it was not scored.
        mean: of the scores.
        drop: of the mean against the clean score, positive where the model is worse.
        error: 100 x the errors summed over strengths / those of the reference; NaN without one.
        relative: the same of the errors beyond the clean ones.
    """

    family: str
    name: str
    scores: tuple[float, ...]
    mean: float
    drop: float
    error: float = math.nan
    relative: float = math.nan


@dataclass(frozen=True)
class Robustness:
    """How a model does on corrupted images.

    Attributes:
        score: name of the score.
        lower_is_better: whether its lower values are better.
        strengths: that were scored.
        clean: score of the images as they are.
        rows: of the corruptions.
        images: number of images.
        reference: what the errors are divided by, "" without a reference.
    """

    score: str
    lower_is_better: bool
    strengths: tuple[int, ...]
    clean: float
    rows: tuple[Row, ...]
    images: int = 0
    reference: str = ""

    def means(self) -> dict[str, float]:
        """Returns what the rows say together, over those of SIXTEEN that were scored; NaN where there are none.

        mPC: mean score under corruption; rPC: that in percent of the clean score; mCE and relative_mCE: mean errors in
        percent of the reference's, 100 for the reference itself.
        """
        rows = [row for row in self.rows if row.name in SIXTEEN and not math.isnan(row.mean)]
        under = _mean([row.mean for row in rows])
        found = {"mPC": under, "rPC": 100 * under / self.clean if self.clean else math.nan}
        if self.reference:
            found["mCE"] = _mean([row.error for row in rows])
            found["relative_mCE"] = _mean([row.relative for row in rows])
        return found

    def as_json(self) -> dict[str, Any]:
        """Returns the table ready for JSON, None for what has no value."""
        return {
            "score": self.score,
            "clean": _plain(self.clean),
            "means": {name: _plain(value) for name, value in self.means().items()},
            "corruptions": {
                row.name: {
                    "family": row.family,
                    "scores": {str(s): _plain(value) for s, value in zip(self.strengths, row.scores)},
                    **{key: _plain(getattr(row, key)) for key in ("mean", "drop", "error", "relative")},
                }
                for row in self.rows
            },
        }


def table_of(
    cells: Mapping[str, float],
    names: Sequence[str],
    strengths: Sequence[int],
    *,
    score: str,
    lower_is_better: bool = False,
    images: int = 0,
    reference: Mapping[str, float] | None = None,
    reference_name: str = "",
) -> Robustness:
    """Builds the table.

    Args:
        cells: score by the name of the cell, and that of CLEAN; missing and NaN ones are left out of means.
        names: of corruptions.
        strengths: that were scored.
        score: name of the score.
        lower_is_better: whether its lower values are better.
        images: number of images.
        reference: cells of another model.
        reference_name: what it is called.
    """
    clean = cells.get(CLEAN, math.nan)
    other = reference or {}
    rows = []
    for name in names:
        scores = tuple(cells.get(cell(name, strength), math.nan) for strength in strengths)
        mean = _mean(scores)
        drop = mean - clean if lower_is_better else clean - mean
        errors = [_error(value, lower_is_better) for value in (*scores, clean)]
        of_other = [other.get(cell(name, strength), math.nan) for strength in strengths]
        others = [_error(value, lower_is_better) for value in (*of_other, other.get(CLEAN, math.nan))]
        error = _share(sum(errors[:-1]), sum(others[:-1]))
        beyond = [sum(values[:-1]) - len(strengths) * values[-1] for values in (errors, others)]
        rows.append(Row(_family(name), name, scores, mean, drop, error, _share(*beyond)))
    known = "" if reference is None else reference_name
    return Robustness(score, lower_is_better, tuple(strengths), clean, tuple(rows), images, known)


def _family(name: str) -> str:
    return next((family for family, members in FAMILIES.items() if name in members), "")


def _error(value: float, lower_is_better: bool) -> float:
    return value if lower_is_better else 100 - value


def _share(value: float, of: float) -> float:
    return 100 * value / of if of and not math.isnan(of) else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
