"""Chooses what to label next: segkit next CHECKPOINT... IMAGES -n 50.

Of the images without labels those that the checkpoints are unsure of, those unlike what is labelled, or both. Writes
DIR/next.txt, a list of images; next.json, which `segkit annotate IMAGES --from DIR/next.json` opens; and next.html, the
reasons with pictures. A command that was broken off goes on when it is given again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segkit.cli import common
from segkit.cli.pseudo import add_models
from segkit.cli.unlabelled import load_unlabelled
from segkit.ops.self_training.choice import RULES
from segkit.ops.self_training.uncertainty import MEASURES
from segkit.registry import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit next`; returns the exit code."""
    arguments = common.parser("next", __doc__ or "")
    arguments.usage = "segkit next CHECKPOINT... PATH... [-n 50] [--labelled DIR|LIST] [--out DIR] [options]"
    add_models(arguments)
    arguments.add_argument("-n", "--count", type=int, default=50, help="images, or regions, to choose; default 50")
    arguments.add_argument(
        "--labelled",
        metavar="DIR|LIST",
        help="images that have labels: a folder of masks with the names of the images, or a list of the images",
    )
    arguments.add_argument("--out", default="next", metavar="DIR", help="takes next.txt, next.json, next.html")
    arguments.add_argument(
        "--rule",
        default="both",
        choices=RULES,
        help="images that are unsure, unlike the labelled ones, or both (default)",
    )
    arguments.add_argument(
        "--measure",
        choices=MEASURES,
        help="of uncertainty; bald and votes compare several checkpoints; default bald of several, margin of one",
    )
    arguments.add_argument(
        "--factor",
        type=float,
        default=4.0,
        help="of --rule both: candidates for each image to choose; default 4",
    )
    arguments.add_argument(
        "--by", default="images", choices=("images", "regions"), help="whole images, or the most unsure squares of them"
    )
    arguments.add_argument("--side", type=int, default=128, help="of the regions in pixels; default 128")
    arguments.add_argument("--per-image", type=int, default=4, help="regions of an image at most; default 4")
    arguments.add_argument(
        "--overwrite", action="store_true", help="drop what a broken-off command with other settings has looked at"
    )
    return common.run(_next, arguments.parse_intermixed_args(argv))


def _next(args: argparse.Namespace) -> int:
    from segkit.runners.labelling.drafts import about
    from segkit.runners.labelling.looking import Question, look_at_all
    from segkit.runners.labelling.next_images import JOURNAL, LIST, PAGE, choose_images, write_choice
    from segkit.runners.self_training.rule import Rule

    out = Path(args.out)
    judge, pictures = load_unlabelled(args, Rule(), 0.0, out / LIST)
    question = Question(
        args.count,
        args.rule,
        args.measure or ("margin" if len(judge.models) == 1 else "bald"),
        args.factor,
        args.side if args.by == "regions" else None,
        args.per_image,
    )
    question.check(judge)
    if args.by == "regions" and args.rule == "diverse":
        raise ConfigError("--by regions: chooses by uncertainty for each pixel; leave --rule out")
    labelled = labelled_images(args.labelled, pictures.files) if args.labelled else set()
    if len(labelled) == len(pictures.files):
        raise ConfigError(f"--labelled {args.labelled}: all {len(labelled)} images are labelled; name more images")
    asked = dict(measure=question.measure, features=question.compares, side=question.side, per_image=question.per_image)
    if args.overwrite:
        (out / JOURNAL).unlink(missing_ok=True)
    if not question.compares:  # labelled images are of no use then
        pictures = pictures.only([i for i in range(len(pictures.files)) if i not in labelled])
        labelled = set()
    looks, failures = look_at_all(judge, pictures.images, question, out / JOURNAL, about(judge, pictures, **asked))
    numbers = {name: number for number, name in enumerate(pictures.images.names)}
    seen = {numbers[name]: look for name, look in looks.items()}
    free = [look for number, look in seen.items() if number not in labelled]
    total = sum(len(look.boxes) for look in free) if question.side else len(free)
    picks = choose_images(seen, labelled, question) if free else []
    write_choice(out, picks, seen, pictures, question, total)
    if not failures:
        (out / JOURNAL).unlink(missing_ok=True)
    noun = "images" if question.side is None else "regions"
    print(f"{len(picks)} of {total:,} {noun}, {sum(pick.cost for pick in picks):,} pixels: {out / LIST}, {out / PAGE}")
    if failures:
        paths = dict(zip(pictures.images.names, pictures.images.paths))
        reasons = {Path(paths[name]): reason for name, reason in failures.items()}
        common.print_failures(reasons, len(pictures.files), "images")
    return 1 if failures else 0


def labelled_images(word: str, files: Sequence[str]) -> set[int]:
    """Finds the images that have labels.

    Args:
        word: a folder of masks with the names of the images, or a list of the images.
        files: paths of all images.

    Returns:
        Numbers of those that are labelled.

    Raises:
        ConfigError: the folder holds no mask of an image.
        DataError: the list cannot be read, or a line names no image or several.
    """
    from segkit.data.files.listing import same_text
    from segkit.data.files.masks import MASK_SUFFIXES
    from segkit.data.files.name_list import Finder, find_entries, read_lines
    from segkit.data.files.pairs import list_files

    path = Path(word).expanduser()
    if not path.is_dir():
        numbers = {same_text(file): number for number, file in enumerate(files)}
        lines = read_lines(path, "--labelled names a folder of masks, or a list of images")
        return {numbers[entry.image] for entry in find_entries(lines, Finder(numbers), path, "the images")}
    masks = list_files(path, MASK_SUFFIXES, "--labelled names a folder of masks")
    found = {n for n, file in enumerate(files) if same_text(Path(file).with_suffix("").as_posix()) in masks}
    if not found:
        raise ConfigError(f"--labelled {word}: holds no mask of the name of one of the {len(files)} images; check it")
    return found
