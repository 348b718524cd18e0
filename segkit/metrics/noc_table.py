"""Text tables of interactive segmentation, as results are published.

Layout of the code of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

COLUMNS = ("80", "85", "90")
"""Thresholds with a column, in percent; others are appended to the row."""
COUNTED = ("85", "90")
"""Thresholds for which the number of objects at the limit has a column."""


def header(limit: int = 20, model: str | None = None) -> str:
    """Returns the head of the table between two lines, below the model's name where there is one."""
    cells = [f"{'BRS Type':^13}", f"{'Dataset':^11}", *(f"{f'NoC@{name}%':^9}" for name in COLUMNS)]
    cells += [*(f"{f'>={limit}@{name}%':^9}" for name in COUNTED), f"{'SPC,s':^7}", f"{'Time':^9}"]
    titles = f"|{'|'.join(cells)}|"
    line = "-" * len(titles)
    return (f"Eval results for model: {model}\n" if model else "") + f"{line}\n{titles}\n{line}"


def row(
    method: str,
    dataset: str,
    *,
    noc: Mapping[str, float | None],
    at_limit: Mapping[str, int],
    seconds_per_click: float | None,
    seconds: float,
    limit: int = 20,
) -> str:
    """Returns one line of the table; missing values are shown as "?", thresholds without a column are appended.

    Args:
        method: first column.
        dataset: second column.
        noc: mean number of clicks by threshold in percent ("85").
        at_limit: number of objects at the limit by threshold.
        seconds_per_click: mean time of a click.
        seconds: time of all clicks.
        limit: largest number of clicks.
    """
    cells = [f"{method:^13}", f"{dataset:^11}"]
    cells += [f"{_number(noc.get(name), '.2f'):^9}" for name in COLUMNS]
    cells += [f"{at_limit.get(name, '?')!s:^9}" for name in COUNTED]
    cells += [f"{_number(seconds_per_click, '.3f'):^7}", f"{timedelta(seconds=int(seconds))!s:^9}"]
    others = [
        f" NoC@{float(name):.1f}% = {_number(mean, '.2f')}; >={limit}@{float(name):.1f}% = {at_limit.get(name, '?')}"
        for name, mean in noc.items()
        if name not in COLUMNS
    ]
    return f"|{'|'.join(cells)}|" + ";".join(others)


def published_table(scores: Mapping[str, dict], method: str, *, limit: int = 20, model: str | None = None) -> str:
    """Returns the whole table, a row per test set.

    Where objects ended before the limit without success, what they need is not known: "?", and a line below says why.

    Args:
        scores: what NoC.compute returned, by the name of the test set.
        method: first column.
        limit: largest number of clicks.
        model: name above the table.
    """
    lines, notes = [header(limit, model)], []
    for dataset, result in scores.items():
        at = result["limits"][str(limit)]
        unknown = {name for name, count in at["ended_early"].items() if count}
        if unknown:
            most = max((len(item["ious"]) for item in result["items"]), default=0)
            thresholds = ", ".join(sorted(unknown))
            notes.append(
                f"? {dataset}: objects were left below {thresholds} % with fewer than {limit} clicks ({most} at most), "
                f"so that NoC{limit} is not known; set inference.clicks.max_clicks = {limit} and target_iou to the "
                f"highest threshold, or metrics = [dict(type='NoC', limits=({most},))]"
            )
        lines.append(
            row(
                method,
                dataset,
                noc={name: None if name in unknown else value for name, value in at["NoC"].items()},
                at_limit={name: value for name, value in at[f">={limit}"].items() if name not in unknown},
                limit=limit,
                seconds=result["seconds"],
                seconds_per_click=result["seconds_per_click"],
            )
        )
    return "\n".join([*lines, *notes])


def curve_text(values: Sequence[float | None], clicks: Sequence[int] = (1, 2, 3, 5, 10, 20)) -> str:
    """Returns "mIoU@1=61.27%; mIoU@2=..." for the click counts that are known; values: mIoU@k in percent, k = 1, ..."""
    return " ".join(f"mIoU@{k}={_number(values[k - 1], '.2f')}%;" for k in clicks if k <= len(values))


def summary(result: dict) -> str:
    """Returns lines of text for what NoC.compute returned: NoC and both counts of failures per limit, and the curve.

    "NoF" is the published count: also of the objects that succeed exactly at the last click.
    """
    lines = [f"{len(result['items'])} objects, {result['clicks']} clicks"]
    for limit, at in result["limits"].items():
        for name, count in at["not_reached"].items():
            early = at["ended_early"][name]
            note = f" ({early} ended before click {limit} and count as {limit})" if early else ""
            noc = _number(at["NoC"][name], ".2f")
            official = at[f">={limit}"][name]
            lines.append(f"NoC{limit}@{name} {noc}, not reached after {limit} clicks: {count}{note}; NoF {official}")
    if result.get("5-mIoU") is not None:
        lines.append(f"5-mIoU {result['5-mIoU']:.2f}%")
    if "seconds_set_image" in result:
        further = _number(result["seconds_further_click"], ".3f")
        on = f" ({result['device']})" if result["device"] else ""
        lines.append(f"seconds: {result['seconds_set_image']:.3f} set_image, {further} for each further click{on}")
    if "boundary@k" in result:
        lines.append(f"boundary {curve_text(result['boundary@k'])}")
    return "\n".join([*lines, curve_text(result["mIoU@k"]["held"])])


def warnings(result: dict) -> list[str]:
    """Returns sentences about scores that the run was too short for, [] where all are known.

    Args:
        result: what NoC.compute returned.
    """
    found = []
    for limit, at in result["limits"].items():
        early = {name: count for name, count in at["ended_early"].items() if count}
        if early:
            names = ", ".join(f"NoC{limit}@{name}" for name in early)
            highest = max(map(float, early)) / 100
            found.append(
                f"warning: {names}: {max(early.values())} of {len(result['items'])} objects ended below it before "
                f"click {limit}, so it is not known; set inference.clicks.target_iou = {highest:g} (or above) and "
                f"max_clicks = {limit}"
            )
    return found


def _number(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)
