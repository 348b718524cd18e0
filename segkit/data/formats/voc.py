"""Pascal VOC's format: boxes in XML, and masks of classes and of objects as palette images.

Layout of the development kit, http://host.robots.ox.ac.uk/pascal/VOC/voc2012; CVAT writes it with a labelmap.txt,
Roboflow and LabelImg write the XML files alone, beside the images.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.labels import ColorTable
from segkit.data.files.listing import same_text
from segkit.data.files.masks import read_colors, read_mask, values_of
from segkit.data.files.name_list import read_lines
from segkit.data.files.outlines import CORNERS, reason
from segkit.data.files.pairs import some, walk_files
from segkit.data.formats.base import Box, LabelledImage, LabelReader, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.common import split_name, stored_size
from segkit.data.formats.gathered import ends_of, first_files
from segkit.data.formats.legend import find_legend
from segkit.files import MAX_PIXELS, DataError, brief, limit
from segkit.readers.xml_file import read_xml
from segkit.types import IGNORE

OFFICIAL = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes of the palette's colors in Pascal VOC itself, which has no file of them."""

LISTS = ("ImageSets/Segmentation", "ImageSets/Main", "ImageSets/Layout")
MARKS = ("difficult", "truncated", "occluded")
CLASS_MASKS, OBJECT_MASKS = "SegmentationClass", "SegmentationObject"
SIDES = ("xmin", "ymin", "xmax", "ymax")


class _Item(NamedTuple):
    image: Path
    xml: str | None
    classes: str | None
    objects: str | None


class VocReader(LabelReader):
    """Boxes of XML files, and masks where there are any; objects of masks replace the boxes of the same image."""

    format = "voc"

    def __init__(self, root: Path, items: Sequence[_Item], classes: Sequence[str], table: ColorTable | None):
        super().__init__()
        self.classes, self._items, self._table = tuple(classes), list(items), table
        self.images = [item.image for item in items]
        self._first = 1
        self.splits, self.unlisted = _splits(root, self.images)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        base = _base(root)
        if base.is_dir() and any((base / CLASS_MASKS).glob("*.png")):
            return f"{CLASS_MASKS}/*.png" + (" and JPEGImages" if (base / "JPEGImages").is_dir() else "")
        found = [path for path in first_files(base, ".xml") if re.search(r"<annotation[\s>]", ends_of(path))]
        found = [path for path in found if "<bndbox>" in ends_of(path) or "<filename>" in ends_of(path)]
        return f"{found[0].name} with <annotation>" if found else None

    @classmethod
    def open(cls, root: Path) -> "VocReader":
        base = _base(root)
        if not base.is_dir():
            raise DataError(f"{root}: give the folder that holds Annotations or {CLASS_MASKS}, not a file in it")
        masks = {kind: _by_name(base / kind, (".png",)) for kind in (CLASS_MASKS, OBJECT_MASKS)}
        files = [Path(path) for path in walk_files(base, (".xml",))]
        below_masks = {(base / kind) for kind in masks}
        pictures: dict[str, list[Path]] = {}
        for path in walk_files(base, IMAGE_SUFFIXES):
            if not below_masks.intersection(Path(path).parents):
                pictures.setdefault(_stem(Path(path)), []).append(Path(path))
        items, lost = _matched(base, files, masks, pictures)
        roots = {path: _root(read_xml(path), path) for path in files}
        names = dict.fromkeys(name for path, tree in roots.items() for name in _names(tree, path))
        classes, table = _classes(base, sorted(names), has_masks=bool(masks[CLASS_MASKS]))
        reader = cls(base, items, classes, table)
        reader._first = _first(roots)
        for tree in roots.values():
            for mark in MARKS:
                reader.lost[mark] += sum(entry.findtext(mark, "0").strip() == "1" for entry in tree.iter("object"))
            reader.lost["parts of objects"] += sum(len(entry.findall("part")) for entry in tree.iter("object"))
        reader.lost = +reader.lost
        notes = [f"{len(lost)} label files have no image and are left out: {some(lost, 3)}"] if lost else []
        if reader.unlisted:
            count = len(reader.unlisted)
            notes.append(f"{count} lines of ImageSets name no image and are left out: {some(reader.unlisted, 3)}")
        bare = [str(item.image) for item in items if item.xml is None and item.classes is None]
        if bare:
            notes.append(f"{len(bare)} images have no labels: {some(bare, 3)}")
        if reader._first == 0:
            notes.append(
                "boxes are counted from 0, not from 1 as in VOC: one begins there, or most have a decimal point"
            )
        reader.notes = tuple(notes)
        return reader

    def is_labelled(self, index: int) -> bool:
        return self._items[index].xml is not None or self._items[index].classes is not None

    def label_file(self, index: int) -> Path | None:
        file = self._items[index].classes or self._items[index].xml
        return None if file is None else Path(file)

    def item(self, index: int) -> LabelledImage:
        item = self._items[index]
        if item.classes is not None:
            label_map = self._label_map(item.classes)
            shapes = _of_masks(item.objects, label_map, self.classes) if item.objects else ()
            return LabelledImage(item.image, (label_map.shape[0], label_map.shape[1]), shapes, label_map)
        if item.xml is None:
            return LabelledImage(item.image, stored_size(item.image), is_labelled=False)
        tree = _root(read_xml(item.xml), Path(item.xml))
        sides = [tree.findtext(f"size/{side}", "") for side in ("height", "width")]
        given = [int(side.strip()[:20]) for side in sides if side.strip().isdecimal()]
        size = (given[0], given[1]) if len(given) == 2 and min(given) > 0 else stored_size(item.image)
        if size[0] * size[1] > limit(MAX_PIXELS):
            raise DataError(
                f"{item.xml}: <size> {size[1]} x {size[0]} is no size of an image; at most {limit(MAX_PIXELS):,} "
                f"pixels ({MAX_PIXELS[0]})"
            )
        entries = enumerate(tree.findall("object"), 1)
        shapes = tuple(_shape(entry, f"{item.xml}, object {number}", self._first) for number, entry in entries)
        return LabelledImage(item.image, size, shapes)

    def _label_map(self, path: str) -> np.ndarray:
        if self._table is not None:
            return self._table.apply(read_colors(path), path)
        labels = read_mask(path)
        wrong = [value for value in values_of(labels, path) if value >= len(self.classes) and value != IGNORE]
        if wrong:
            raise DataError(
                f"{path}: value {wrong[0]} beyond the {len(self.classes)} classes; name it in labelmap.txt beside "
                f"{CLASS_MASKS}, a line NAME:r,g,b:: for each class"
            )
        return labels.astype(np.uint8)


def _base(root: Path) -> Path:
    """The folder of the year in VOCdevkit, or the folder itself."""
    for folder in (root, root / "VOCdevkit"):
        inner = sorted(folder.glob("VOC[0-9][0-9][0-9][0-9]")) if folder.is_dir() else []
        if len(inner) == 1:
            return inner[0]
    return root


def _stem(path: Path) -> str:
    return same_text(path.stem)


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {_key(Path(path), folder): path for path in walk_files(folder, suffixes)}


def _key(path: Path, folder: Path) -> str:
    return same_text(os.path.splitext(path.relative_to(folder).as_posix())[0])


def _matched(
    base: Path, files: Sequence[Path], masks: Mapping[str, Mapping[str, str]], pictures: Mapping[str, list[Path]]
) -> tuple[list[_Item], list[str]]:
    """The images with their label files, and the label files without an image."""
    xml: dict[Path, str] = {}
    classes: dict[Path, str] = {}
    objects: dict[Path, str] = {}
    lost = []
    for file in files:
        image = _image_of(file.relative_to(base).with_suffix(""), file, base, pictures)
        if image is None:
            lost.append(str(file))
        elif image in xml:
            raise DataError(f"{file} and {xml[image]} both label {image}; remove one of them")
        else:
            xml[image] = str(file)
    for kind, found in ((CLASS_MASKS, classes), (OBJECT_MASKS, objects)):
        for key, mask in masks[kind].items():
            image = _image_of(Path(key), None, base, pictures)
            if image is not None:
                found[image] = mask
            else:
                lost.append(mask)
    labelled = {*xml, *classes}
    if not labelled:
        raise DataError(
            f"{base}: no image for {len(lost)} label files ({some(lost, 3)}); copy the images to JPEGImages"
        )
    folders = {path.parent for path in labelled}
    images = sorted(path for paths in pictures.values() for path in paths if path.parent in folders)
    return [_Item(path, xml.get(path), classes.get(path), objects.get(path)) for path in images], lost


def _image_of(key: Path, file: Path | None, base: Path, pictures: Mapping[str, list[Path]]) -> Path | None:
    """The image of a label file: beside it, of the same path below JPEGImages, or the only one of its name."""
    found = pictures.get(_stem(key.with_name(key.name + ".x")), [])
    if file is not None:
        beside = [path for path in found if path.parent == file.parent]
        if beside:
            return beside[0]
    parts = key.parts[1:] if key.parts[0] == "Annotations" else key.parts
    parents = (base.joinpath(folder, *parts[:-1]) for folder in ("JPEGImages", "images", "."))
    same = [path for parent in parents for path in found if path.parent == parent]
    if same:
        return same[0]
    if len(found) > 1:
        raise DataError(f"{file or key}: its image may be {some([*map(str, found)], 3)}; move the others away")
    return found[0] if found else None


def _root(tree: Element, path: Path) -> Element:
    if tree.tag != "annotation":
        raise DataError(f"{path}: begins with <{tree.tag}>, where VOC's files have <annotation>; move it away")
    return tree


def _names(tree: Element, path: Path) -> list[str]:
    names = [entry.findtext("name", "").strip() for entry in tree.findall("object")]
    if not all(names):
        raise DataError(f"{path}, object {names.index('') + 1}: it has no <name>; add the name of its class")
    return names


def _classes(base: Path, names: list[str], *, has_masks: bool) -> tuple[tuple[str, ...], ColorTable | None]:
    """The names of the classes, and how colors of masks become their numbers, None where palette indices count."""
    legend = find_legend(base)
    if legend is not None and legend.colors:
        every = (*legend.classes, *(name for name in names if name not in legend.classes))
        return every, ColorTable(every, (), legend.label_map)
    if legend is not None:
        if legend.values != tuple(range(len(legend.names))):
            raise DataError(f"{legend.path}: numbers must be 0, 1, 2 ...; or name the color of each class")
        return (*legend.names, *(name for name in names if name not in legend.names)), None
    if set(names) <= set(OFFICIAL):
        return (OFFICIAL if has_masks else tuple(name for name in OFFICIAL if name in names)), None
    if has_masks:
        raise DataError(
            f"{base}: classes such as {some(names, 3)} are not those of Pascal VOC, and nothing says which values or "
            f"colors they have in {CLASS_MASKS}; add labelmap.txt with a line NAME:r,g,b:: for each class"
        )
    return tuple(names), None


def _splits(root: Path, images: Sequence[Path]) -> tuple[dict[str, list[int]], list[str]]:
    """The lists of ImageSets, and their lines that name no image; else the folders train, valid and test of images."""
    by_name: dict[str, int] = {}
    for number, path in enumerate(images):
        by_name.setdefault(_stem(path), number)
        for folder in ("JPEGImages", "images"):
            if root / folder in path.parents:
                by_name[_key(path, root / folder)] = number
    splits: dict[str, list[int]] = {}
    unlisted: list[str] = []
    for folder in LISTS:
        for file in sorted((root / folder).glob("*.txt")) if (root / folder).is_dir() else []:
            lines = [line.text.replace("\\", "/") for line in read_lines(file, "a list of ImageSets")]
            # Main also has lists of single classes, car_train.txt
            if split_name(file.stem) in ("train", "val", "test", "trainval") or folder != LISTS[1]:
                found = {line: _listed(line, by_name) for line in lines}
                splits.setdefault(split_name(file.stem), []).extend(n for n in found.values() if n is not None)
                unlisted += [f"{file.name}: {line}" for line, number in found.items() if number is None]
        if splits:
            return {name: items for name, items in splits.items() if items}, unlisted
    for number, path in enumerate(images):
        words = [split_name(part) for part in path.relative_to(root).parts[:-1]]
        splits.setdefault(next((word for word in words if word in ("train", "val", "test")), ""), []).append(number)
    return {} if set(splits) == {""} else splits, []


def _listed(line: str, by_name: Mapping[str, int]) -> int | None:
    """The image that a line of a list names: as a whole, since names may hold blanks, or before a mark such as 1."""
    for name in (line, re.sub(r"\s+-?[01]$", "", line), line.split()[0]):
        number = by_name.get(name, by_name.get(Path(name).stem))
        if number is not None:
            return number
    return None


def _first(trees: Mapping[Path, Element]) -> int:
    """The number of the first pixel: 1, or 0 where a box begins there, or most boxes have a decimal point."""
    starts = [
        [box.findtext(side, "1").strip() for side in SIDES] for tree in trees.values() for box in tree.iter("bndbox")
    ]
    with_point = sum(any("." in word for word in words) for words in starts)
    begins = any(re.fullmatch(r"0+(\.0*)?", word) for words in starts for word in words[:2])
    return 0 if begins or 2 * with_point > len(starts) else 1


def _shape(entry: Element, source: str, first: int) -> Shape:
    name = entry.findtext("name", "").strip()
    if not name:
        raise DataError(f"{source}: it has no <name>; add the name of its class")
    outline = _polygon(entry, source)
    return Shape(name, () if outline is None else (outline,), box=_box(entry, f"{source} ('{name}')", first))


def _box(entry: Element, source: str, first: int) -> Box:
    words = [entry.findtext(f"bndbox/{side}", "") for side in SIDES]
    try:
        x0, y0, x1, y1 = (float(word) for word in words)
    except ValueError as error:
        raise DataError(f"{source}: <bndbox> {brief(words)} must have xmin, ymin, xmax and ymax in pixels") from error
    if not np.isfinite((x0, y0, x1, y1)).all() or x1 < x0 or y1 < y0:
        raise DataError(f"{source}: <bndbox> {brief(words)} has xmax < xmin or ymax < ymin; correct or remove it")
    # pixels are counted from 1, and the last one is part of the box
    return x0 - first, y0 - first, x1, y1


def _polygon(entry: Element, source: str) -> np.ndarray | None:
    """The outline that Roboflow writes: <polygon><x1>..</x1><y1>..</y1><x2> ..., None where there is none."""
    polygon = entry.find("polygon")
    if polygon is None:
        return None
    values = {child.tag: child.text or "" for child in polygon}
    try:
        if len(values) < 2 * CORNERS:
            raise ValueError(f"{len(values)} numbers, fewer than for {CORNERS} corners")
        numbers = range(1, len(values) // 2 + 1)
        return np.array([[float(values[f"x{n}"]), float(values[f"y{n}"])] for n in numbers]).reshape(-1, 2)
    except (KeyError, ValueError) as error:
        raise DataError(f"{source}: <polygon> must have x1, y1, x2, y2 ... ({reason(error)}); remove it") from error


def _of_masks(path: str, label_map: np.ndarray, classes: Sequence[str]) -> tuple[Shape, ...]:
    """The objects of a mask of objects; the class of each is the most frequent one of its pixels."""
    objects = read_mask_of_objects(path)
    if objects.shape != label_map.shape:
        raise DataError(f"{path}: its size is not that of the mask of classes; export both again")
    shapes = []
    for value in values_of(objects, path):
        labels = label_map[(objects == value) & (label_map != IGNORE)]
        if (value == IGNORE and objects.dtype == np.uint8) or not labels.size:
            continue  # the seam around objects
        label = classes[int(np.bincount(labels).argmax())]
        shapes.append(Shape(label, mask=code_of(objects == value)))
    return tuple(shapes)


def read_mask_of_objects(path: str) -> np.ndarray:
    """Reads a mask in which each object has a value, or a color, of its own; integer [H,W], 0 is none."""
    try:
        return read_mask(path)
    except DataError:
        colors = read_colors(path).astype(np.int32)
        numbers = colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2]
        # the seam is (224, 224, 192) in VOC's palette
        return np.where(numbers == 0xE0E0C0, 0, numbers)
