"""The score that chooses best.pt: its name, known before the first step, and which of its values are better."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from segkit.files import DataError
from segkit.metrics.base import Metric
from segkit.registry import ConfigError, did_you_mean
from segkit.settings import LoopSettings

BETTER = ("higher", "lower")
USUAL = "mIoU"
"""The score that is chosen where the config names none and a metric has it."""


MOST_LISTED = 24
"""Names of scores in an error message."""


class Monitor(NamedTuple):
    """The score that best.pt goes by.

    Attributes:
        name: path into the scores, such as "mIoU" or "segm.AP".
        better: "higher" or "lower".
    """

    name: str
    better: str

    def value(self, scores: dict[str, Any]) -> float | None:
        """Returns the score's value, None where nothing could be scored.

        Raises:
            ConfigError: there is no such score.
        """
        value = find(scores, self.name)
        if value is not None and not isinstance(value, int | float):
            raise ConfigError(_unknown(self.name, names_of(scores)))
        return value

    def is_better(self, value: float, best: float | None) -> bool:
        """Returns whether the value is better than the best one so far."""
        return best is None or (value < best if self.better == "lower" else value > best)


def choose(settings: LoopSettings, metrics: Sequence[Metric], dataset: Any) -> Monitor:
    """Returns the score that best.pt goes by, from what the metrics compute without any image.

    All processes call it. A metric that cannot compute anything without images has unknown names, and is asked at the
    first evaluation.

    Args:
        settings: section `loop`. Without `monitor` the score is mIoU, or else the main one of the first metric that has
            one; without `better` the metric says which values are better.
        metrics: of the run.
        dataset: that is scored.

    Raises:
        ConfigError: there is no such score; `better` has no such value, or says the opposite of the metric.
    """
    if settings.better not in (None, *BETTER):
        raise ConfigError(f"loop.better = {settings.better!r}: must be 'higher' or 'lower'")
    known: dict[str, Any] = {}
    owners: list[tuple[Metric, dict[str, Any]]] = []
    all_known = True
    for metric in metrics:
        scores = _empty(metric, dataset)
        all_known &= scores is not None
        if scores is not None:
            owners.append((metric, scores))
            known |= scores
    name = settings.monitor or _main_score(metrics, known)
    if name is None:
        raise ConfigError(f"loop.monitor: name the score that chooses best.pt; available: {', '.join(names_of(known))}")
    try:
        Monitor(name, "higher").value(known)
    except ConfigError:
        if all_known:
            raise
        return Monitor(name, settings.better or "higher")
    better = _direction(name, owners)
    if better is not None and settings.better not in (None, better):
        raise ConfigError(
            f"loop.better = {settings.better!r}: of {name} {better} values are better; leave loop.better out"
        )
    return Monitor(name, better or settings.better or "higher")


def find(scores: dict[str, Any], name: str) -> Any:
    """Returns the score of a name, which is a key or a path of keys with dots between them.

    Raises:
        ConfigError: there is no such score.
    """
    value: Any = scores
    keys = name.split(".")
    while keys:
        # a key may hold dots itself ("NoC@92.5"), hence the rest of the path is tried as one key first
        rest = ".".join(keys)
        key = rest if isinstance(value, dict) and rest in value else keys[0]
        if not isinstance(value, dict) or key not in value:
            raise ConfigError(_unknown(name, names_of(scores)))
        value = value[key]
        keys = [] if key == rest else keys[1:]
    return value


def names_of(scores: dict[str, Any]) -> list[str]:
    """Returns the names of the scores, those of a section as "section.name"; rows of classes are left out."""
    names: list[str] = []
    for name, value in scores.items():
        if isinstance(value, dict) and name != "per_class":
            names += [f"{name}.{inner}" for inner in names_of(value)]
        elif value is None or isinstance(value, int | float):
            names.append(name)
    return names


def _unknown(name: str, known: list[str]) -> str:
    listed = ", ".join(known[:MOST_LISTED]) + (", ..." if len(known) > MOST_LISTED else "")
    return f"loop.monitor = '{name}': no such score{did_you_mean(name, known)}; available: {listed}"


def _empty(metric: Metric, dataset: Any) -> dict[str, Any] | None:
    """The scores of a metric that has seen no image, under its section; None where it cannot compute them."""
    try:
        scores = metric.empty_scores(dataset)
    except (ConfigError, DataError):
        raise
    except Exception:  # a metric from elsewhere, which divides by the number of images
        return None
    return scores if metric.section is None else {metric.section: scores}


def _main_score(metrics: Sequence[Metric], known: dict[str, Any]) -> str | None:
    if USUAL in known:
        return USUAL
    for metric in metrics:
        if metric.main_score is not None:
            return metric.main_score if metric.section is None else f"{metric.section}.{metric.main_score}"
    return next(iter(names_of(known)), None)


def _direction(name: str, owners: Sequence[tuple[Metric, dict[str, Any]]]) -> str | None:
    """What the last metric with a score of this name says about it; None where it says nothing."""
    better = None
    for metric, scores in owners:
        try:
            find(scores, name)
        except ConfigError:
            continue
        inner = name if metric.section is None else name.removeprefix(f"{metric.section}.")
        patterns = metric.lower_is_better
        if patterns is None:
            better = None
        else:
            better = "lower" if any(fnmatchcase(inner, pattern) for pattern in patterns) else "higher"
    return better
