"""Scores of class-incremental segmentation: old, new and all classes after each step, and forgetting.

MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718, table 1. K classes, the first the background.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OneOf, PositiveInt
from segkit.metrics._pixel_pairs import LabelMap
from segkit.metrics._scores import mean_of, percent
from segkit.metrics.base import Metric
from segkit.metrics.confusion import Confusion
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch

EPSILON = 1e-6
"""Pixels that the published code adds to each denominator."""

GROUPS = ("mIoU_old", "mIoU_new", "mIoU_all")
WITH_BACKGROUND = "_with_background"


ABSENT = ("skip", "zero")
"""What a class without a true pixel is to a mean: left out, or 0."""


def published_scores(matrix: np.ndarray, epsilon: float = EPSILON, *, absent: str = "skip") -> dict[str, np.ndarray]:
    """Computes IoU and accuracy of each class as the published code bases do.

    IoU = tp / (true + predicted - tp + epsilon), Acc = tp / (true + epsilon).

    Args:
        matrix: int64 [K,K], rows = truth.
        epsilon: pixels added to each denominator.
        absent: "skip" gives NaN for a class without a true pixel (MiB, cssegmentation), "zero" gives 0 (SSUL, DKD,
            STAR).

    Returns:
        "IoU" and "Acc", float64 [K] in 0..1.
    """
    tp = np.diagonal(matrix).astype(np.float64)
    true, predicted = matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):
        scores = {"IoU": tp / (true + predicted - tp + epsilon), "Acc": tp / (true + epsilon)}
    return {name: np.where(true > 0, values, np.nan if absent == "skip" else 0.0) for name, values in scores.items()}


def harmonic_mean(a: float | None, b: float | None) -> float | None:
    """Returns 2 a b / (a + b); 0 where both are 0, None where one of them is None."""
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


@METRICS.register
class IncrementalIoU(Metric):
    """Mean IoU of the classes of step 0 ("old"), of those learned since ("new") and of all, over all pixels.

    Args:
        sizes: number of outputs of each step so far, step 0 with the background; None reads them from the data set,
            which must be a ClassSteps.
        epsilon: as of `published_scores`; 0 gives exact ratios.
        absent: a class without a true pixel is left out of all means ("skip") or counts as 0 ("zero"); None takes it
            from the convention of the data set, and is "skip" for other data sets.
    """

    main_score = "mIoU"
    lower_is_better = ()

    def __init__(
        self,
        sizes: Sequence[PositiveInt] | None = None,
        *,
        epsilon: NonNegativeFloat = EPSILON,
        absent: Annotated[str, OneOf(ABSENT)] | None = None,
    ):
        self.sizes, self.epsilon = sizes, epsilon
        self.absent = self._own_absent = absent
        self._configured = sizes
        self._confusion = Confusion(absent="skip_without_truth")

    def start(self, dataset: Any) -> None:
        """Reads the data set's classes, ignore value and, where the config has none, the sizes of its steps.

        Raises:
            ConfigError: the data set has no steps, or the sizes are not those of its classes.
        """
        sizes = self._configured
        self.absent = self._own_absent or getattr(dataset, "absent", "skip")  # other data sets have no convention
        if sizes is None:
            if not hasattr(dataset, "plan"):
                raise ConfigError(
                    f"IncrementalIoU: {type(dataset).__name__} has no class steps; set sizes, or score a ClassSteps"
                )
            sizes = dataset.plan.sizes(dataset.step)
        self.sizes = sizes = tuple(sizes)
        if sum(sizes) != len(dataset.classes):
            raise ConfigError(
                f"IncrementalIoU.sizes = {list(sizes)}: must add up to the {len(dataset.classes)} classes of the data "
                f"set, but is {sum(sizes)} in all"
            )
        self._confusion.start(dataset)

    def reset(self) -> None:
        """Sets all counts to 0."""
        self._confusion.reset()

    def update(self, predictions: Sequence[LabelMap], batch: Batch) -> None:
        """Counts the pixels of B images; arguments as of Confusion."""
        self._confusion.update(predictions, batch)

    def compute(self) -> dict:
        """Computes the scores of all processes; see incremental_scores."""
        self._confusion.compute()
        matrix = self._confusion.matrix().numpy()
        return incremental_scores(
            matrix, self._confusion.classes, sizes=self.sizes or (), epsilon=self.epsilon, absent=self.absent or "skip"
        )

    def matrix(self) -> Tensor | None:
        """Returns the confusion matrix, int64 [K,K], rows = truth."""
        return self._confusion.matrix()


def incremental_scores(
    matrix: np.ndarray,
    classes: Sequence[str],
    *,
    sizes: Sequence[int],
    epsilon: float = EPSILON,
    absent: str = "skip",
) -> dict:
    """Computes the scores of old, new and all classes.

    Args:
        matrix: int64 [K,K], rows = truth.
        classes: K names.
        sizes: number of classes of each step, step 0 with the background.
        epsilon, absent: as of published_scores.

    Returns:
        In percent, None where nothing is scored: mIoU_old, mIoU_new, mIoU_all without the background, as in MiB's
        table, and the first and last with it ("..._with_background"), as in later papers; hIoU, the harmonic mean of
        old and new, and hIoU_with_background, where old counts it (DKD's and STAR's); mIoU, mAcc, aAcc, fwIoU over all
        classes, including the background, as the published code prints them; mIoU_steps, one mean for the classes of
        each step, without the background; sizes; per_class.
    """
    scores = published_scores(matrix, epsilon, absent=absent)
    ends = np.cumsum(sizes)
    members = [np.arange(max(end - size, 1), end) for size, end in zip(sizes, ends)]
    iou, pixels, true = scores["IoU"], max(int(matrix.sum()), 1), matrix.sum(1)

    def mean(chosen: Sequence[np.ndarray]) -> float | None:
        indices = np.concatenate([np.zeros(0, np.int64), *chosen])
        return percent(mean_of(iou[indices]))

    background = np.zeros(1, np.int64)
    result: dict = {"mIoU": percent(mean_of(iou)), "mAcc": percent(mean_of(scores["Acc"]))}
    result["aAcc"] = percent(np.trace(matrix) / pixels) if true.any() else None
    result["fwIoU"] = percent(float((np.nan_to_num(iou) * true).sum() / pixels)) if true.any() else None
    groups = dict(zip(GROUPS, (members[:1], members[1:], members)))
    result |= {name: mean(chosen) for name, chosen in groups.items()}
    for name in ("mIoU_old", "mIoU_all"):
        result[name + WITH_BACKGROUND] = mean([background, *groups[name]])
    for end in ("", WITH_BACKGROUND):
        result["hIoU" + end] = harmonic_mean(result["mIoU_old" + end], result["mIoU_new"])
    result["mIoU_steps"] = [mean([indices]) for indices in members]
    result["sizes"] = [int(size) for size in sizes]
    result["per_class"] = {
        name: {score: percent(values[k]) for score, values in scores.items()} for k, name in enumerate(classes)
    }
    return result


def step_record(step: int, scores: Mapping) -> dict:
    """Returns the entry of metrics.json for a step: step, classes and the scores of IncrementalIoU after it."""
    return {"step": step, "classes": list(scores["per_class"]), **scores}


def summary(records: Sequence[Mapping]) -> dict:
    """Adds forgetting to the records of the steps, and averages them.

    Args:
        records: of step 0, 1, ... in order.

    Returns:
        "steps": the records with "forgetting", for each class known before the step the points by which its IoU lies
        below the best of the steps before (Chaudhry et al., ECCV 2018, https://arxiv.org/abs/1801.10112, section 4;
        below 0 where it rose), and "mForgetting", its mean without the background. "average": the means over steps of
        mIoU_all with and without the background.
    """
    steps = []
    for number, record in enumerate(records):
        best: dict[str, float] = {}
        for earlier in records[:number]:
            for name, scores in earlier["per_class"].items():
                if scores["IoU"] is not None:
                    best[name] = max(best.get(name, scores["IoU"]), scores["IoU"])
        now = {name: scores["IoU"] for name, scores in record["per_class"].items()}
        lost = {name: value - now[name] for name, value in best.items() if now.get(name) is not None}
        background = record["classes"][0]
        mean = _mean([value for name, value in lost.items() if name != background])
        steps.append({**record, "forgetting": lost, "mForgetting": mean})
    names = ("mIoU_all", "mIoU_all" + WITH_BACKGROUND)
    average = {name: _mean([step[name] for step in steps if step[name] is not None]) for name in names}
    return {"steps": steps, "average": average}


def steps_table(steps: Sequence[Mapping]) -> str:
    """Returns the steps of `summary` as a table, a row per step, in percent; only "+ bg" counts the background."""
    head = ["step", "classes", "old", "new", "all", "harmonic", "old + bg", "all + bg", "forgotten"]
    keys = (*GROUPS, "hIoU", "mIoU_old" + WITH_BACKGROUND, "mIoU_all" + WITH_BACKGROUND, "mForgetting")
    rows = [[str(step["step"]), str(len(step["classes"])), *(_text(step[key]) for key in keys)] for step in steps]
    return _table(head, rows)


def paper_table(methods: Mapping[str, Mapping], *, by_step: bool = False, with_background: bool = False) -> str:
    """Returns a table with a row per method, in the layout of MiB's tables.

    Columns are the classes of step 0, those learned since and all ("1-15", "16-20", "all"). Numbers are ranks in the
    order of learning.

    Args:
        methods: the record of the last step by the method's name.
        by_step: a column for the classes of every step, as for ADE20K.
        with_background: step 0 and all count the background ("0-15").

    Raises:
        ValueError: there is no method, or the methods have learned other steps.
    """
    if not methods:
        raise ValueError("methods is empty: a table needs one method at least")
    sizes = next(iter(methods.values()))["sizes"]
    for name, record in methods.items():
        if record["sizes"] != sizes:
            raise ValueError(
                f"{name} has learned steps of {record['sizes']} classes, the first method {sizes}: must be the same"
            )
    ends = np.cumsum(sizes).tolist()
    first = 0 if with_background else 1
    spans = [(first, ends[0] - 1), *((end - size, end - 1) for size, end in zip(sizes[1:], ends[1:]))]
    if not by_step and len(sizes) > 1:
        spans = [spans[0], (ends[0], ends[-1] - 1)]
    head = ["method", *(str(a) if a == b else f"{a}-{b}" for a, b in spans), "all"]
    end = WITH_BACKGROUND if with_background else ""
    rows = []
    for name, record in methods.items():
        later = record["mIoU_steps"][1:] if by_step else [record["mIoU_new"]] * (len(sizes) > 1)
        values = [record["mIoU_old" + end], *later, record["mIoU_all" + end]]
        rows.append([name, *map(_text, values)])
    return _table(head, rows)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are aligned, the first to the left."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    rule = [("-" * width if i == 0 else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    lines = [
        "| "
        + " | ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths)))
        + " |"
        for row in (head, rule, *rows)
    ]
    return "\n".join(lines)
