"""Test sets scored with ideal clicks and with ten groups of realistic ones, and what the scores depend on that.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 5.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from segkit import dist
from segkit.config import merged
from segkit.files import write_whole
from segkit.metrics.click_robustness import click_robustness
from segkit.metrics.noc import curve_of
from segkit.registry import ConfigError
from segkit.runners.base import build_runner
from segkit.runners.interactive.band_clicker import BANDS
from segkit.runners.interactive.runner import Interactive

IDEAL = "ideal"
"""Name of the run that clicks where the error is deepest."""

GROUPS = tuple(f"G{number}" for number in range(1, len(BANDS) + 1))
"""Names of the runs with clicks of each group, the least likely clicks first."""

NEVER = 1.01
"""An IoU that no object reaches, so that all get all their clicks."""


def with_click_groups(cfg: dict, sections: dict[str, dict]) -> dict[str, dict]:
    """Returns for each set a section with ideal clicks, "SET ideal", and one for each group of clicks, "SET G1" ...

    Every object gets all its clicks.

    Args:
        cfg: the sections of the model's config.
        sections: of the test sets by name, "" for the only one.

    Raises:
        ConfigError: the model is not scored by clicks.
    """
    runner = build_runner(cfg)
    if not isinstance(runner, Interactive):
        raise ConfigError(
            f"--clicks real: the runner {type(runner).__name__} is not scored by clicks; leave it out (runner "
            "'Interactive' is)"
        )
    runs = {}
    for name, section in sections.items():
        for run, band in zip((IDEAL, *GROUPS), (None, *BANDS)):
            clicks: dict[str, Any] = {"band": band, "target_iou": NEVER}
            if run != IDEAL:
                clicks["users"] = None  # answered once
            inference = merged(section.get("inference") or {}, {"clicks": clicks})
            runs[f"{name} {run}".strip()] = {**section, "inference": inference}
    return runs


def with_clicks(cfg: dict, sections: dict[str, dict], clicks: str | None) -> dict[str, dict]:
    """Returns the sections of test sets for a kind of clicks.

    Args:
        cfg: the sections of the model's config.
        sections: of the test sets by name.
        clicks: "ideal", "real" (with_click_groups), or None for what the config says.

    Raises:
        ConfigError: there is no such kind, or the model is not scored by clicks.
    """
    if clicks is None:
        return sections
    if clicks not in ("ideal", "real"):
        raise ConfigError(f"--clicks {clicks}: must be ideal or real")
    groups = with_click_groups(cfg, sections)
    if clicks == "real":
        return groups
    ideal = {"clicks": {"band": None, "maps": None}}
    return {name: {**one, "inference": merged(one.get("inference") or {}, ideal)} for name, one in sections.items()}


def compare_groups(
    results: Mapping[str, Mapping[str, Any]], out: Path | None, say: Callable[[str], None] | None
) -> dict[str, dict[str, Any]]:
    """Returns robustness_of under the key "robustness", tells it, and adds it to the file of the scores.

    Args:
        results: scores by the name of the run.
        out: JSON file of the scores, None for none.
        say: takes the table.
    """
    found = robustness_of(results)
    if dist.is_main():
        if out is not None:
            write_whole(out, json.dumps({**results, "robustness": found}, indent=1) + "\n")
        if say is not None:
            say(robustness_table(found))
    return {"robustness": found}


def robustness_of(results: Mapping[str, Mapping[str, Any]], *, threshold: float = 0.9) -> dict[str, dict[str, Any]]:
    """Compares the runs that with_click_groups names.

    Args:
        results: scores of NoC by the name of the run.
        threshold: IoU in 0..1 that clicks are counted to.

    Returns:
        click_robustness by the name of the set, "" for the only one; with "user@1" where users' clicks were answered.
    """
    found = {}
    for run, base in results.items():
        if not run.endswith(IDEAL):
            continue
        name = run[: -len(IDEAL)]
        curves = [[curve_of(item) for item in results[f"{name}{group}"]["items"]] for group in GROUPS]
        ideal = [curve_of(item) for item in base["items"]]
        limit = min(int(next(iter(base["limits"]))), max(map(len, ideal), default=1))
        found[name.strip()] = click_robustness(ideal, curves, threshold=threshold, limit=limit)
        if "user@1" in base:
            found[name.strip()]["user@1"] = base["user@1"]
    return found


def robustness_table(found: Mapping[str, Mapping[str, Any]], *, threshold: float = 0.9) -> str:
    """Formats what robustness_of found: a row for each set and score."""
    columns = ("base", "sampled", "std", "dSB", "dGR", "dHH")
    titles = ("ideal", "real", "std", "dSB", "dGR", "dHH")
    width = max([len("clicks"), *(len(name) for name in found)])
    lines = [
        f"realistic clicks against ideal ones, IoU {threshold:.2f}; dSB: real against ideal, dGR: the least against "
        "the most likely tenth, dHH: the unlikelier against the likelier half (NoC in %, NoF and IoU as differences)",
        f"{'set':{width}} {'':>4}" + "".join(f"{title:>9}" for title in titles),
    ]
    for name, scores in found.items():
        for score in ("NoC", "NoF", "IoU"):
            cells = "".join(f"{scores[score][column]:>9.2f}" for column in columns)
            more = f"   NSR {scores[score]['NSR']:.2f}%" if score == "IoU" else ""
            lines.append(f"{name:{width}} {score:>4}{cells}{more}")
        if "user@1" in scores:
            users = scores["user@1"]
            lines.append(
                f"{name:{width}} users' first clicks on {users['objects']} objects: IoU {users['IoU']:.2f} +- "
                f"{users['std']:.2f}, NSR {users['NSR']:.2f}%, first ideal click {users['base']:.2f}"
            )
    return "\n".join(lines)
