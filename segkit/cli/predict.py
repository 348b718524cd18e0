"""Labels images, or finds the instances in them: python tools/predict.py CONFIG CHECKPOINT PATH... --out DIR.

PATH is an image, a folder or a glob.
"""

import argparse
import glob
from pathlib import Path

from segkit.cli import common, instances
from segkit.registry import ConfigError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".npy"}


def main(argv: list[str] | None = None) -> int:
    """argv: arguments after the command -> exit code."""
    arguments = common.parser("predict", __doc__ or "")
    arguments.add_argument("config", help="a config file, or 'none' for the config inside the checkpoint")
    arguments.add_argument("checkpoint")
    arguments.add_argument("paths", nargs="+", metavar="PATH", help="images, folders and globs")
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
    arguments.add_argument("--tta", action="store_true")
    arguments.add_argument("--slide", action="store_true")
    arguments.add_argument("--device")
    common.add_options(arguments)
    return common.run(_predict, arguments.parse_args(argv))


def find_images(paths: list[str]) -> list[Path]:
    """Images, folders (with everything below) and globs -> files, each once, in the order named; none is an error."""
    found: dict[Path, None] = {}
    for path in paths:
        place = Path(path)
        inside = (
            sorted(place.rglob("*")) if place.is_dir() else [Path(p) for p in sorted(glob.glob(path, recursive=True))]
        )
        images = [file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not images:
            raise ConfigError(f"{path}: no image there; images end in {', '.join(sorted(SUFFIXES))}")
        found |= dict.fromkeys(images)
    return list(found)


def _predict(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segkit import api
    from segkit.cli.test import with_switches
    from segkit.data.files.images import read_image
    from segkit.engine.setup import pick_device
    from segkit.viz import draw

    images = find_images(args.paths)
    config = None if args.config.lower() == "none" else args.config
    model = api.load_model(config, args.checkpoint, pick_device(args.device), tuple(args.cfg_options))
    model.config["inference"] = with_switches(model.config, tta=args.tta, slide=args.slide)
    runner = api.build_runner(model.config)
    palette = [tuple(color) for color in model.palette] if model.palette else draw.default_palette(model.num_classes)
    out = Path(args.out)
    names = _names(images)
    results = instances.Results(tuple(model.classes or ()), args.annotations)
    has_instances = False
    for path in tqdm(images, unit="image", disable=None):
        image = read_image(path)
        prediction = api.predict(model, image, runner)
        has_instances = "masks" in prediction
        if has_instances:
            results.add(path, names[path], prediction)
            drawn = instances.picture(draw.to_rgb(image), prediction, model, score=args.score)
        else:
            draw.save_label_png(out / "labels" / f"{names[path]}.png", prediction["labels"], palette)
            drawn = draw.overlay(draw.to_rgb(image), prediction["labels"], palette)
        draw.save_png(out / "overlays" / f"{names[path]}.png", drawn)
    found = results.save(out / "results.json") if has_instances else out / "labels"
    print(f"{len(images)} images: {found}, {out}/overlays")
    return 0


def _names(images: list[Path]) -> dict[Path, str]:
    """One name per image: its stem, with the folders in front where two share it."""
    stems = [image.stem for image in images]
    return {i: i.stem if stems.count(i.stem) == 1 else "_".join([*i.parts[-3:-1], i.stem]) for i in images}
