"""Scores a checkpoint: segkit test CHECKPOINT [--config FILE] [--out metrics.json] [--show DIR] [--tta] [--slide].

Several checkpoints are scored as one model, which predicts the mean of their probabilities.
"""

import argparse
import shlex
import sys
from pathlib import Path

from segkit.cli import common
from segkit.cli.drawing import add_drawing, drawing_of
from segkit.registry import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit test`; returns the exit code."""
    arguments = common.parser("test", __doc__ or "")
    arguments.usage = "segkit test CHECKPOINT... [options]"
    arguments.add_argument(
        "checkpoint",
        nargs="+",
        metavar="CHECKPOINT",
        help="one, or several that predict together; also CONFIG CHECKPOINT, mmsegmentation's order",
    )
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument("--out", help="JSON file for the scores; default metrics.json beside the checkpoint")
    arguments.add_argument(
        "--show", metavar="DIR", help="pictures: image | truth | prediction, and the confusions; of clicks every step"
    )
    arguments.add_argument("--show-count", type=int, default=50, help="pictures at most")
    arguments.add_argument(
        "--per-image", action="store_true", help="also the scores of each image, the worst first: *_per_image.csv"
    )
    arguments.add_argument(
        "--probabilities", metavar="DIR", help="also the probabilities of each image: ID.npz, float16 [K,H,W]"
    )
    arguments.add_argument(
        "--predictions",
        metavar="DIR",
        help="also the predictions, as segkit predict writes them: labels/ID.png; of instances results.json; of "
        "panoptic segments panoptic.json and panoptic/ID.png",
    )
    arguments.add_argument(
        "--annotations",
        metavar="JSON",
        help="with --predictions: the COCO file that gives images and classes their ids",
    )
    arguments.add_argument(
        "--no-page", action="store_true", help="write no page (report.html, or OUT.html) beside the scores"
    )
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    arguments.add_argument(
        "--protocols",
        nargs="+",
        metavar="NAME",
        default=[],
        help="class steps: score under each of official, csseg, ssul, dkd, cropped",
    )
    arguments.add_argument(
        "--clicks",
        choices=("ideal", "real"),
        help="click models: clicks where the error is deepest, or also ten groups of clicks as users make them",
    )
    add_drawing(arguments, "intervals")
    arguments.add_argument(
        "--by",
        nargs="+",
        metavar="RULE",
        default=[],
        help="with --intervals: also the scores of parts of the images: FILE.csv:COLUMN, folder, time:60, or a regular "
        "expression on their names",
    )
    arguments.add_argument(
        "--calibration", action="store_true", help="also whether probabilities are as often right as they say"
    )
    arguments.add_argument("--split", choices=("test", "val"), default="test", help="section that is scored")
    arguments.add_argument("--sets", nargs="+", metavar="NAME", default=[], help="of several test sets score these")
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    words = arguments.parse_intermixed_args(argv)
    words.command = shlex.join(["segkit", "test", *(sys.argv[2:] if argv is None else argv)])
    return common.run(_test, words)


def _test(args: argparse.Namespace) -> int:
    from segkit import api, dist
    from segkit.runners.analysis import AnalysisRequest
    from segkit.runners.page import PageRequest

    config, words = common.split_config(args.checkpoint, args.config)
    others = [word for word in words[1:] if not word.lower().endswith(common.CHECKPOINTS)]
    if others:
        raise ConfigError(
            f"{others[0]}: is no checkpoint (they end in {', '.join(common.CHECKPOINTS)}); give one, or several that "
            "predict together, and a config with --config"
        )
    out = Path(args.out) if args.out else Path(words[0]).with_name("metrics.json")
    # scores under another name have a page of that name: two tests may share a folder
    page = out.with_name("report.html" if out.stem == "metrics" else f"{out.stem}.html")
    table = out.with_name(f"{out.stem}_per_image.csv") if args.per_image else None
    images = out.with_name(f"{out.stem}_images.npz") if args.intervals else None
    analysis = None
    if args.intervals or args.by or args.calibration:
        analysis = AnalysisRequest(images, drawing_of(args), tuple(args.by), args.calibration)
    api.evaluate(
        words,
        config,
        split=args.split,
        sets=args.sets,
        tta=args.tta,
        slide=args.slide,
        protocols=args.protocols,
        device=args.device,
        options=args.cfg_options,
        out=out,
        show=args.show,
        show_count=args.show_count,
        per_image=table,
        probabilities=args.probabilities,
        predictions=args.predictions,
        annotations=args.annotations,
        clicks=args.clicks,
        page=None if args.no_page else PageRequest(page, args.command),
        analysis=analysis,
        trust=args.trust,
        say=print,
    )
    if dist.is_main_process():
        more = {"of each image": table, "more pictures": args.show, "probabilities": args.probabilities}
        more |= {"predictions": args.predictions, "counts of the images": images}
        print("\n".join([f"scores: {out}", *(f"{name}: {path}" for name, path in more.items() if path)]))
    return 0
