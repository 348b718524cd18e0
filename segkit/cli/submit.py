"""Writes a competition's submission: segkit submit CHECKPOINT --out submission.csv [--tta] [--slide]."""

import argparse

from segkit.cli import common


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit submit`; returns the exit code."""
    arguments = common.parser("submit", __doc__ or "")
    arguments.add_argument("checkpoint", metavar="CHECKPOINT", help="of a config with the runner MultiLabel")
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument("--out", default="submission.csv", help="the CSV file; default submission.csv")
    arguments.add_argument("--split", choices=("test", "val"), default="test", help="section that is predicted")
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_submit, arguments.parse_args(argv))


def _submit(args: argparse.Namespace) -> int:
    from segkit import dist
    from segkit.cli.masks import predicting
    from segkit.files import need_writable
    from segkit.runners.submission import write_submission

    if dist.is_main_process():
        need_writable(args.out, "choose another --out")
    with predicting(args) as (model, runner, data, tick):
        count = write_submission(model, runner, data, args.out, tick)
        if dist.is_main():
            print(f"{len(data.dataset):,} images, {count:,} rows: {args.out}")
    return 0
