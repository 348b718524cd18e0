"""Scores of class-incremental segmentation: old, new and all classes after each step, and what was forgotten.

MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718, table 1. K classes, the first the background.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from segkit.metrics._scores import mean_of, percent
from segkit.metrics.confusion import Confusion
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, Prediction

EPSILON = 1e-6
"""What the published code adds to each denominator, in pixels."""

GROUPS = ("mIoU_old", "mIoU_new", "mIoU_all")
WITH_BACKGROUND = "_with_background"


def published_scores(matrix: np.ndarray, epsilon: float = EPSILON) -> dict[str, np.ndarray]:
    """matrix: int64 [K,K], rows = truth -> "IoU" and "Acc" float64 [K] in 0..1, NaN for a class without a true pixel.

    IoU = tp / (true + predicted - tp + epsilon), Acc = tp / (true + epsilon), as both published code bases have it.
    """
    tp = np.diagonal(matrix).astype(np.float64)
    true, predicted = matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):
        scores = {"IoU": tp / (true + predicted - tp + epsilon), "Acc": tp / (true + epsilon)}
    return {name: np.where(true > 0, values, np.nan) for name, values in scores.items()}


def harmonic_mean(a: float | None, b: float | None) -> float | None:
    """2 a b / (a + b); 0 where both are 0, None where one is."""
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


@METRICS.register
class IncrementalIoU:
    """IoU of the classes of step 0 ("old"), of those learned since ("new") and of all seen, over all pixels.

    sizes: outputs of each step so far, step 0 with the background; None asks the data set, which is then a ClassSteps.
    epsilon: see `published_scores`; 0 gives exact ratios. update takes what Confusion takes. compute returns percent,
    None where nothing is scored: mIoU_old, mIoU_new, mIoU_all without the background, as MiB's table has them, and the
    first and last with it ("..._with_background"), as later papers do; hIoU, the harmonic mean of old and new; mIoU,
    mAcc, aAcc, fwIoU over all classes, the background too, as the published code prints them; mIoU_steps, one mean for
    the classes of each step, without the background; sizes; per_class. A class without a true pixel is left out of all
    means.
    """

    def __init__(self, sizes: Sequence[int] | None = None, *, epsilon: float = EPSILON):
        self.given, self.epsilon = sizes, epsilon
        self._confusion = Confusion(absent="skip_without_truth")

    def start(self, dataset) -> None:
        """Takes the data set's classes, ignore value and, where none are given, the sizes of its steps."""
        sizes = self.given
        if sizes is None:
            if not hasattr(dataset, "plan"):
                raise ConfigError(
                    f"IncrementalIoU: {type(dataset).__name__} says nothing of steps; give sizes, or score a ClassSteps"
                )
            sizes = dataset.plan.sizes(dataset.step)
        self.sizes = tuple(sizes)
        if sum(self.sizes) != len(dataset.classes):
            raise ConfigError(
                f"IncrementalIoU.sizes = {list(self.sizes)}: {sum(self.sizes)} classes, and the data set has "
                f"{len(dataset.classes)}"
            )
        self._confusion.start(dataset)

    def reset(self) -> None:
        """Sets all counts to 0."""
        self._confusion.reset()

    def update(self, prediction: Sequence[Prediction], batch: Batch) -> None:
        """Counts the pixels of B images."""
        self._confusion.update(prediction, batch)

    def compute(self) -> dict:
        """-> the scores, of all processes together."""
        self._confusion.compute()
        return incremental_scores(
            self._confusion.matrix().numpy(), self._confusion.classes, sizes=self.sizes, epsilon=self.epsilon
        )


def incremental_scores(
    matrix: np.ndarray, classes: Sequence[str], *, sizes: Sequence[int], epsilon: float = EPSILON
) -> dict:
    """matrix: int64 [K,K], rows = truth -> what IncrementalIoU.compute returns."""
    scores = published_scores(matrix, epsilon)
    ends = np.cumsum(sizes)
    members = [np.arange(max(end - size, 1), end) for size, end in zip(sizes, ends)]
    iou, pixels, true = scores["IoU"], max(int(matrix.sum()), 1), matrix.sum(1)

    def mean(chosen: Sequence[np.ndarray]) -> float | None:
        places = np.concatenate([np.zeros(0, np.int64), *chosen])
        return percent(mean_of(iou[places]))

    background = np.zeros(1, np.int64)
    result: dict = {"mIoU": percent(mean_of(iou)), "mAcc": percent(mean_of(scores["Acc"]))}
    result["aAcc"] = percent(np.trace(matrix) / pixels) if true.any() else None
    result["fwIoU"] = percent(float((np.nan_to_num(iou) * true).sum() / pixels)) if true.any() else None
    groups = dict(zip(GROUPS, (members[:1], members[1:], members)))
    result |= {name: mean(chosen) for name, chosen in groups.items()}
    for name in ("mIoU_old", "mIoU_all"):
        result[name + WITH_BACKGROUND] = mean([background, *groups[name]])
    result["hIoU"] = harmonic_mean(result["mIoU_old"], result["mIoU_new"])
    result["mIoU_steps"] = [mean([one]) for one in members]
    result["sizes"] = [int(size) for size in sizes]
    result["per_class"] = {
        name: {score: percent(values[k]) for score, values in scores.items()} for k, name in enumerate(classes)
    }
    return result


def step_record(step: int, scores: Mapping) -> dict:
    """scores: of IncrementalIoU after this step -> the entry of metrics.json: step, classes and the scores."""
    return {"step": step, "classes": list(scores["per_class"]), **scores}


def summary(records: Sequence[Mapping]) -> dict:
    """records: of step 0, 1, ... in order -> {"steps": the records with what was forgotten, "average": ...}.

    forgetting: per class known before the step, by how many points its IoU lies below the best of the steps before
    (Chaudhry et al., ECCV 2018, https://arxiv.org/abs/1801.10112, section 4; below 0 where it rose); mForgetting: its
    mean without the background. average: over steps, of mIoU_all with and without the background.
    """
    steps = []
    for place, record in enumerate(records):
        best: dict[str, float] = {}
        for earlier in records[:place]:
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
    """steps: of `summary` -> one run as a table, a row per step, in percent; only "+ bg" counts the background."""
    head = ["step", "classes", "old", "new", "all", "harmonic", "old + bg", "all + bg", "forgotten"]
    keys = (*GROUPS, "hIoU", "mIoU_old" + WITH_BACKGROUND, "mIoU_all" + WITH_BACKGROUND, "mForgetting")
    rows = [[str(one["step"]), str(len(one["classes"])), *(_text(one[key]) for key in keys)] for one in steps]
    return _table(head, rows)


def paper_table(methods: Mapping[str, Mapping], *, by_step: bool = False, with_background: bool = False) -> str:
    """methods: name -> record of its last step -> a row per method, in the layout of MiB's tables.

    Columns are the classes of step 0, those learned since and all ("1-15", "16-20", "all"); by_step: a column for the
    classes of every step, as for ADE20K. with_background: step 0 and all count it ("0-15"). Numbers are ranks in the
    order of learning.
    """
    if not methods:
        raise ValueError("a table of no method")
    sizes = next(iter(methods.values()))["sizes"]
    for name, record in methods.items():
        if record["sizes"] != sizes:
            raise ValueError(f"{name} has learned steps of {record['sizes']} classes, the first method {sizes}")
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
    """-> a Markdown table whose columns are aligned, the first to the left."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    rule = [("-" * width if i == 0 else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    lines = [
        "| "
        + " | ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths)))
        + " |"
        for row in (head, rule, *rows)
    ]
    return "\n".join(lines)
