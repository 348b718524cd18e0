"""Scores a checkpoint on corrupted images: segkit robustness CHECKPOINT [--images 200] [--reference OTHER.json].

Sixteen corruptions, scale and rotation in five strengths each: noise, blur, weather, digital faults. A run that was
stopped goes on where it was.
"""

import argparse
import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.registry import ConfigError, did_you_mean

if TYPE_CHECKING:
    from segkit.analysis.robustness import Robustness


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit robustness`; returns the exit code."""
    arguments = common.parser("robustness", __doc__ or "")
    arguments.add_argument("checkpoint", metavar="CHECKPOINT")
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument(
        "--out",
        help="JSON file; a table (.csv) and a page (.html) lie beside it; default robustness.json beside the "
        "checkpoint",
    )
    arguments.add_argument("--overwrite", action="store_true", help="score again what the file of --out holds")
    arguments.add_argument(
        "--corruptions",
        nargs="+",
        metavar="NAME",
        help="corruptions or families (noise, blur, "
        "weather, digital, geometry, further); default: the sixteen of the first four, and geometry",
    )
    arguments.add_argument("--strengths", type=int, nargs="+", default=(1, 2, 3, 4, 5), help="of 1 to 5; default all")
    arguments.add_argument("--images", type=int, default=0, help="score so many images, drawn by --seed; default all")
    arguments.add_argument("--seed", type=int, default=0, help="of the noise; default 0")
    arguments.add_argument(
        "--reference", metavar="JSON", help="of another model: errors are also given in percent of its errors (mCE)"
    )
    arguments.add_argument("--split", choices=("test", "val"), default="test", help="section that is scored")
    arguments.add_argument("--set", metavar="NAME", default="", help="of several test sets this one; default the first")
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_score, arguments.parse_args(argv))


def _score(args: argparse.Namespace) -> int:
    from segkit import api, dist
    from segkit.analysis.robustness import DEFAULT
    from segkit.engine import setup
    from segkit.engine.world import joined
    from segkit.files import need_writable, write_whole
    from segkit.runners.robustness import Cells, Suite, fingerprint, read_cells, score_cells
    from segkit.runners.scoring import chosen_sets, test_sections, with_switches
    from segkit.schema import need_sections
    from segkit.settings import LoopSettings
    from segkit.viz.page.analysis import robustness_section
    from segkit.viz.page.sheet import sections_page

    suite = Suite(names_of(args.corruptions) or DEFAULT, strengths_of(args.strengths), args.images, args.seed)
    if args.images < 0:
        raise ConfigError(f"--images {args.images}: must be a number of images, or 0 for all")
    out = Path(args.out) if args.out else Path(args.checkpoint).with_name("robustness.json")
    for path in (out, out.with_suffix(".csv"), out.with_suffix(".html")):
        need_writable(path, "choose another --out")
    reference = read_cells(Path(args.reference)) if args.reference else None
    device = setup.pick_device(args.device)
    model = api.load_ensemble([args.checkpoint], args.config, device, args.cfg_options, trust=args.trust)
    cfg = model.config
    need_sections(cfg, (args.split if cfg.get(args.split) else "val",))
    with joined(device, LoopSettings(**(cfg.get("loop") or {})).process_timeout, cfg):
        cfg["inference"] = with_switches(cfg, tta=args.tta, slide=args.slide, say=print)
        chosen = chosen_sets(test_sections(cfg, args.split), [args.set] if args.set else [])
        name, section = next(iter(chosen.items()))
        at = f"{args.split}.{name}" if name else args.split
        cells = Cells(out, fingerprint(model, suite, section), overwrite=args.overwrite)
        found = score_cells(model, section, at, suite, cells, print)
        if reference is not None:
            found = against(found, cells.of(found.score), reference["cells"], args.reference)
        cells.write(found.as_json())
        if dist.is_main():
            write_whole(out.with_suffix(".csv"), csv_of(found))
            subtitle = f"{args.checkpoint}: {found.images:,} images, seed {suite.seed}"
            page = sections_page("Robustness", subtitle, [("Corruptions", robustness_section(found))])
            write_whole(out.with_suffix(".html"), page)
            print(text_of(found))
            print(f"scores: {out}\ntable: {out.with_suffix('.csv')}\npage: {out.with_suffix('.html')}")
    return 0


def names_of(words: list[str] | None) -> tuple[str, ...]:
    """Returns the corruptions that words name, themselves or by their family; () without words.

    Raises:
        ConfigError: there is none of such a name.
    """
    from segkit.analysis.robustness import FAMILIES

    known = {name for members in FAMILIES.values() for name in members}
    found: dict[str, None] = {}
    for word in words or ():
        if word not in known and word not in FAMILIES:
            hint = did_you_mean(word, [*known, *FAMILIES]) or f"; available: {', '.join([*FAMILIES, *sorted(known)])}"
            raise ConfigError(f"--corruptions {word}: no such corruption or family{hint}")
        found |= dict.fromkeys(FAMILIES.get(word, (word,)))
    return tuple(found)


def strengths_of(values: list[int]) -> tuple[int, ...]:
    """Returns strengths in their order; ConfigError for one that is none."""
    if not all(1 <= value <= 5 for value in values):
        raise ConfigError(f"--strengths {' '.join(map(str, values))}: must be of 1 to 5")
    return tuple(sorted(set(values)))


def against(found: "Robustness", cells: dict[str, float], other: dict[str, Any], name: str) -> "Robustness":
    """Returns the table with its errors in percent of those of another model.

    Raises:
        ConfigError: the other one has no such score of the clean images.
    """
    from segkit.analysis.robustness import CLEAN, table_of

    reference = {key: scores[found.score] for key, scores in other.items() if found.score in scores}
    if CLEAN not in reference:
        raise ConfigError(f"--reference {name}: has no {found.score} of the clean images; score both models alike")
    names = [row.name for row in found.rows]
    lower, score = found.lower_is_better, found.score
    table = table_of(
        cells, names, found.strengths, score=score, lower_is_better=lower, reference=reference, reference_name=name
    )
    return replace(table, images=found.images)


def _cells(found: "Robustness") -> list[list[str]]:
    more = ["error %", "relative %"] if found.reference else []
    rows = [["family", "corruption", *map(str, found.strengths), "mean", "drop", *more]]
    for row in found.rows:
        numbers = [*row.scores, row.mean, row.drop, *([row.error, row.relative] if found.reference else [])]
        rows.append([row.family, row.name, *("-" if value != value else f"{value:.2f}" for value in numbers)])
    return rows


def csv_of(found: "Robustness") -> str:
    """Returns the table as CSV, with the clean score in its first row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [["" if value == "-" else value for value in row] for row in _cells(found)]
    writer.writerow(rows[0])
    writer.writerow(["", "clean", *([""] * len(found.strengths)), f"{found.clean:.2f}", "0.00"])
    writer.writerows(rows[1:])
    return text.getvalue()


def text_of(found: "Robustness") -> str:
    """Returns the table as text, with the means below it."""
    from segkit.runners.fold_table import as_text

    rows = [row[1:] for row in _cells(found)]
    means = "  ".join(f"{name} {value:.2f}" for name, value in found.means().items())
    return f"{found.score} of {found.images:,} images, clean {found.clean:.2f}\n{as_text(rows)}\n{means}"
