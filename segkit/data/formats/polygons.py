"""Files *_polygons.json as those of Cityscapes: the polygons of an image from the farthest to the nearest.

Format: https://github.com/mcordts/cityscapesScripts (cityscapesscripts/helpers/annotation.py).
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segkit.data.formats.base import LabelledImage, Shape
from segkit.data.formats.common import split_name
from segkit.data.formats.entries import FEW, Entry, Record, corners_of, entries_of, label_of, read_entry, size_of
from segkit.data.formats.gathered import FilePerImage, Gathered, all_files, evidence, folder_of, splits_of

END = "_polygons.json"
KIND = re.compile(r"(_gt[A-Za-z0-9]*)?_polygons\.json$", re.IGNORECASE)
"""What a label file's name has after that of its scene."""

IMAGE_ENDS = ("_leftImg8bit", "", "_image", "_rgb")
"""What an image's name has after that of its scene, first choice first."""

GROUP = "group"
"""End of a label of several objects that are not taken apart, as in 'cargroup'."""


class PolygonsReader(FilePerImage):
    """Polygons of an image in one file, of which later ones lie above earlier ones."""

    format = "polygons"

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        super().__init__()
        folder = folder_of(root)
        self._labels = Gathered[Path](folder)
        by_stem: dict[str, list[Path]] = {}
        for picture in self._labels.pictures:
            by_stem.setdefault(picture.stem, []).append(picture)
        names: set[str] = set()
        parts = []
        for path in files:
            found: Counter[str] = Counter()
            records = _records(read_entry(path), path, found)
            scene = KIND.sub("", path.name)
            stems = (scene + end for end in IMAGE_ENDS)
            pictures = next((by_stem[stem] for stem in stems if stem in by_stem), [])
            place = path.parent.relative_to(folder).as_posix()
            if self._labels.add(f"{place}/{pictures[0].name if pictures else scene}", path, str(path)):
                self.lost += found
                names.update(record.label for record in records)
                words = (split_name(part) for part in Path(place).parts)
                parts.append(next((word for word in words if word in ("train", "val", "test")), ""))
        self.classes = tuple(sorted(names))
        self.splits = splits_of(parts)
        self._labels.finish(self)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        return evidence(root, END, _is_polygons, "'imgHeight' and 'objects'")

    @classmethod
    def open(cls, root: Path) -> "PolygonsReader":
        return cls(root, all_files(root, END))

    def is_labelled(self, index: int) -> bool:
        return True

    def item(self, index: int) -> LabelledImage:
        image, path = self.images[index], self._labels.labels[index]
        assert path is not None, "images with a file alone are items"
        entry = read_entry(path)
        size = size_of(entry.get("imgHeight"), entry.get("imgWidth"), str(path))
        shapes = tuple(
            Shape(record.label, (corners_of(record.entry.get("polygon"), record.source),), crowd=record.kind == GROUP)
            for record in _records(entry, path, Counter())
        )
        return LabelledImage(image, size, shapes, in_order=True)


def _is_polygons(text: str) -> bool:
    return '"imgHeight"' in text and '"objects"' in text


def _records(entry: Entry, path: Path, lost: Counter[str]) -> list[Record]:
    """The objects of a file that nobody deleted, and by `lost` what is none."""
    records = []
    for number, item in enumerate(entries_of(entry.get("objects"), f"{path}, objects"), 1):
        source = f"{path}, object {number}"
        label = label_of(item.get("label"), source)
        is_group = label.endswith(GROUP) and label != GROUP
        polygon = item.get("polygon")
        if item.get("deleted"):
            continue
        if isinstance(polygon, list) and len(polygon) < 3:
            lost[FEW] += 1
        else:
            name = label.removesuffix(GROUP).rstrip(" _-") if is_group else label
            records.append(Record(name or label, GROUP if is_group else "", item, f"{source} ('{label}')"))
    return records
