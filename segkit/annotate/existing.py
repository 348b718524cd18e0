"""Masks that are there before anybody annotates: label maps or COCO's JSON, of people or of a model. H W image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segkit.annotate.objects import Object, Sheet, Source
from segkit.annotate.project import Entry, Project
from segkit.annotate.region import Region, region_of
from segkit.annotate.shapes import components
from segkit.data.files.coco_json import CocoFile, draw, read_coco
from segkit.data.files.listing import keyed_files
from segkit.data.files.masks import read_mask, values_of
from segkit.data.files.outlines import reason
from segkit.data.formats.legend import Legend, read_legend
from segkit.files import DataError, brief, parse_json, read_text
from segkit.types import IGNORE

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".npy")
"""Suffixes of label maps in a folder of existing masks."""

MASK_FOLDERS = ("masks", "labels")
"""Where label maps lie in a folder of drafts, first choice first; else in the folder itself."""

OBJECTS, SCORES, NAMES = "objects.json", "drafts.json", "classes.txt"
"""Files of a folder of drafts: COCO's JSON, how sure each image is, and what the values of label maps mean."""

MOST_BYTES = 1 << 28
"""Of drafts.json."""


@dataclass
class Existing:
    """The masks that images have before they are annotated.

    Attributes:
        source: what their objects are said to be from.
        masks: file of the label map of an image, by its key.
        coco: annotations by the name of the image.
        scores: certainty of an image by its name, 0..1.
        value_names: what the values of label maps mean; () where they are those of the project.
        path: where they are from, for messages.
    """

    source: Source
    path: Path
    masks: Mapping[str, str] = field(default_factory=dict)
    coco: Mapping[str, list[dict]] = field(default_factory=dict)
    categories: Mapping[Any, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    value_names: tuple[str, ...] = ()

    def has(self, entry: Entry) -> bool:
        """Whether an image has masks."""
        return entry.key in self.masks or entry.name in self.coco

    def count(self, entry: Entry) -> int:
        """How many objects an image has, as far as it is known without reading masks."""
        return len(self.coco.get(entry.name, ()))

    def sheet(self, entry: Entry, size: tuple[int, int], project: Project) -> Sheet:
        """Reads the objects of an image.

        Args:
            entry: the image.
            size: (H, W).
            project: gives kind and classes.

        Raises:
            DataError: a mask has another size, or labels that the project does not know.
        """
        if not self.has(entry):
            return Sheet()
        if entry.name in self.coco:
            objects = self._of_coco(entry, size, project)
        else:
            objects = self._of_mask(self.masks[entry.key], size, project)
        items = [
            Object(number, label, mask, order=number, source=self.source, score=score)
            for number, (label, mask, score) in enumerate(objects, 1)
        ]
        return Sheet(state="draft").with_objects(*items)

    def _of_coco(self, entry: Entry, size: tuple[int, int], project: Project) -> list[tuple[int, Region, float | None]]:
        found = []
        for row in self.coco[entry.name]:
            source = f"{self.path}, annotation {brief(row.get('id'))}"
            name = self.categories[row["category_id"]]
            if name not in project.classes:
                raise DataError(
                    f"{source}: its class '{name}' is none of {', '.join(project.classes)}; add it to --classes"
                )
            try:
                mask = region_of(draw(row.get("segmentation") or [], *size))
            except (TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
                raise DataError(f"{source}: the segmentation cannot be drawn ({reason(error)}); correct it") from error
            found.append((project.classes.index(name), mask, _score(row.get("score"))))
        return found

    def _of_mask(self, path: str, size: tuple[int, int], project: Project) -> list[tuple[int, Region, float | None]]:
        labels = read_mask(path)
        if labels.shape != size:
            shape = f"{labels.shape[1]}x{labels.shape[0]}"
            raise DataError(
                f"{path}: a mask of {shape} pixels for an image of {size[1]}x{size[0]}, as it is shown upright; export "
                "it at the image's size"
            )
        found: list[tuple[int, Region, float | None]] = []
        for value in values_of(labels, path):
            if project.kind == "clicks":
                found.append((0, region_of(labels == value), None))
                continue
            label = self._label(value, project, path)
            if label is None:
                continue
            mask = region_of(labels == value)
            masks = components(mask) if project.kind == "instances" else [mask]
            found += [(label, part, None) for part in masks]
        return found

    def _label(self, value: int, project: Project, path: str) -> int | None:
        """The class of a value; None of what is ignored and of the background."""
        if value == IGNORE:
            return None
        names = self.value_names or project.value_names
        name = names[value] if value < len(names) else None
        if name in project.classes:
            return project.classes.index(name)
        if name is not None and value == 0:
            return None
        known = ", ".join(f"{number} {word}" for number, word in enumerate(names[:8]))
        raise DataError(f"{path}: label {value} is no class of this project ({known}); see --classes")


def existing_masks(path: Path, source: Source, project: Project) -> Existing:
    """Finds existing masks.

    Args:
        path: a folder of label maps named as the images, a folder of drafts with `masks` or `objects.json`, or a file
            in COCO's format.
        source: what their objects are said to be from.
        project: its kind says what is read where a folder has both.

    Raises:
        DataError: there are none, or a file cannot be read.
    """
    if path.is_file():
        return _with_coco(Existing(source, path), read_coco(path), lambda name: name)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; give label maps, or a file in COCO's format")
    folder = next((path / name for name in MASK_FOLDERS if (path / name).is_dir()), path)
    found = Existing(source, path, keyed_files(folder, MASK_SUFFIXES))
    if (path / NAMES).is_file():
        found.value_names = _value_names(read_legend(path / NAMES))
    is_needed = project.kind != "semantic" or not found.masks
    if (path / OBJECTS).is_file() and is_needed:
        found = _with_coco(Existing(source, path / OBJECTS), read_coco(path / OBJECTS), lambda name: name)
    if not found.masks and not found.coco:
        raise DataError(f"{path}: holds neither label maps ({', '.join(MASK_SUFFIXES)}) nor {OBJECTS}; check the path")
    if (path / SCORES).is_file():
        found.scores = _scores(path / SCORES)
    return found


def _value_names(legend: Legend) -> tuple[str, ...]:
    """What the values 0, 1, ... mean; "" of one that means nothing."""
    values = legend.values or range(len(legend.names))
    names = dict(zip(values, legend.names))
    return tuple(names.get(value, "") for value in range(max(values) + 1))


def _with_coco(found: Existing, coco: CocoFile, name_of: Callable[[str], str]) -> Existing:
    rows: dict[str, list[dict]] = {}
    scores: dict[str, float] = {}
    for image in coco.images:
        name = image.get("file_name")
        if not isinstance(name, str):
            raise DataError(f"{coco.path}, image {brief(image.get('id'))}: it has no file_name; name the image's file")
        name = name_of(name.replace("\\", "/"))
        rows[name] = coco.annotations[image["id"]]
        said = [_score(row.get("score")) for row in rows[name]]
        values = [value for value in said if value is not None]
        if values:
            scores[name] = float(np.mean(values))
    found.coco, found.categories, found.scores = rows, coco.names, scores
    return found


def _scores(path: Path) -> dict[str, float]:
    """How sure the images of drafts.json are."""
    content = parse_json(read_text(path, MOST_BYTES), path)
    rows = content.get("images") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{path}: no list 'images' of {{'image', 'score'}}; make the drafts anew")
    scores = {}
    for row in rows:
        score = _score(row.get("score")) if isinstance(row, dict) else None
        if score is None or not isinstance(row.get("image"), str):
            raise DataError(f"{path}: {brief(row)} is no image with a score from 0 to 1; make the drafts anew")
        scores[row["image"].replace("\\", "/")] = score
    return scores


def _score(value: object) -> float | None:
    """A number from 0 to 1; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None  # type: ignore[arg-type, operator]
