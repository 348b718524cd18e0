"""What commands do for models of instances: tables of average precision, results in COCO's format, pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from segkit.registry import ConfigError
from segkit.types import Prediction

HEADINGS = {
    "segm": "masks",
    "bbox": "boxes",
    "VOC": "masks, one IoU each",
    "filled": "filled predicted boxes as masks",
    "matched": "masks of objects whose box is found",
}
"""Of the sections that metrics of instances have in the scores."""


def tables(scores: dict) -> list[str]:
    """scores: of an evaluation -> lines of text: per section a row of names and a row of values, and AP per class."""
    lines: list[str] = []
    for name, heading in HEADINGS.items():
        section = scores.get(name)
        if not isinstance(section, dict):
            continue
        lines += _of_classes(section.get("per_class") or {})
        values = {key: value for key, value in section.items() if not isinstance(value, dict)}
        widths = [max(len(key), 6) + 2 for key in values]
        lines.append(f"{name} ({heading})")
        lines.append("".join(f"{key:>{width}}" for key, width in zip(values, widths)))
        lines.append("".join(f"{_number(value):>{width}}" for value, width in zip(values.values(), widths)))
        lines.append("")
    return lines


def _of_classes(rows: dict[str, dict]) -> list[str]:
    if len(rows) < 2:
        return []
    width = max(len(name) for name in rows)
    return [*(f"{name:{width}}{_number(row['AP']):>9}" for name, row in rows.items()), ""]


def _number(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"


class Results:
    """Collects predictions as entries of COCO's results format (https://cocodataset.org/#format-results).

    classes: names of the model's labels; annotations: a COCO JSON file whose images give the ids by their file names,
    and whose categories theirs by the classes' names. Without it an image's id is the name given to it, a category's
    id the label counted from 1.
    """

    def __init__(self, classes: tuple[str, ...], annotations: str | None = None):
        self.entries: list[dict] = []
        self.categories, self._images = {}, None
        if annotations is not None:
            content = _content(Path(annotations))
            ids = {one["name"]: one["id"] for one in content["categories"]}
            if not classes:
                raise ConfigError(
                    f"--annotations {annotations}: the checkpoint does not name its classes, so that they cannot be "
                    "found there; convert it with a config whose data set names them, or predict without --annotations"
                )
            if absent := [name for name in classes if name not in ids]:
                raise ConfigError(f"--annotations {annotations}: has no category '{absent[0]}', a class of the model")
            self.categories = {label: ids[name] for label, name in enumerate(classes)}
            self._images = {Path(one["file_name"]).name: one["id"] for one in content["images"]}

    def add(self, path: Path, name: str, prediction: Prediction) -> None:
        """path: of the image; name: its id where no annotations give it."""
        image = name
        if self._images is not None:
            if path.name not in self._images:
                raise ConfigError(f"{path}: the annotations list no image of this name; predict without --annotations")
            image = self._images[path.name]
        scores, labels, boxes = (np.asarray(prediction[key]).tolist() for key in ("scores", "labels", "boxes"))
        for mask, score, label, (x0, y0, x1, y1) in zip(prediction["masks"], scores, labels, boxes, strict=True):
            code = dict(size=[int(side) for side in mask["size"]], counts=mask["counts"].decode("ascii"))
            self.entries.append(
                dict(
                    image_id=image,
                    category_id=self.categories.get(label, label + 1),
                    score=round(score, 6),
                    bbox=[round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                    segmentation=code,
                )
            )

    def save(self, path: Path) -> Path:
        """Writes the list -> its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.entries))
        return path


def _content(path: Path) -> dict:
    from segkit.data.files.coco_json import read_coco
    from segkit.data.instances.coco import file_name

    coco, images = read_coco(path), []
    for image in coco.images:
        if not (image.get("file_name") or image.get("coco_url")):
            raise ConfigError(f"--annotations {path}: image {image['id']} has no file_name to find it by; add it")
        images.append(dict(id=image["id"], file_name=file_name(image)))
    return dict(images=images, categories=coco.categories)


def picture(image: np.ndarray, prediction: Prediction, model: Any, *, score: float) -> np.ndarray:
    """image: [H,W,C]; model: with its classes and palette -> uint8 [sH,sW,3], instances of at least this score."""
    from segkit.runners.instances.pictures import found_in
    from segkit.viz import draw

    found = found_in(prediction, score)
    return draw.draw_instances(
        image,
        found.masks,
        found.labels,
        boxes=found.boxes,
        scores=found.scores,
        classes=model.classes or (),
        palette=[tuple(color) for color in model.palette or ()],
    )
