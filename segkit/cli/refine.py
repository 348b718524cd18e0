"""Refines masks of any program, or a model's predictions.

segkit refine MASKS IMAGES... --refiners DenseCRF --out DIR: MASKS is a folder of label maps, of masks of 0 and 255, or
of probabilities (.npy, float [K,H,W]), each with an image of the same name.

segkit refine CHECKPOINT IMAGES... --refiners DenseCRF --out DIR: predicts, then refines.
"""

import argparse
import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.files import DataError, need_writable
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.runners.given_masks import GivenMasks

CHECKPOINTS = (".pt", ".pth", ".safetensors")


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit refine`; returns the exit code."""
    arguments = common.parser("refine", __doc__ or "")
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.usage = "segkit refine MASKS|CHECKPOINT IMAGES... --refiners NAME... --out DIR [options]"
    arguments.add_argument(
        "words", nargs="+", metavar="MASKS IMAGES...", help="masks or a checkpoint, then images, folders and globs"
    )
    arguments.add_argument(
        "--refiners",
        nargs="+",
        default=[],
        metavar="NAME[,ARGUMENT=VALUE...]",
        help="applied in turn: DenseCRF, or SegFix,checkpoint=segfix.pt; default: inference.refiners of the config",
    )
    arguments.add_argument("--config", help="a config: its inference.refiners, and the model of a checkpoint without")
    arguments.add_argument(
        "--out", required=True, metavar="DIR", help="labels/NAME.png and overlays/NAME.png; NAME is the mask's"
    )
    arguments.add_argument(
        "--num-classes",
        type=int,
        help="of label maps; default: as many as the masks show (masks of 0 and 255 alone are one object)",
    )
    arguments.add_argument("--ignore", type=int, default=255, help="label of pixels that stay as they are; default 255")
    arguments.add_argument(
        "--certainty", type=float, default=0.9, help="probability of the class that a label names; default 0.9"
    )
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_refine, arguments.parse_intermixed_args(argv))


def row_of(text: str) -> dict[str, Any]:
    """Reads a refiner of the command line.

    Args:
        text: "DenseCRF" or "DenseCRF,steps=5": values are Python literals, or text.

    Returns:
        dict(type=..., arguments).

    Raises:
        ConfigError: it has another form.
    """
    name, *pairs = text.split(",")
    row: dict[str, Any] = {"type": name}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--refiners {text}: expected NAME,ARGUMENT=VALUE")
        try:
            row[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            row[key] = value
    return row


def _refine(args: argparse.Namespace) -> int:
    first, *paths = args.words
    if not paths:
        raise ConfigError(f"{first}: give images, folders or globs after the masks or the checkpoint")
    rows = [row_of(text) for text in args.refiners]
    if first.lower().endswith(CHECKPOINTS):
        return _predict(args, rows)
    if not 0.5 < args.certainty <= 1:
        raise ConfigError(f"--certainty {args.certainty}: must be above 0.5, to 1")
    if args.num_classes is not None and args.num_classes < 1:
        raise ConfigError(f"--num-classes {args.num_classes}: must be 1 or more")
    if not rows and args.config:
        rows = (common.load_checked(args.config, args.cfg_options).get("inference") or {}).get("refiners") or []
    return _refine_masks(args, rows, first, paths)


def _predict(args: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    """Predicts with these refiners in place of the config's; what cannot be refined is refused by the runner."""
    from segkit.cli import predict

    words = [*args.words, "--out", args.out]
    for name, value in (("--config", args.config), ("--device", args.device)):
        words += [name, value] if value else []
    options = [*args.cfg_options, *([f"inference.refiners={rows!r}"] if rows else [])]
    words += ["--trust"] if args.trust else []
    return predict.main([*words, *(["--cfg-options", *options] if options else [])])


def _refine_masks(args: argparse.Namespace, rows: list[dict[str, Any]], folder: str, paths: list[str]) -> int:
    from tqdm import tqdm

    from segkit.cli.predict import find_images
    from segkit.data.files.images import read_image
    from segkit.registry import REFINERS, build
    from segkit.runners.given_masks import find_masks, look_at, match_images
    from segkit.runners.writers import LabelWriter
    from segkit.schema import check
    from segkit.types import Meta, default_palette
    from segkit.viz.draw import save_png

    if not rows:
        raise ConfigError("--refiners: name at least one refiner, such as DenseCRF")
    check({"inference": {"refiners": rows}}, needed=())
    refiners = [build(row, REFINERS, f"--refiners.{i}").eval() for i, row in enumerate(rows)]
    masks = find_masks(folder)
    images = {file: below.with_suffix("").as_posix() for file, below in find_images(paths, args.out).items()}
    image_of = match_images(masks, images)
    out = Path(args.out)
    common.need_apart(out / "labels", [folder], "choose another --out")
    need_writable(out / "labels" / "picture.png", "choose another --out")
    given = look_at(masks.values(), args.num_classes, args.ignore, args.certainty)
    _check_all(given, masks, image_of)
    writer = LabelWriter(out, default_palette(256))
    failures: dict[Path, str] = {}
    for name, mask in tqdm(masks.items(), unit="mask", disable=None):
        file = image_of[name]
        try:
            image = read_image(file)
            size = (image.shape[0], image.shape[1])
            labels = given.refine(refiners, image, mask, Meta(id=name, path=str(file), size=size))
            if given.is_binary:
                save_png(out / "labels" / f"{name}.png", labels)
            else:
                writer.add(file, name, image, {"labels": labels})  # type: ignore[typeddict-item]
        except (DataError, OSError) as error:
            failures[mask] = str(error)
    print(f"{len(masks) - len(failures)} masks: {out}/labels")
    if failures:
        common.print_failures(failures, len(masks), "masks")
    return 1 if failures else 0


def _check_all(given: "GivenMasks", masks: dict[str, Path], image_of: dict[str, Path]) -> None:
    """Raises a DataError for a mask that does not fit its image or the classes, before anything is written."""
    from segkit.data.files.images import read_image

    for name, mask in masks.items():
        image = read_image(image_of[name])
        given.read(mask, (image.shape[0], image.shape[1]))
