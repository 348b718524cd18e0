"""Statistics of data sets, comparison of runs: segkit analyze classes | values | duplicates | clicks."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import clicks, common, duplicates, values
from segkit.config import Config
from segkit.files import write_whole
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.data.dataset import Dataset
    from segkit.data.statistics import ClassStatistics

SPLITS = ("train", "val", "test")
COLUMNS = {
    "inverse": "inverse",
    "median_frequency": "median",
    "enet": "enet",
    "effective_number": "eff. pixels",
    "effective_number_images": "eff. images",
}
"""Titles of the columns with class weights, by the name of the law that the weights follow."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit analyze`, which prints tables and draws a picture; returns the exit code."""
    arguments = common.parser("analyze", (__doc__ or "").partition(":")[0])
    what = arguments.add_subparsers(dest="what", required=True)
    classes = what.add_parser("classes", help="how often each class occurs, and class weights that follow from it")
    classes.add_argument("config", help="a .py or .yaml config file; only its data section is needed")
    classes.add_argument("--split", choices=SPLITS, default="train", help="section of the config")
    classes.add_argument("--workers", type=int, default=0, help="processes that read masks; 0 reads in this one")
    classes.add_argument("--out", help="folder of the picture and the JSON; default work_dirs/<config name>")
    classes.add_argument("--refresh", action="store_true", help="read the masks even where the cache has the counts")
    common.add_options(classes)
    classes.set_defaults(command=_classes)
    copies = what.add_parser("duplicates", help="images of val and test that look like images of train")
    duplicates.add_arguments(copies)
    copies.set_defaults(command=duplicates.find)
    runs = what.add_parser("clicks", help="interactive runs beside each other: mIoU@k in one plot, clicks per object")
    clicks.add_arguments(runs)
    runs.set_defaults(command=clicks.compare)
    images = what.add_parser(
        "values", help="what image files hold, and which keys a data set and a model need for them"
    )
    values.add_arguments(images)
    images.set_defaults(command=values.run)
    args = arguments.parse_args(argv)
    return common.run(args.command, args)


def _classes(args: argparse.Namespace) -> int:
    from segkit.config import load_config
    from segkit.data.statistics import class_statistics
    from segkit.runners.training import run_folder
    from segkit.schema import check
    from segkit.viz.plots import bars

    if args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: must be 0 or more processes")
    cfg = load_config(args.config, args.cfg_options)
    check(cfg, needed=())
    dataset = _dataset(cfg, args.split)
    folder = run_folder(args.out, args.config)
    statistics = class_statistics(dataset, workers=args.workers, refresh=args.refresh)
    about = summary(statistics)
    print(
        f"{type(dataset).__name__}, {args.split}: {statistics.num_images:,} masks, "
        f"{int(statistics.pixels.sum()):,} labelled pixels"
    )
    print("\n".join(table(about)))
    print(_ignored(statistics))
    picture, numbers = folder / f"classes_{args.split}.png", folder / f"classes_{args.split}.json"
    shares = {name: row["pixels_percent"] for name, row in about["classes"].items()}
    bars(shares, picture, f"{type(dataset).__name__}, {args.split}: share of the labelled pixels in %")
    _write(numbers, about)
    print(f"{picture}\n{numbers}")
    return 0


def _dataset(cfg: Config, split: str) -> "Dataset":
    """The data set of the section; of several named test sets the first."""
    from segkit.engine.setup import build_dataset

    section, at = common.data_section(cfg, split)
    return build_dataset(section["dataset"], f"{at}.dataset")


def summary(statistics: "ClassStatistics") -> dict[str, Any]:
    """Returns counts, shares in percent and the weights of every law as a nested dict, ready for JSON."""
    weights = {law: statistics.weights(law) for law in COLUMNS}
    pixels, images = 100 * statistics.pixel_frequency(), 100 * statistics.image_frequency()
    classes = {}
    for i, name in enumerate(statistics.classes):
        classes[name] = dict(
            pixels=int(statistics.pixels[i]),
            images=int(statistics.images[i]),
            pixels_of_images=int(statistics.pixels_of_images[i]),
            pixels_percent=float(pixels[i]),
            images_percent=float(images[i]),
            weights={law: values[i] for law, values in weights.items()},
        )
    ignored = dict(pixels=statistics.ignored, images=statistics.images_with_ignored)
    return dict(images=statistics.num_images, ignored=ignored, classes=classes, class_weight=weights)


def table(about: dict[str, Any]) -> list[str]:
    """Returns the lines of a table with one class each.

    Args:
        about: of summary.
    """
    width = max(len("class"), *(len(name) for name in about["classes"]))
    head = f"{'class':{width}} {'pixels':>15} {'%':>7} {'images':>8} {'%':>6}"
    lines = [head + "".join(f" {title:>11}" for title in COLUMNS.values())]
    for name, row in about["classes"].items():
        counts = f"{row['pixels']:>15,} {row['pixels_percent']:>7.3f} {row['images']:>8,} {row['images_percent']:>6.1f}"
        lines.append(f"{name:{width}} {counts}" + "".join(f" {row['weights'][law]:>11.4g}" for law in COLUMNS))
    return lines


def _ignored(statistics: "ClassStatistics") -> str:
    total = int(statistics.pixels.sum()) + statistics.ignored
    share = 100 * statistics.ignored / max(total, 1)
    return (
        f"ignored: {statistics.ignored:,} pixels, {share:.2f} % of all, in {statistics.images_with_ignored:,} of "
        f"{statistics.num_images:,} images"
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")
