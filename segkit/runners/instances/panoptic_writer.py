"""Predicted segments as files in COCO's panoptic format, and overlays. n segments, H W image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from segkit import dist
from segkit.data.files.panoptic import colors_of, read_panoptic
from segkit.files import DataError, write_whole
from segkit.ops.instances.segments import segment_map
from segkit.runners.instances.drawn import found_in
from segkit.runners.instances.writer import ids_by_name
from segkit.types import Color, InstancePrediction, Prediction
from segkit.viz import draw


class PanopticWriter:
    """Writes panoptic.json, panoptic/NAME.png and overlays/NAME.png (https://cocodataset.org/#format-results).

    Args:
        folder: takes the files.
        classes: names of the model's labels.
        palette: colors of the labels.
        things: labels of the classes whose segments are apart, for the list of categories.
        annotations: a panoptic JSON file that gives images their ids by file name and categories theirs by name.
            Without it an image's id is its name and a category's id the label counted from 1.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str] = (),
        palette: Sequence[Color] = (),
        *,
        things: Sequence[int] = (),
        annotations: str | Path | None = None,
    ):
        self.folder, self.classes, self.palette = folder, tuple(classes), tuple(palette)
        self.entries: list[dict] = []
        self._categories = [
            dict(id=label + 1, name=name, isthing=int(label in things)) for label, name in enumerate(self.classes)
        ]
        self._images: dict[str, int] | None = None
        if annotations is not None:
            content = read_panoptic(Path(annotations))
            entries = ids_by_name(Path(annotations), self.classes, content.categories, content.images)
            self._categories, self._images = entries

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Writes the segments and the overlay of one image; see Writer."""
        segments = cast(InstancePrediction, prediction)
        image_id: str | int = name
        if self._images is not None:
            if path.name not in self._images:
                raise DataError(f"{path}: the annotations list no image of this name; predict without --annotations")
            image_id = self._images[path.name]
        height, width = image.shape[:2]
        ids = segment_map(segments["masks"], (height, width), name)
        areas = np.bincount(ids.ravel(), minlength=len(segments["masks"]) + 1).tolist()
        scores, labels, boxes = (np.asarray(segments[key]).tolist() for key in ("scores", "labels", "boxes"))
        rows = []
        for number, (score, label, (x0, y0, x1, y1)) in enumerate(zip(scores, labels, boxes, strict=True), 1):
            category = self._categories[label]["id"] if self._categories else label + 1
            box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
            rows.append(
                dict(id=number, category_id=category, area=areas[number], bbox=box, iscrowd=0, score=round(score, 6))
            )
        self.entries.append(dict(image_id=image_id, file_name=f"{name}.png", segments_info=rows))
        draw.save_png(self.folder / "panoptic" / f"{name}.png", colors_of(ids))
        draw.save_png(self.folder / "overlays" / f"{name}.png", self.picture(image, prediction))

    def picture(self, image: np.ndarray, prediction: Prediction) -> np.ndarray:
        """Draws the segments over the image [H,W,C] with their classes; uint8 [H',W',3]."""
        found = found_in(prediction, 0.0)
        return draw.draw_instances(
            draw.to_rgb(image), found.masks, found.labels, classes=self.classes, palette=self.palette
        )

    def close(self, order: Sequence[str] = ()) -> Path:
        """Writes panoptic.json, on the main process with the segments of all in the images' order. Returns its path."""
        path = self.folder / "panoptic.json"
        found = {entry["file_name"]: entry for share in dist.gather_objects(self.entries) for entry in share}
        if dist.is_main():
            names = [f"{name}.png" for name in order] or found
            annotations = [found[name] for name in names if name in found]
            write_whole(path, json.dumps(dict(annotations=annotations, categories=self._categories)))
        return path
