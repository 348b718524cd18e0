"""Shows samples before and after augmentation: segkit browse CONFIG [--count 8] [--split val]."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from segkit.cli import common
from segkit.config import Config
from segkit.files import need_writable
from segkit.registry import ConfigError
from segkit.types import Color, Sample

if TYPE_CHECKING:
    from segkit.data.dataset import Dataset
    from segkit.data.loader import TrainItems

Transform: TypeAlias = Callable[[Sample, np.random.Generator], Sample]

TITLES = ("before", "before, labels", "after", "after, labels")


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit browse`, which writes one PNG and prints its path; returns the exit code."""
    arguments = common.parser("browse", __doc__ or "")
    arguments.add_argument("config", help=common.CONFIG_HELP)
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
        raise ConfigError(f"--count {args.count} --cell {args.cell}: the count must be 1 or more, the cell 32 or more")
    need_writable(args.out, "choose another --out")
    dataset, items = _items(cfg, args.split)
    palette = tuple(dataset.palette) or draw.default_palette(len(dataset.classes))
    indices = np.linspace(0, len(dataset) - 1, min(args.count, len(dataset))).round().astype(int)
    rows, captions = [], []
    for position, index in enumerate(indices):
        # seeded as the augmented sample is, so that the data set makes the same random choices
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
    print(draw.save_png(args.out, sheet))
    return 0


def _items(cfg: Config, split: str) -> "tuple[Dataset, TrainItems]":
    """The data set of the section, and its transformed items by (position, index), as training makes them.

    Of several named test sets the first is shown. In evaluation the transforms change the image alone.
    """
    from segkit.data.loader import TrainItems
    from segkit.engine.setup import build_dataset, build_transforms

    section, at = common.data_section(cfg, split)
    dataset = build_dataset(section["dataset"], f"{at}.dataset")
    transforms = build_transforms(section.get("transforms", []), f"{at}.transforms", dataset.ignore)
    if split != "train":
        transforms = [_on_image(transform) for transform in transforms]
    return dataset, TrainItems(dataset, transforms, (cfg.get("loop") or {}).get("seed", 0))


def _on_image(transform: Transform) -> Transform:
    """The transform applied to image and meta only: labels stay at their original size."""

    def apply(sample: Sample, rng: np.random.Generator) -> Sample:
        return Sample({**sample, **transform(Sample(image=sample["image"], meta=sample["meta"]), rng)})

    return apply


def drawn(sample: Sample, classes: Sequence[str], palette: Sequence[Color]) -> np.ndarray:
    """Draws the labels of a sample over its image: clicks and their target, instances, object layers, or classes.

    Args:
        sample: not yet collated.
        classes: K names.
        palette: K colors.

    Returns:
        uint8 [H,W,3]; small images are enlarged where names are written.

    Raises:
        ConfigError: the labels do not fit the data set's classes.
    """
    from segkit.viz import draw

    image = _under_labels(sample)
    mask = sample.get("mask")
    if mask is not None and np.issubdtype(mask.dtype, np.floating):
        return draw.draw_clicks(image, mask > 0.5, sample.get("clicks", np.zeros((0, 3), np.float32)))
    try:
        if sample.get("boxes") is not None or sample.get("masks") is not None:
            labels = sample["labels"].tolist() if "labels" in sample else []
            masks = sample.get("masks")
            drawn = None if masks is None else list(masks)
            return draw.draw_instances(image, drawn, labels, sample.get("boxes"), None, classes, palette)
        if mask is None and sample.get("layers") is not None:
            return draw.overlay(image, _top_object(sample["layers"]), draw.default_palette(256), ignore=0)
        if mask is not None and mask.ndim == 3:
            return draw.overlay_masks(image, mask.transpose(2, 0, 1), palette)
        return image if mask is None else draw.overlay(image, mask, palette)
    except (ValueError, IndexError) as error:
        raise ConfigError(
            f"{sample['meta']['path']}: {error}; check its labels against the data set's classes"
        ) from error


def _under_labels(sample: Sample) -> np.ndarray:
    """The image at the size of its labels, which in evaluation is the original one, uint8 [H,W,3]."""
    import cv2

    from segkit.viz import draw

    image = draw.to_rgb(sample["image"])
    labels, masks = sample.get("mask"), sample.get("masks")
    if labels is None and isinstance(masks, np.ndarray) and len(masks):
        labels = masks[0]
    if labels is None or labels.shape[:2] == image.shape[:2]:
        return image
    height, width = sample["meta"].get("valid", image.shape[:2])
    return cv2.resize(image[:height, :width], labels.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _top_object(layers: np.ndarray) -> np.ndarray:
    """Value of the last layer that is not 0 at a pixel, uint8 [H,W]; layers: uint8 [H,W,L]."""
    top = np.zeros(layers.shape[:2], np.uint8)
    for layer in np.moveaxis(layers, 2, 0):
        top = np.where(layer > 0, layer, top)
    return top


def _size(sample: Sample) -> str:
    height, width = sample["image"].shape[:2]
    return f"{width}x{height}"
