"""Labels images, or finds the instances in them: segkit predict CHECKPOINT PATH... --out DIR.

PATH is an image, a folder or a glob.
"""

import argparse
import glob
from pathlib import Path

from segkit.cli import common
from segkit.registry import ConfigError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".npy"}


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit predict`; returns the exit code."""
    arguments = common.parser("predict", __doc__ or "")
    arguments.add_argument(
        "words", nargs="+", metavar="CHECKPOINT PATH...", help="the checkpoint, then images, folders and globs"
    )
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="overlays/NAME.png, and labels/NAME.png or, of instances, results.json",
    )
    arguments.add_argument(
        "--annotations", metavar="JSON", help="of instances: a COCO file that gives results.json its ids"
    )
    arguments.add_argument("--score", type=float, default=0.3, help="of instances: least score of those drawn")
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window of the size of the training crop")
    arguments.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU where there is one")
    common.add_options(arguments)
    return common.run(_predict, arguments.parse_intermixed_args(argv))


def find_images(paths: list[str]) -> list[Path]:
    """Finds images.

    Args:
        paths: images, folders (with everything below them) and globs.

    Returns:
        Each file once, in the order named.

    Raises:
        ConfigError: a path holds no image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        folder = Path(path)
        if folder.is_dir():
            candidates = sorted(folder.rglob("*"))
        else:
            candidates = [Path(match) for match in sorted(glob.glob(path, recursive=True))]
        images = [file for file in candidates if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not images:
            raise ConfigError(f"{path}: holds no image; images end in {', '.join(sorted(SUFFIXES))}")
        found |= dict.fromkeys(images)
    return list(found)


def _predict(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segkit import api
    from segkit.data.files.images import read_image
    from segkit.engine.setup import pick_device
    from segkit.runners.scoring import with_switches

    config, (path, *paths) = common.split_config(args.words, args.config)
    if not paths:
        raise ConfigError(f"{path}: give images, folders or globs after the checkpoint")
    images = find_images(paths)
    model = api.load_model(config, path, pick_device(args.device), args.cfg_options)
    model.config["inference"] = with_switches(model.config, tta=args.tta, slide=args.slide)
    runner = api.build_runner(model.config)
    palette = tuple((int(r), int(g), int(b)) for r, g, b in model.palette or ())
    out, names = Path(args.out), _names(images)
    writer = runner.writer(out, tuple(model.classes or ()), palette, annotations=args.annotations, score=args.score)
    for file in tqdm(images, unit="image", disable=None):
        image = read_image(file)
        writer.add(file, names[file], image, api.predict(model, image, runner))
    print(f"{len(images)} images: {writer.close()}, {out}/overlays")
    return 0


def _names(images: list[Path]) -> dict[Path, str]:
    """One name per image: its stem, with the folders in front where two share it."""
    stems = [image.stem for image in images]
    return {i: i.stem if stems.count(i.stem) == 1 else "_".join([*i.parts[-3:-1], i.stem]) for i in images}
