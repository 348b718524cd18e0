"""What the images of a folder or config hold, and which keys a config needs for them: segkit analyze values."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.files import write_whole
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.data.dataset import Dataset, Reading
    from segkit.data.files.image_facts import Collection, Moments

BINS = 64
"""Bars of the histogram of each channel."""

MOST_NAMED = 3
"""Files named per finding; JSON has all."""

SPLITS = ("train", "val", "test")


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Adds the arguments of `segkit analyze values`."""
    arguments.add_argument("source", metavar="CONFIG_OR_FOLDER", help="a config, or a folder of images")
    arguments.add_argument("--split", choices=SPLITS, default="train", help="section of the config")
    arguments.add_argument("--limit", type=int, default=0, metavar="N", help="images read, evenly spread; 0 for all")
    arguments.add_argument("--workers", type=int, default=0, help="processes that read images; 0 reads in this one")
    arguments.add_argument("--out", help="folder of the picture and the JSON; default work_dirs/<name>")
    common.add_options(arguments)


def run(args: argparse.Namespace) -> int:
    """Runs `segkit analyze values`; returns the exit code."""
    from segkit.data.files.image_advice import advice, reading_of_advice
    from segkit.data.files.image_facts import Collection
    from segkit.runners.training import run_folder
    from segkit.viz.plots import histograms

    if args.workers < 0 or args.limit < 0:
        raise ConfigError(f"--workers {args.workers}, --limit {args.limit}: must be 0 or more")
    paths, dataset, normalization = _images(args)
    failures: dict[Path, str] = {}
    files = Collection.of(_facts(paths, args.workers, failures, dataset))
    if not files.files:
        common.print_failures(failures, len(paths), "images")
        raise ConfigError(f"{args.source}: none of {len(paths)} images can be read")
    found = advice(files)
    reading, channels = reading_of_advice(found) if dataset is None else (dataset.reading, 0)
    read = _as_read(paths, reading, channels, dataset)
    content = summary(files)
    content["keys"] = {item.key: item.value for item in found if item.is_sure}
    content["as_read"] = _of_model(read, *normalization)
    print("\n".join(lines(files, content)))
    where = "the data set" if dataset is None else "the data set, beside what the config has"
    print(f"for {where} (train.dataset, val.dataset, test.dataset):" if found else "the data set needs no key")
    for item in found:
        print(f"    {item.line}")
    print("\n".join(_model_lines(content["as_read"])))
    folder = run_folder(args.out, args.source)
    picture, numbers = folder / "values.png", folder / "values.json"
    histograms(histogram(files), picture, f"{args.source}: stored values")
    write_whole(numbers, json_of(content))
    print(f"{picture}\n{numbers}")
    if failures:
        common.print_failures(failures, len(paths), "images")
    return 1 if failures else 0


def _images(args: argparse.Namespace) -> tuple[list[str], "Dataset | None", tuple[Any, Any]]:
    """The image files, the data set of a config, and the mean and std of its model; None where it states none."""
    from segkit.config import load_config
    from segkit.data.files.images import IMAGE_SUFFIXES
    from segkit.data.files.pairs import walk_files
    from segkit.engine.setup import build_dataset
    from segkit.schema import check

    dataset, normalization = None, (None, None)
    if common.is_config(args.source):
        cfg = load_config(args.source, args.cfg_options)
        check(cfg, needed=())
        section, at = common.data_section(cfg, args.split)
        dataset = build_dataset(section["dataset"], f"{at}.dataset")
        paths = list(dict.fromkeys(dataset.path(index) for index in range(len(dataset))))
        backbone = (cfg.get("model") or {}).get("backbone") or {}
        normalization = backbone.get("mean"), backbone.get("std")
        if not any(Path(path).is_file() for path in paths) and dataset.content(0) is None:
            name = type(dataset).__name__
            raise ConfigError(f"{at}.dataset: images of {name} are no files; values can be looked at in files alone")
    else:
        folder = Path(args.source)
        if not folder.is_dir():
            raise ConfigError(f"{args.source}: no such folder, and no config, which ends in .py or .yaml")
        # masks that lie beside images would be taken for dark images
        inner = next((folder / name for name in ("images", "Images") if (folder / name).is_dir()), folder)
        paths = list(walk_files(inner, IMAGE_SUFFIXES))
        if not paths:
            raise ConfigError(f"{folder}: holds no image; images end in {', '.join(IMAGE_SUFFIXES)}")
    if 0 < args.limit < len(paths):
        step = (len(paths) - 1) / max(args.limit - 1, 1)
        paths = [paths[round(number * step)] for number in range(args.limit)]
    return paths, dataset, normalization


class _Contents:
    """The bytes of the images of a data set by their paths; a class, which worker processes can be given."""

    def __init__(self, dataset: "Dataset"):
        self.dataset = dataset
        self.index_of = {dataset.path(index): index for index in range(len(dataset))}

    def __call__(self, path: str) -> bytes | None:
        return self.dataset.content(self.index_of[path])


def _facts(
    paths: list[str], workers: int, failures: dict[Path, str], dataset: "Dataset | None" = None
) -> Iterator[Any]:
    """Measures the files, and collects why some cannot be."""
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    from segkit.data.files.image_facts import FactsByNumber

    content = None if dataset is None else _Contents(dataset)
    loader: DataLoader[Any] = DataLoader(
        FactsByNumber(paths, content), batch_size=None, num_workers=workers, collate_fn=_itself
    )
    for path, facts in zip(paths, tqdm(loader, "reading images", len(paths), unit="image", disable=None, leave=False)):
        if isinstance(facts, str):
            failures[Path(path)] = facts
        else:
            yield facts


def _itself(value: Any) -> Any:
    return value


def _as_read(paths: list[str], reading: "Reading", channels: int, dataset: "Dataset | None") -> "Moments":
    """The moments of the images as a data set reads them; pixels without data do not count."""
    from segkit.data.dataset import without_missing
    from segkit.data.files.image_facts import Moments
    from segkit.data.files.images import read_image
    from segkit.files import DataError

    total = None
    index_of = {} if dataset is None else {dataset.path(index): index for index in range(len(dataset))}
    for path in paths:
        try:
            if dataset is None:
                image = read_image(path, channels, **reading._asdict())
                image, is_missing = without_missing(image, reading.nodata, path, is_marked=True)
            else:
                image, is_missing = dataset.filled(index_of[path])
        except (DataError, OSError):
            continue  # named beside the facts, or of other channels than most
        moments = Moments.of(image, is_missing)
        if total is None:
            total = moments
        elif len(total.mean) == len(moments.mean):
            total = total + moments
    return Moments.none(3) if total is None else total


def summary(files: "Collection") -> dict[str, Any]:
    """Returns all that was found as a nested dict, ready for JSON."""
    percentiles = files.percentiles((1.0, 50.0, 99.0))
    suspects: dict[str, dict[str, float]] = {}
    for facts in files.files:
        for suspect in facts.suspects:
            row = suspects.setdefault(f"{suspect.value:.9g}", dict(files=0, share=0.0, sure=0))
            row["files"] += 1
            row["share"] += suspect.share / len(files.files)
            row["sure"] += suspect.is_sure
    pixels = sum(facts.size[0] * facts.size[1] for facts in files.files)
    return dict(
        images=len(files.files),
        kinds=files.count("kind"),
        types=files.count("dtype"),
        sizes={f"{w}x{h}": n for (h, w), n in _sizes(files).items()},
        bits_declared=max(facts.bits for facts in files.files),
        bits_in_use=files.bits_in_use,
        channels={
            str(count): dict(
                low=moments.low.tolist(),
                high=moments.high.tolist(),
                mean=moments.mean.tolist(),
                std=moments.std.tolist(),
            )
            for count, moments in files.moments.items()
        },
        percentiles={name: percentiles[row].tolist() for row, name in enumerate(("p1", "p50", "p99"))},
        nan_share=sum(facts.num_nan for facts in files.files) / max(pixels, 1),
        infinite_share=sum(facts.num_infinite for facts in files.files) / max(pixels, 1),
        nodata=suspects,
        black=[facts.path for facts in files.files if facts.is_black],
        constant=[facts.path for facts in files.files if facts.is_constant and not facts.is_black],
        turned=files.turned,
    )


def _sizes(files: "Collection") -> dict[tuple[int, int], int]:
    sizes: dict[tuple[int, int], int] = {}
    for facts in files.files:
        sizes[facts.size] = sizes.get(facts.size, 0) + 1
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def lines(files: "Collection", content: dict[str, Any]) -> list[str]:
    """Returns the findings as lines of text."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in content["kinds"].items())
    types = ", ".join(content["types"])
    sizes = list(content["sizes"])
    shown = ", ".join(sizes[:MOST_NAMED]) + (f" and {len(sizes) - MOST_NAMED} more" if len(sizes) > MOST_NAMED else "")
    bits = f", {content['bits_in_use']} of {content['bits_declared']} bits in use" if content["bits_in_use"] else ""
    text = [f"{content['images']} images: {kinds}; {types}{bits}; sizes {shown}"]
    if len(content["types"]) > 1 or len(content["channels"]) > 1:
        text.append(f"mixed: types {types}; bands {', '.join(content['channels'])}")
    text.append(f"{'band':>4} {'low':>11} {'p1':>11} {'mean':>11} {'std':>11} {'p99':>11} {'high':>11}")
    moments, percent = files.moments[files.channels], content["percentiles"]
    for band in range(files.channels):
        row = (moments.low, percent["p1"], moments.mean, moments.std, percent["p99"], moments.high)
        text.append(f"{band + 1:>4} " + " ".join(f"{float(values[band]):>11.5g}" for values in row))
    for name, share in (("NaN", content["nan_share"]), ("infinite", content["infinite_share"])):
        if share:
            text.append(f"{name}: {100 * share:.3g} % of the pixels")
    for name in ("black", "constant", "turned"):
        if paths := content[name]:
            what = {"turned": "of an EXIF orientation other than 1", "constant": "of one color"}.get(name, name)
            more = " ..." if len(paths) > MOST_NAMED else ""
            text.append(f"{len(paths)} images {what}: {', '.join(paths[:MOST_NAMED])}{more}")
    return text


def _of_model(read: "Moments", mean: Any, std: Any) -> dict[str, Any]:
    """What a model's normalization makes of the images as they are read, ready for JSON."""
    import numpy as np

    from segkit.data.files.image_values import IMAGENET

    channels = len(read.mean)
    center = np.resize(np.atleast_1d(np.asarray(IMAGENET[0] if mean is None else mean, np.float64)), channels)
    scale = np.resize(np.atleast_1d(np.asarray(IMAGENET[1] if std is None else std, np.float64)), channels)
    return dict(
        mean=read.mean.tolist(),
        std=read.std.tolist(),
        normalized_mean=((read.mean - center) / scale).tolist(),
        normalized_std=(read.std / scale).tolist(),
    )


def _model_lines(as_read: dict[str, Any]) -> list[str]:
    mean, std, normal, spread = (
        ", ".join(f"{value:.4g}" for value in as_read[name])
        for name in ("mean", "std", "normalized_mean", "normalized_std")
    )
    comma = "," if len(as_read["mean"]) == 1 else ""
    return [
        f"as they are read so, the model's normalization makes them a mean of ({normal}) and a std of ({spread})",
        "for the model (model.backbone), the data's own in place of the encoder's, where it has no pretrained weights:",
        f"    mean=({mean}{comma}), std=({std}{comma})",
    ]


def histogram(files: "Collection") -> dict[str, tuple[Any, Any]]:
    """Returns edges [BINS + 1] and shares in percent [BINS] of the sampled values of each band, by its name."""
    import numpy as np

    values = np.concatenate(files.samples[files.channels])
    if not len(values):
        return {}
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return {
        f"band {band + 1}": (edges, 100 * np.histogram(values[:, band], edges)[0] / len(values))
        for band in range(files.channels)
    }


def json_of(content: dict[str, Any]) -> str:
    """Returns the JSON of a summary; numbers that are not finite become null."""
    return json.dumps(_finite(content), indent=1) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
