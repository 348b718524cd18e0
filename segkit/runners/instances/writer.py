"""Predicted instances as files: results in COCO's format and overlays."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from segkit.data.files.coco_json import read_coco
from segkit.data.instances.coco import file_name
from segkit.files import DataError, write_whole
from segkit.registry import ConfigError
from segkit.runners.instances.drawn import found_in
from segkit.types import Color, InstancePrediction, Prediction
from segkit.viz import draw


class InstanceWriter:
    """Writes results.json (https://cocodataset.org/#format-results) and overlays/NAME.png.

    Args:
        folder: takes the files.
        classes: names of the model's labels.
        palette: colors of the labels.
        annotations: a COCO JSON file that gives images their ids by file name and categories theirs by name. Without it
            an image's id is its name and a category's id the label counted from 1.
        score: least score of the instances that are drawn.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str] = (),
        palette: Sequence[Color] = (),
        *,
        annotations: str | Path | None = None,
        score: float = 0.3,
    ):
        self.folder, self.classes, self.palette, self.score = folder, tuple(classes), tuple(palette), score
        self._of_image: dict[str, list[dict]] = {}
        self._categories: dict[int, int] = {}
        self._images: dict[str, int] | None = None
        if annotations is not None:
            self._read_ids(Path(annotations))

    def _read_ids(self, path: Path) -> None:
        coco = read_coco(path)
        categories, self._images = ids_by_name(path, self.classes, coco.categories, coco.images)
        self._categories = {label: category["id"] for label, category in enumerate(categories)}

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Takes in the instances of one image and writes its overlay; see Writer."""
        instances = cast(InstancePrediction, prediction)
        image_id: str | int = name
        if self._images is not None:
            if path.name not in self._images:
                raise DataError(f"{path}: the annotations list no image of this name; predict without --annotations")
            image_id = self._images[path.name]
        scores, labels, boxes = (np.asarray(instances[key]).tolist() for key in ("scores", "labels", "boxes"))
        entries = self._of_image.setdefault(name, [])
        for mask, score, label, (x0, y0, x1, y1) in zip(instances["masks"], scores, labels, boxes, strict=True):
            code = dict(size=[int(side) for side in mask["size"]], counts=mask["counts"].decode("ascii"))
            entries.append(
                dict(
                    image_id=image_id,
                    category_id=self._categories.get(label, label + 1),
                    score=round(score, 6),
                    bbox=[round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                    segmentation=code,
                )
            )
        draw.save_png(self.folder / "overlays" / f"{name}.png", self.picture(image, prediction))

    @property
    def entries(self) -> list[dict]:
        """The instances of this process's images, as they go to results.json."""
        return [entry for of_image in self._of_image.values() for entry in of_image]

    def picture(self, image: np.ndarray, prediction: Prediction) -> np.ndarray:
        """Draws the instances of at least the least score over the image [H,W,C]; uint8 [H',W',3]."""
        found = found_in(prediction, self.score)
        return draw.draw_instances(
            draw.to_rgb(image),
            found.masks,
            found.labels,
            boxes=found.boxes,
            scores=found.scores,
            classes=self.classes,
            palette=self.palette,
        )

    def close(self, order: Sequence[str] = ()) -> Path:
        """Writes results.json, on the main process with the instances of all in the images' order. Returns its path."""
        path, shares, writes = self.folder / "results.json", [self._of_image], True
        if "torch" in sys.modules:  # exported graphs are run without it, in one process
            from segkit import dist

            shares, writes = dist.gather_objects(self._of_image), dist.is_main()
        found = {name: entries for share in shares for name, entries in share.items()}
        if writes:
            names = order or found
            write_whole(path, json.dumps([entry for name in names for entry in found.get(name, ())]))
        return path


def ids_by_name(
    path: Path, classes: Sequence[str], categories: Sequence[dict], images: Sequence[dict]
) -> tuple[list[dict], dict[str, int]]:
    """Finds classes and images in an annotation file.

    Args:
        path: the file, for errors.
        classes: names of the model's labels.
        categories, images: entries of the file.

    Returns:
        The category of each class, and the id of each image by its file name.

    Raises:
        ConfigError: a class has no name or no category, or an image no file name.
    """
    if not classes:
        raise ConfigError(
            f"--annotations {path}: the checkpoint does not name its classes, so that they cannot be "
            "found there; convert it with a config whose data set names them, or predict without --annotations"
        )
    named = {category["name"]: category for category in categories}
    if absent := [name for name in classes if name not in named]:
        raise ConfigError(f"--annotations {path}: has no category '{absent[0]}', a class of the model")
    numbers = {}
    for image in images:
        if not (image.get("file_name") or image.get("coco_url")):
            raise ConfigError(f"--annotations {path}: image {image['id']} has no file_name to find it by; add it")
        numbers[Path(file_name(image)).name] = image["id"]
    return [named[name] for name in classes], numbers
