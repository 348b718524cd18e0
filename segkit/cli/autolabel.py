"""Drafts of labels for people to correct: segkit autolabel CHECKPOINT... IMAGES --out DIR.

Semantic checkpoints propose the surest class of each pixel, several by the mean of their probabilities; an instance
checkpoint proposes the objects that it finds. `segkit annotate IMAGES --review DIR` opens the drafts, the least certain
images first. A command that was broken off goes on when it is given again.
"""

import argparse
from pathlib import Path

from segkit.cli import common
from segkit.cli.pseudo import add_models, add_sure
from segkit.cli.unlabelled import load_unlabelled


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit autolabel`; returns the exit code."""
    arguments = common.parser("autolabel", __doc__ or "")
    arguments.usage = "segkit autolabel CHECKPOINT... PATH... --out DIR [options]"
    add_models(arguments)
    arguments.add_argument(
        "--out", required=True, metavar="DIR", help="masks/NAME.png, objects.json, drafts.json, classes.txt"
    )
    add_sure(arguments)
    arguments.add_argument(
        "--score", type=float, default=0.3, help="of instances: least score of an object; default .3"
    )
    arguments.add_argument("--overwrite", action="store_true", help="replace drafts of other checkpoints or settings")
    return common.run(_autolabel, arguments.parse_intermixed_args(argv))


def _autolabel(args: argparse.Namespace) -> int:
    from segkit.cli.pseudo import threshold_of
    from segkit.runners.labelling.drafts import DRAFTS, Drafter
    from segkit.runners.self_training.rule import Rule

    out = Path(args.out)
    rule = Rule(threshold_of(args), None, args.agree, False, args.scores)
    judge, pictures = load_unlabelled(args, rule, args.score, out / DRAFTS)
    is_semantic = judge.kind == "semantic"
    options = dict(threshold=rule.threshold, agree=rule.agree) if is_semantic else dict(score=args.score)
    drafter = Drafter(judge, pictures, out, options, scores=args.scores and is_semantic)
    failures = drafter.run(overwrite=args.overwrite)
    total = len(pictures.files)
    print(f"{total - len(failures)} drafts, the least certain first: {out / DRAFTS}")
    if failures:
        paths = dict(zip(pictures.images.names, pictures.images.paths))
        common.print_failures({Path(paths[name]): reason for name, reason in failures.items()}, total, "images")
    return 1 if failures else 0
