"""Writing Pascal VOC's format: boxes in XML, masks of classes and of objects, lists of the splits, labelmap.txt."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from segkit.data.files.name_list import list_text
from segkit.data.formats.base import LabelledImage, LabelWriter, Written
from segkit.data.formats.common import BACKGROUND, background_of
from segkit.data.formats.draw import box_of, draw_classes, object_codes
from segkit.data.formats.legend import line_of
from segkit.data.formats.masks import write_indices
from segkit.files import write_whole
from segkit.types import IGNORE, default_palette

MOST_OBJECTS = 254
"""Objects that the values of a mask of objects can tell apart."""


class VocWriter(LabelWriter):
    """Writes Annotations, ImageSets, labelmap.txt and, for objects with masks, SegmentationClass and -Object."""

    format = "voc"
    image_folder = "JPEGImages"
    has_split_folders = False
    has_maps = True

    def __init__(
        self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[str]] = MappingProxyType({})
    ):
        super().__init__(folder, classes, splits)
        number = background_of(self.classes)
        self._background = BACKGROUND if number is None else self.classes[number]
        self._classes = (self._background, *(name for name in self.classes if name != self._background))
        self._has_masks: dict[str, bool] = {}

    def add(self, image: LabelledImage, name: str) -> None:
        stem = os.path.splitext(name)[0]
        codes = object_codes(image)
        tree = _head(image, name)
        for shape, code in zip(image.shapes, codes):
            if shape.crowd:
                self.written.lost["crowds, whose pixels are ignored"] += 1
                continue
            entry = SubElement(tree, "object")
            for key, value in (("name", shape.label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
                SubElement(entry, key).text = value
            # pixels are counted from 1, and the last one is part of the box
            x0, y0, x1, y1 = box_of(shape, code)
            sides = math.floor(x0) + 1, math.floor(y0) + 1, math.ceil(x1), math.ceil(y1)
            self.written.lost["boxes with fractions of pixels, which are rounded outward"] += any(
                side != int(side) for side in (x0, y0, x1, y1)
            )
            box = SubElement(entry, "bndbox")
            for key, side in zip(("xmin", "ymin", "xmax", "ymax"), sides):
                SubElement(box, key).text = str(side)
            self.written.objects += 1
        self._has_masks[stem] = image.label_map is not None or any(code is not None for code in codes)
        if self._has_masks[stem]:
            self._write_masks(image, codes, stem)
        SubElement(tree, "segmented").text = str(int(self._has_masks[stem]))
        indent(tree)
        write_whole(self.folder / "Annotations" / f"{stem}.xml", tostring(tree, encoding="unicode") + "\n")
        self.written.files += 1

    def _write_masks(self, image: LabelledImage, codes: Sequence[dict | None], stem: str) -> None:
        from pycocotools import mask as coco_mask

        # objects and classes have one void, 255: a crowd, which is no object, is void in both masks
        nameless = tuple(replace(shape, label="") if shape.crowd else shape for shape in image.shapes)
        drawn = draw_classes(replace(image, shapes=nameless), self._classes)
        lost = self.written.lost
        lost["boxes without an outline in images with masks"] += drawn.boxes
        lost["pixels that objects of several classes share, which the upper one has"] += drawn.overlapped_pixels
        objects = np.zeros(image.size, np.uint8)
        drawable = [number for number, code in enumerate(codes) if code is not None and not image.shapes[number].crowd]
        lost["objects beyond 254 in an image, in the mask of objects"] += max(0, len(drawable) - MOST_OBJECTS)
        number_of = {number: value for value, number in enumerate(drawable[:MOST_OBJECTS], 1)}
        areas = {number: 0 if image.in_order else int(coco_mask.area(codes[number])) for number in number_of}
        for number in sorted(number_of, key=lambda number: -areas[number]):
            objects[coco_mask.decode(codes[number]) == 1] = number_of[number]
        objects[drawn.label_map == IGNORE] = IGNORE
        write_indices(self.folder / "SegmentationClass" / f"{stem}.png", drawn.label_map)
        write_indices(self.folder / "SegmentationObject" / f"{stem}.png", objects)
        self.written.files += 2

    def close(self) -> Written:
        lists = {split: [os.path.splitext(name)[0] for name in names] for split, names in self.splits.items()}
        for split, stems in (lists or {"all": list(self._has_masks)}).items():
            write_whole(self.folder / "ImageSets" / "Main" / f"{split}.txt", list_text(stems))
            segmented = [stem for stem in stems if self._has_masks.get(stem)]
            if segmented:
                write_whole(self.folder / "ImageSets" / "Segmentation" / f"{split}.txt", list_text(segmented))
        colors = [*default_palette(len(self._classes)), default_palette(256)[IGNORE]]
        rows = [f"{line_of(name)}:{r},{g},{b}::\n" for name, (r, g, b) in zip((*self._classes, "void"), colors)]
        write_whole(self.folder / "labelmap.txt", "# label:color_rgb:parts:actions\n" + "".join(rows))
        self.written.files += 1
        self.written.lost = +self.written.lost
        return self.written


def _head(image: LabelledImage, name: str) -> Element:
    tree = Element("annotation")
    SubElement(tree, "folder").text = "JPEGImages"
    SubElement(tree, "filename").text = name
    size = SubElement(tree, "size")
    for key, value in (("width", image.size[1]), ("height", image.size[0]), ("depth", 3)):
        SubElement(size, key).text = str(value)
    return tree
