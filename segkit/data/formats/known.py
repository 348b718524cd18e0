"""The label formats that segkit reads and writes, and finding out which one a folder is in."""

import zipfile
from pathlib import Path
from typing import NamedTuple

from segkit.data.formats.base import LabelReader, LabelWriter
from segkit.data.formats.coco import CocoReader, CocoWriter
from segkit.data.formats.cvat import CvatReader
from segkit.data.formats.darwin import DarwinReader
from segkit.data.formats.dicom import DicomReader
from segkit.data.formats.dicom_masks import DicomMasksReader
from segkit.data.formats.labelme import LabelmeReader, LabelmeWriter
from segkit.data.formats.labelstudio import LabelStudioReader, LabelStudioWriter
from segkit.data.formats.masks import MasksReader, MasksWriter
from segkit.data.formats.nifti import NiftiReader
from segkit.data.formats.polygons import PolygonsReader
from segkit.data.formats.rle_csv import RleCsvReader
from segkit.data.formats.supervisely import SuperviselyReader
from segkit.data.formats.voc import VocReader
from segkit.data.formats.voc_writer import VocWriter
from segkit.data.formats.yolo import YoloReader, YoloWriter
from segkit.files import DataError
from segkit.registry import did_you_mean

READERS: tuple[type[LabelReader], ...] = (
    LabelmeReader,
    CvatReader,
    LabelStudioReader,
    SuperviselyReader,
    DarwinReader,
    PolygonsReader,
    RleCsvReader,
    NiftiReader,
    DicomReader,
    DicomMasksReader,
    CocoReader,
    YoloReader,
    VocReader,
    MasksReader,
)
"""In the order in which they are asked: the more particular format first."""

FALLBACKS: tuple[type[LabelReader], ...] = (MasksReader,)
"""Formats that count only where no other one fits, since exports of many programs hold masks beside their files."""

WRITERS: tuple[type[LabelWriter], ...] = (
    CocoWriter,
    YoloWriter,
    VocWriter,
    MasksWriter,
    LabelmeWriter,
    LabelStudioWriter,
)


class Found(NamedTuple):
    """A format that a folder may be in, and the evidence for it."""

    reader: type[LabelReader]
    evidence: str

    def read(self, root: str | Path) -> LabelReader:
        """Opens the folder or file."""
        return self.reader.open(Path(root).expanduser())


def sniff_all(root: Path) -> list[Found]:
    """Returns the formats that a folder or file may be in, the most particular first."""
    evidence = ((reader, reader.sniff(root)) for reader in READERS)
    found = [Found(reader, words) for reader, words in evidence if words]
    return [item for item in found if item.reader not in FALLBACKS] or found


def reader_of(root: str | Path, format: str | None = None) -> Found:
    """Finds the reader of a folder or file of labels.

    Args:
        root: the folder or file, "~" allowed.
        format: name of the format; None to find it out.

    Raises:
        DataError: there is no such path or format, no format fits, or several do.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such folder or file; check the path")
    names = [reader.format for reader in READERS]
    if format is not None:
        if format not in names:
            raise DataError(
                f"format = '{format}': no such format{did_you_mean(format, names)}; known: {', '.join(names)}"
            )
        chosen = READERS[names.index(format)]
        return Found(chosen, chosen.sniff(path) or "as you say")
    if path.is_file() and zipfile.is_zipfile(path):
        raise DataError(f"{path}: a zip archive; unpack it and give the folder")
    found = sniff_all(path)
    if not found:
        raise DataError(
            f"{path}: labels of no known format; looked for: {', '.join(names)}; name one by format=..., or give the "
            "folder in which images and labels lie"
        )
    if len(found) > 1:
        several = "; ".join(f"{reader.format} ({words})" for reader, words in found)
        raise DataError(f"{path}: several formats fit: {several}; choose one by format='{found[0].reader.format}'")
    return found[0]


def open_labels(root: str | Path, format: str | None = None) -> LabelReader:
    """Opens a folder or file of labels in any known format.

    Args:
        root: the folder or file, "~" allowed.
        format: name of the format; None to find it out.

    Raises:
        DataError: see reader_of; or the reader cannot open it.
    """
    return reader_of(root, format).read(root)
