"""Shows samples before and after augmentation: segkit browse CONFIG [--count 8] [--split val]."""

import argparse
from typing import Any

import numpy as np

from segkit.cli import common
from segkit.config import Config
from segkit.registry import ConfigError
from segkit.types import Sample

TITLES = ("before", "before, labels", "after", "after, labels")


def main(argv: list[str] | None = None) -> int:
    """argv: arguments after the command -> exit code; writes one PNG and prints its path."""
    arguments = common.parser("browse", __doc__ or "")
    arguments.add_argument("config", help="a .py or .yaml config file")
    arguments.add_argument("--count", type=int, default=8, help="samples, spread evenly over the data set")
    arguments.add_argument("--split", choices=("train", "val", "test"), default="train", help="section of the config")
    arguments.add_argument("--out", default="browse.png", help="the picture's file")
    arguments.add_argument("--cell", type=int, default=280, help="longer side of one picture in pixels")
    common.add_options(arguments)
    return common.run(_browse, arguments.parse_args(argv))


def _browse(args: argparse.Namespace) -> int:
    cfg = common.load_checked(args.config, args.cfg_options)
    from segkit.viz import draw

    if args.count < 1 or args.cell < 32:
        raise ConfigError("--count is at least 1 and --cell at least 32")
    dataset, items = _items(cfg, args.split)
    palette = tuple(dataset.palette) or draw.default_palette(len(dataset.classes))
    indices = np.linspace(0, len(dataset) - 1, min(args.count, len(dataset))).round().astype(int)
    rows, captions = [], []
    for position, index in enumerate(indices):
        # the data set's own random choices are those that the augmented sample starts from
        before = dataset.sample(int(index), np.random.default_rng([items.seed, position]))
        after = items[(position, int(index))]
        rows.append(
            [
                before["image"],
                drawn(before, dataset.classes, palette),
                after["image"],
                drawn(after, dataset.classes, palette),
            ]
        )
        captions.append(f"{before['meta']['path']}   {_size(before)} -> {_size(after)}")
    sheet = draw.grid(rows, TITLES, captions, dataset.classes, palette, args.cell)
    try:
        print(draw.save_png(args.out, sheet))
    except OSError as error:
        raise ConfigError(f"--out: {error}") from error
    return 0


def _items(cfg: Config, split: str) -> tuple[Any, Any]:
    """-> the data set of the section and its transformed items by (position, index), as training makes them.

    Of several named test sets the first is shown. In evaluation the transforms see the image alone.
    """
    from segkit.data.loader import TrainItems
    from segkit.engine.setup import build_dataset, build_transforms

    section, at = common.data_section(cfg, split)
    dataset = build_dataset(section["dataset"], f"{at}.dataset")
    transforms = build_transforms(section.get("transforms", []), f"{at}.transforms")
    if split != "train":
        transforms = [_on_image(transform) for transform in transforms]
    return dataset, TrainItems(dataset, transforms, (cfg.get("loop") or {}).get("seed", 0))


def _on_image(transform: Any) -> Any:
    """-> the transform, applied to image and meta only: labels stay at their original size."""

    def apply(sample: Sample, rng: np.random.Generator) -> Sample:
        return Sample({**sample, **transform(Sample(image=sample["image"], meta=sample["meta"]), rng)})

    return apply


def drawn(sample: Sample, classes: tuple[str, ...], palette: tuple) -> np.ndarray:
    """The sample's labels over its image: clicks and their target, instances with boxes, object layers, or classes.

    -> uint8 [H,W,3], small images enlarged where names are written.
    """
    from segkit.viz import draw

    image = _under_labels(sample)
    mask = sample.get("mask")
    if mask is not None and np.issubdtype(mask.dtype, np.floating):
        return draw.draw_clicks(image, mask > 0.5, sample.get("clicks", np.zeros((0, 3), np.float32)))
    try:
        if sample.get("boxes") is not None or sample.get("masks") is not None:
            labels = sample.get("labels", np.zeros(0, np.int64))
            return draw.draw_instances(image, sample.get("masks"), labels, sample.get("boxes"), None, classes, palette)
        if mask is None and sample.get("layers") is not None:
            return draw.overlay(image, _top_object(sample["layers"]), draw.default_palette(256), ignore=0)
        return image if mask is None else draw.overlay(image, mask, palette)
    except (ValueError, IndexError) as error:
        raise ConfigError(
            f"{sample['meta']['path']}: {error}; compare its labels with the data set's classes"
        ) from error


def _under_labels(sample: Sample) -> np.ndarray:
    """-> uint8 [H,W,3]: the image at the size of its labels, which in evaluation is the original one."""
    import cv2

    from segkit.viz import draw

    image = draw.to_rgb(sample["image"])
    labels = sample.get("mask")
    if labels is None and isinstance(sample.get("masks"), np.ndarray) and len(sample["masks"]):
        labels = sample["masks"][0]
    if labels is None or labels.shape == image.shape[:2]:
        return image
    height, width = sample["meta"].get("valid", image.shape[:2])
    return cv2.resize(image[:height, :width], labels.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _top_object(layers: np.ndarray) -> np.ndarray:
    """layers: uint8 [H,W,L] -> uint8 [H,W]: the value of the last layer that has one, 0 where none has."""
    top = np.zeros(layers.shape[:2], np.uint8)
    for layer in np.moveaxis(layers, 2, 0):
        top = np.where(layer > 0, layer, top)
    return top


def _size(sample: Sample) -> str:
    height, width = sample["image"].shape[:2]
    return f"{width}x{height}"
