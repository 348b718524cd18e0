"""DICOM slices and the segmentation objects (SEG) that lie on them. Reading them needs pydicom."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.files.dicom import START, dicom_size, read_dicom, read_header
from segkit.data.files.dicom_seg import SEG_CLASS, Frame, frames_of, is_segmentation, position_of, read_frame
from segkit.data.files.pairs import some, walk_files
from segkit.data.formats.base import LabelledImage, LabelReader, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.entries import label_of
from segkit.data.formats.gathered import ends_of
from segkit.files import DataError

SUFFIXES = (".dcm", ".dicom", ".ima", "")
MOST_SNIFFED = 2000
HEAD = 1024
"""Letters within which the class of an object stands."""


class _Slice(NamedTuple):
    """What the header of an image says: its own number, that of its series, and where it lies."""

    path: Path
    number: str
    series: str
    position: tuple[float, ...]


class _Object(NamedTuple):
    """A frame of a segmentation on a slice."""

    label: str
    path: Path
    frame: int


class DicomReader(LabelReader):
    """The slices below a folder; those of a series that has a segmentation are labelled."""

    format = "dicom"

    def __init__(self, root: Path) -> None:
        super().__init__()
        slices, segmentations = self._headers(root)
        if not slices or not segmentations:
            raise DataError(
                f"{root}: {len(slices)} images and {len(segmentations)} segmentations (SEG) below this folder; copy "
                "both there"
            )
        by_number = {found.number: found for found in slices}
        by_position: dict[tuple[float, ...], list[_Slice]] = {}
        for found in slices:
            by_position.setdefault(found.position, []).append(found)
        self._objects: dict[Path, list[_Object]] = {}
        names: dict[str, None] = {}
        series, apart = set(), 0
        for path, frames in segmentations.items():
            for number, frame in enumerate(frames):
                names[label_of(frame.label, f"{path}, frame {number}")] = None
                below = by_position.get(frame.position, []) if frame.position else []
                lies_on = by_number.get(frame.slice) or (below[0] if len(below) == 1 else None)
                if lies_on is None:
                    apart += 1
                    continue
                series.add(lies_on.series)
                self._objects.setdefault(lies_on.path, []).append(_Object(frame.label.strip(), path, number))
        if not series:
            raise DataError(
                f"{root}: no frame of {some([*map(str, segmentations)], 3)} lies on one of the {len(slices)} images; "
                "copy the series there that was segmented"
            )
        if apart:
            self.lost["frames of segmentations whose slice is missing"] = apart
        self.classes = tuple(names)
        self.images = [found.path for found in slices]
        self._is_labelled = [found.series in series for found in slices]
        if not all(self._is_labelled):
            self.notes = (f"{self._is_labelled.count(False)} images are of a series without a segmentation",)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        if not root.is_dir():
            return None
        for number, path in enumerate(walk_files(root, SUFFIXES)):
            head = ends_of(Path(path)) if number < MOST_SNIFFED else ""
            if head[START : START + 4] == "DICM" and SEG_CLASS in head[:HEAD]:
                return f"{Path(path).name} is a DICOM segmentation"
        return None

    @classmethod
    def open(cls, root: Path) -> "DicomReader":
        return cls(root)

    def is_labelled(self, index: int) -> bool:
        return self._is_labelled[index]

    def item(self, index: int) -> LabelledImage:
        path = self.images[index]
        size = dicom_size(path)
        shapes = tuple(
            Shape(found.label, mask=code_of(read_frame(found.path, found.frame, size)))
            for found in self._objects.get(path, ())
        )
        return LabelledImage(path, size, shapes, is_labelled=self._is_labelled[index])

    def pixels(self, index: int, channels: int = 3) -> np.ndarray:
        return np.repeat(read_dicom(self.images[index]), channels, axis=2)

    def _headers(self, root: Path) -> tuple[list[_Slice], dict[Path, list[Frame]]]:
        """The images below a folder, and the frames of the segmentations."""
        slices: list[_Slice] = []
        segmentations: dict[Path, list[Frame]] = {}
        for path in map(Path, walk_files(root, SUFFIXES) if root.is_dir() else [str(root)]):
            if path.suffix == "" and ends_of(path)[START : START + 4] != "DICM":
                continue
            header = read_header(path)
            if is_segmentation(header):
                segmentations[path] = frames_of(header, path)
            elif "Rows" not in header or "PixelData" not in header:
                self.lost["files without a picture"] += 1
            elif str(header.get("NumberOfFrames") or 1) != "1":
                self.lost["files of several frames"] += 1
            else:
                number, series = str(header.get("SOPInstanceUID", "")), str(header.get("SeriesInstanceUID", ""))
                slices.append(_Slice(path, number, series, position_of(header)))
        return slices, segmentations
