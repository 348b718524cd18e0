"""Label Studio's exports JSON and JSON-MIN: brush masks, polygons, rectangles and ellipses.

Format: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks and the pages of the tags.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from segkit.data.files.coco_json import draw
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelReader, LabelWriter, Shape, Written
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.brush_rle import decode_brush, encode_brush
from segkit.data.formats.common import stored_size
from segkit.data.formats.entries import (
    FEW,
    REMEDY,
    Entry,
    Record,
    box_between,
    corners_of,
    ellipse_outline,
    entries_of,
    entry_of,
    label_of,
    number_of,
    outline_of_box,
    size_of,
    turned,
)
from segkit.data.formats.gathered import Gathered, all_files, evidence, folder_of
from segkit.files import DataError, brief, inside, parse_json, read_bytes, write_whole

FORMS = ("polygon", "rectangle", "ellipse", "brush")
OTHERS = {"keypoint": "points", "vector": "lines", "relation": "relations"}
"""Words of `lost` for results that are no region with an inside."""

UPLOADED = re.compile(r"^[0-9a-f]{6,}-")
"""What Label Studio puts before the name of an uploaded file."""


class _Labels(NamedTuple):
    """The labels of a task: the size of its image where a region states it; None where nobody has labelled it."""

    size: tuple[int, int] | None
    records: list[Record] | None


class LabelStudioReader(LabelReader):
    """Tasks of one or more JSON files of Label Studio."""

    format = "labelstudio"

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        super().__init__()
        self._labels = Gathered[_Labels](folder_of(root))
        names: set[str] = set()
        others = []
        for path in files:
            tasks = parse_json(read_bytes(path), path)
            if not isinstance(tasks, list) or not any(map(_is_task, tasks)):
                others.append(path.name)
                continue
            for number, task in enumerate(_whole(entries_of(tasks, str(path))), 1):
                source = f"{path}, task {brief(task.get('id', number))}"
                found: Counter[str] = Counter()
                labels = _labels(task, source, found)
                if self._add(_image_of(task, source), labels, source):
                    self.lost += found
                    names.update(record.label for record in labels.records or ())
        self.classes = tuple(sorted(names))
        if others:
            self.notes = (f"{len(others)} files *.json hold no tasks of Label Studio: {some(others, 3)}",)
        unlabelled = sum(labels is not None and labels.records is None for labels in self._labels.labels)
        if unlabelled:
            self.notes += (f"{unlabelled} tasks have no annotation",)
        self._labels.finish(self)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        return evidence(root, ".json", _is_labelstudio, "tasks of Label Studio")

    @classmethod
    def open(cls, root: Path) -> "LabelStudioReader":
        return cls(root, all_files(root, ".json"))

    def is_labelled(self, index: int) -> bool:
        labels = self._labels.labels[index]
        return labels is not None and labels.records is not None

    def item(self, index: int) -> LabelledImage:
        image, labels = self.images[index], self._labels.labels[index]
        assert labels is not None, "the images of tasks alone are items"
        size = labels.size or stored_size(image)
        shapes = tuple(_shape(record, size) for record in labels.records or ())
        return LabelledImage(image, size, shapes, is_labelled=labels.records is not None)

    def _add(self, named: str, labels: _Labels, source: str) -> bool:
        """Takes a task; a name without the prefix of an upload is tried where the whole one has no file."""
        folder, _, name = named.rpartition("/")
        bare = UPLOADED.sub("", name)
        if bare != name and self._labels.pictures.find(named, source) is None:
            named = f"{folder}/{bare}"
        return self._labels.add(named, labels, source)


def _is_labelstudio(text: str) -> bool:
    is_list = text.lstrip("\ufeff \n\r\t").startswith("[")
    is_whole = '"data"' in text and any(f'"{key}"' in text for key in ("annotations", "completions"))
    return is_list and (is_whole or any(f'"{form}labels"' in text for form in FORMS))


def _is_task(entry: object) -> bool:
    return isinstance(entry, dict) and ("data" in entry or _is_min(entry))


def _is_min(task: Entry) -> bool:
    """Whether an entry has the form of JSON-MIN: its data beside its regions, each under the name of its control."""
    return "data" not in task and any(isinstance(value, list) and any(map(_kind, value)) for value in task.values())


def _kind(region: object) -> str:
    """The type of a region of JSON-MIN, which states it by the name of its labels alone; "" for none."""
    names = (f"{form}labels" for form in (*FORMS, *OTHERS))
    return next((name for name in names if isinstance(region, dict) and name in region), "")


def _whole(tasks: Sequence[Entry]) -> list[Entry]:
    """Tasks in the form of the JSON export: JSON-MIN has an entry for each annotation, of which the last counts."""
    whole: list[Entry] = []
    earlier: dict[str, list[object]] = {}
    for task in tasks:
        if "data" in task or not ("annotation_id" in task or _is_min(task)):
            whole.append(task)
            continue
        regions = [region for value in task.values() if isinstance(value, list) for region in value if _kind(region)]
        results = [{**region, "type": _kind(region), "value": region} for region in regions]
        annotations = earlier.setdefault(str(task.get("id", len(whole))), [])
        if not annotations:
            whole.append({**task, "data": task, "annotations": annotations})
        annotations.append(dict(result=results))
    return whole


def _image_of(task: Entry, source: str) -> str:
    """The image that a task names, without what only Label Studio's server knows."""
    data = entry_of(task.get("data"), f"{source}, data")
    named = {key: _path_of(value) for key, value in data.items() if isinstance(value, str)}
    images = {key: path for key, path in named.items() if path.lower().endswith(IMAGE_SUFFIXES)}
    if not images:
        raise DataError(
            f"{source}: none of its data {brief(dict(data))} is the path of an image; export the tasks as JSON with "
            "the images, or remove this task"
        )
    return images.get("image") or next(iter(images.values()))


def _path_of(value: str) -> str:
    try:
        parts = urlsplit(value)
        local = parse_qs(parts.query).get("d")
        return local[0] if local else unquote(parts.path)
    except ValueError:
        return value


def _labels(task: Entry, source: str, lost: Counter[str]) -> _Labels:
    """The labels by the last annotation of a task that was not cancelled."""
    annotations = entries_of(task.get("annotations", task.get("completions")), f"{source}, annotations")
    kept = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    predictions = task.get("predictions")
    lost["predictions"] += len(predictions) if isinstance(predictions, list) else 0
    lost["further annotations of a task, of which the last counts"] += max(0, len(kept) - 1)
    lost["cancelled annotations"] += len(annotations) - len(kept)
    size, records = None, None
    if kept:
        results = entries_of(kept[-1].get("result"), f"{source}, result")
        records = _records(results, source, lost)
        sizes = {
            size_of(result.get("original_height"), result.get("original_width"), source)
            for result in results
            if "original_height" in result
        }
        if len(sizes) > 1:
            raise DataError(f"{source}: regions of images of several sizes, {brief(sorted(sizes))}; {REMEDY}")
        size = next(iter(sizes), None)
    for key in [key for key, count in lost.items() if not count]:
        del lost[key]
    return _Labels(size, records)


def _records(results: Sequence[Entry], source: str, lost: Counter[str]) -> list[Record]:
    """The regions of an annotation. A region may be two results of one id, its form and its label."""
    regions: dict[str, tuple[str, Entry, str]] = {}
    labels: dict[str, list[object]] = {}
    for number, result in enumerate(results, 1):
        place = f"{source}, result {number}"
        kind = str(result.get("type")).lower()
        key = str(result.get("id", f"result {number}"))
        form = kind.removesuffix("labels")
        if form not in FORMS and kind != "labels":
            lost[OTHERS.get(form, "answers that are no regions")] += 1
            continue
        value = entry_of(result.get("value"), f"{place}, value")
        if result.get("image_rotation"):
            lost["regions on images that were turned while labelling"] += 1
            continue
        if form in FORMS:
            regions[key] = (form, value, place)
        names = value.get(kind, value.get("labels"))
        if isinstance(names, list) and names:
            labels[key] = names
    records = []
    for key, (form, value, place) in regions.items():
        points = value.get("points")
        if key not in labels:
            lost["regions without a label"] += 1
        elif form == "polygon" and isinstance(points, list) and len(points) < 3:
            lost[FEW] += 1
        else:
            label = label_of(labels[key][0], place)
            lost["further labels of a region"] += len(labels[key]) - 1
            records.append(Record(label, form, value, f"{place} ('{label}')"))
    return records


def _shape(record: Record, size: tuple[int, int]) -> Shape:
    label, value, source = record.label, record.entry, record.source
    if record.kind == "brush":
        if value.get("format", "rle") != "rle":
            raise DataError(f"{source}: a brush mask in the format {brief(value['format'])}; 'rle' alone is read")
        return Shape(label, mask=code_of(decode_brush(value.get("rle"), size, source)))
    scale = np.array([size[1] / 100, size[0] / 100])
    if record.kind == "polygon":
        return Shape(label, (corners_of(value.get("points"), source) * scale,))
    x, y = (number_of(value.get(key), key, source) for key in ("x", "y"))
    degrees = number_of(value.get("rotation") or 0, "rotation", source)
    left, top = (float(side) for side in np.array([x, y]) * scale)
    if record.kind == "ellipse":
        radii = (number_of(value.get(f"radius{axis}"), f"radius{axis}", source) for axis in "XY")
        across, down = (float(radius) for radius in np.array([*radii]) * scale)
        return Shape(label, (turned(ellipse_outline((left, top), (across, down), source), (left, top), degrees),))
    sides = (number_of(value.get(key), key, source) for key in ("width", "height"))
    width, height = (float(side) for side in np.array([*sides]) * scale)
    box = box_between((left, top), (left + width, top + height))
    if not degrees % 360:
        return Shape(label, box=box)
    return Shape(label, (turned(outline_of_box(box), (left, top), degrees),))


class LabelStudioWriter(LabelWriter):
    """Writes tasks.json for Label Studio's import, and label_config.xml for the project's settings.

    An object of one outline is a polygon, a box a rectangle; any other object is a brush mask.

    Args:
        folder: see LabelWriter.
        classes: see LabelWriter.
        splits: see LabelWriter.
    """

    format = "labelstudio"

    def __init__(
        self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> None:
        super().__init__(folder, classes, splits)
        self._tasks: list[dict[str, object]] = []

    def add(self, image: LabelledImage, name: str) -> None:
        inside(self.folder, name, self.folder)
        path = quote(f"{self.image_folder}/{name}")
        task: dict[str, object] = dict(id=len(self._tasks) + 1, data={"image": f"/data/local-files/?d={path}"})
        if image.is_labelled:
            results = [self._result(shape, image.size, number) for number, shape in enumerate(image.shapes, 1)]
            task["annotations"] = [{"result": results, "was_cancelled": False}]
        self._tasks.append(task)

    def close(self) -> Written:
        write_whole(self.folder / "tasks.json", json.dumps(self._tasks, ensure_ascii=False))
        write_whole(self.folder / "label_config.xml", _config(self.classes))
        self.written.files = 2
        return self.written

    def _result(self, shape: Shape, size: tuple[int, int], number: int) -> dict[str, object]:
        self.written.objects += 1
        if shape.crowd:
            self.written.lost["marks of crowds"] += 1
        height, width = size
        per_pixel = np.array([100 / width, 100 / height])
        if shape.mask is None and not shape.outlines:
            x0, y0, x1, y1 = shape.box or (0.0, 0.0, 0.0, 0.0)
            (x, y), (across, down) = np.array([(x0, y0), (x1 - x0, y1 - y0)]) * per_pixel
            kind = "rectangle"
            value: dict[str, object] = dict(x=float(x), y=float(y), width=float(across), height=float(down), rotation=0)
        elif shape.mask is None and len(shape.outlines) == 1 and not shape.holes:
            kind, value = "polygon", dict(points=(shape.outlines[0] * per_pixel).tolist(), closed=True)
        else:
            kind, value = "brush", dict(format="rle", rle=encode_brush(self._mask(shape, size)))
        value[f"{kind}labels"] = [shape.label]
        head: dict[str, object] = dict(id=f"r{number}", type=f"{kind}labels", from_name=kind, to_name="image")
        return head | dict[str, object](original_width=width, original_height=height, image_rotation=0, value=value)

    def _mask(self, shape: Shape, size: tuple[int, int]) -> np.ndarray:
        if shape.mask is not None:
            return draw(shape.mask, *size)
        self.written.lost["corners of objects of several pieces or with holes, written as masks"] += 1
        mask = draw([outline.ravel().tolist() for outline in shape.outlines], *size)
        return mask & ~draw([hole.ravel().tolist() for hole in shape.holes], *size)


def _config(classes: Sequence[str]) -> str:
    """The labeling interface in which the tasks can be opened."""
    rows = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in classes)
    tags = "".join(
        f'  <{tag} name="{tag.removesuffix("Labels").lower()}" toName="image">\n{rows}  </{tag}>\n'
        for tag in ("BrushLabels", "PolygonLabels", "RectangleLabels")
    )
    return f'<View>\n  <Image name="image" value="$image"/>\n{tags}</View>\n'
