"""Options of commands that draw images again and again for intervals."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segkit.analysis.bootstrap import Plan


def add_drawing(arguments: argparse.ArgumentParser, switch: str = "") -> None:
    """Adds --draws, --level, --seed and --unstratified.

    Args:
        arguments: of the command.
        switch: name of an option that asks for intervals, "" where the command always gives them.
    """
    group = arguments.add_argument_group("intervals", "of the scores, by drawing images with replacement (bootstrap)")
    if switch:
        group.add_argument(
            f"--{switch}",
            action="store_true",
            help="also an interval of each score, and OUT_images.npz, which segkit compare reads",
        )
    group.add_argument("--draws", type=int, default=1000, help="number of draws, 100 or more; default 1000")
    group.add_argument("--level", type=float, default=0.95, help="probability of the intervals; default 0.95")
    group.add_argument("--seed", type=int, default=0, help="of the draws; default 0")
    group.add_argument(
        "--unstratified",
        action="store_true",
        help="draw from all images alike; default: as many images of each main class (the one with most pixels or "
        "objects in the image) as there are",
    )


def drawing_of(args: argparse.Namespace) -> "Plan":
    """Returns how images are drawn; ConfigError where an option is out of range."""
    from segkit.analysis.bootstrap import Plan

    plan = Plan(args.draws, args.level, args.seed, not args.unstratified)
    plan.check()
    return plan
