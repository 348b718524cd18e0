"""Compares two models on the same images: segkit compare A B, each a checkpoint or a run's *_images.npz.

The difference of every score, its interval, and how likely one as large is by chance.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.cli.drawing import add_drawing, drawing_of
from segkit.registry import ConfigError

FEW = 20
"""With fewer images neither the interval nor p is worth much."""

if TYPE_CHECKING:
    from segkit.analysis.bootstrap import Plan
    from segkit.analysis.findings import Comparison
    from segkit.analysis.record import ImageRecord


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit compare`; returns the exit code."""
    arguments = common.parser("compare", __doc__ or "")
    arguments.add_argument("first", metavar="A", help="a checkpoint, or what segkit test --intervals wrote of it")
    arguments.add_argument("second", metavar="B", help="the same of another model")
    arguments.add_argument("--out", default="comparison.json", help="JSON file; a page of the same name lies beside it")
    arguments.add_argument("--config", help="a config file for checkpoints; default: the config inside each")
    arguments.add_argument("--split", choices=("test", "val"), default="test", help="section that checkpoints score")
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    add_drawing(arguments)
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_compare, arguments.parse_args(argv))


def _compare(args: argparse.Namespace) -> int:
    from segkit import dist
    from segkit.analysis.findings import comparison_of
    from segkit.analysis.record import matched
    from segkit.files import need_writable, write_whole
    from segkit.viz.page.analysis import comparison_section
    from segkit.viz.page.sheet import sections_page

    plan, out = drawing_of(args), Path(args.out)
    page = out.with_suffix(".html")
    for path in (out, page):
        need_writable(path, "choose another --out")
    if Path(args.first) == Path(args.second):
        raise ConfigError(f"{args.second}: is compared with itself; name another model")
    names = (args.first, args.second)
    counts = [
        path if path.suffix == ".npz" else out.with_name(f"{out.stem}_{k}.npz")
        for k, path in zip("AB", map(Path, names))
    ]
    records = [_record(name, path, plan, args) for name, path in zip(names, counts)]
    if not dist.is_main_process():
        return 0
    first, second = matched(records[0], records[1], names)
    found = comparison_of(first, second, names, plan)
    write_whole(out, json.dumps(found.as_json(), indent=1) + "\n")
    subtitle = f"{found.images:,} images, {plan.replicates:,} draws, seed {plan.seed}"
    write_whole(page, sections_page("Comparison", subtitle, [("Differences", comparison_section(found))]))
    print(text_of(found))
    print(f"scores: {out}\npage: {page}")
    return 0


def _record(name: str, images: Path, plan: "Plan", args: argparse.Namespace) -> "ImageRecord":
    """The counts of a run: those of its file, or of the test of a checkpoint, written beside the result."""
    from segkit import api
    from segkit.analysis.record import load
    from segkit.runners.analysis import AnalysisRequest

    if name.lower().endswith(common.CHECKPOINTS):
        print(f"{name}:", flush=True)
        api.evaluate(
            name,
            args.config,
            split=args.split,
            tta=args.tta,
            slide=args.slide,
            device=args.device,
            options=args.cfg_options,
            analysis=AnalysisRequest(images, plan),
            trust=args.trust,
            say=print,
        )
    elif not name.lower().endswith(".npz"):
        raise ConfigError(f"{name}: give a checkpoint, or the *_images.npz that segkit test --intervals writes")
    return load(images)


def text_of(found: "Comparison") -> str:
    """Returns the main scores of a comparison as text."""
    from segkit.viz.page.analysis import verdict

    lines = [f"A = {found.first}", f"B = {found.second}", f"{found.images:,} images that both have scored"]
    lines.append(f"  {'':12}{'A':>9}{'B':>9}{'B - A':>9}{f'{100 * found.plan.level:g} % interval':>22}{'p':>8}")
    for name in found.main:
        one = found.differences.get(name)
        if one is not None:
            ends = f"{one.difference.low:+.2f} .. {one.difference.high:+.2f}"
            numbers = f"{one.first:>9.2f}{one.second:>9.2f}{one.difference.value:>+9.2f}{ends:>22}{one.p:>8.3f}"
            verdict_text = verdict(one, is_lower=name in found.lower_is_better)
            lines.append(f"  {name:12}{numbers}  {verdict_text}".replace("nan", "  -"))
    if found.images < FEW:
        lines.append(
            f"caution: {found.images} images are too few to tell models apart, whatever p says; score {FEW} or more"
        )
    return "\n".join(lines)
