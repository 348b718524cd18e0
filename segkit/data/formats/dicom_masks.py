"""DICOM slices beside masks of the same names, in DICOM files or pictures. Reading them needs pydicom."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segkit.data.files.dicom import dicom_size, is_dicom, read_dicom
from segkit.data.files.masks import MASK_SUFFIXES
from segkit.data.files.pairs import walk_files
from segkit.data.formats.base import LabelledImage
from segkit.data.formats.dicom import SUFFIXES, DicomReader
from segkit.data.formats.masks import MasksReader, meaning_of
from segkit.data.formats.masks_layout import Layout, find_layout
from segkit.files import DataError

DIRECTORY = "DICOMDIR"
"""Name of the file that lists those of a medium, and holds no picture."""


class DicomMasksReader(MasksReader):
    """Maps of classes in DICOM files or pictures, beside slices of DICOM.

    The numbers of a mask count as they are stored, without its rescaling.
    """

    format = "dicom_masks"

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        layout = None if DicomReader.sniff(root) else _layout(root)
        return None if layout is None else layout.evidence

    @classmethod
    def open(cls, root: Path) -> "DicomMasksReader":
        layout = _layout(root)
        if layout is None:
            raise DataError(
                f"{root}: no slice of DICOM with a mask here; expected images/NAME.dcm with masks/NAME.dcm, or "
                "NAME_mask.dcm beside NAME.dcm; give the folder that holds both"
            )
        masks = [pair.mask for pair in layout.pairs if pair.mask is not None]
        return cls(root, layout.pairs, meaning_of(root, masks), layout.lost)

    def item(self, index: int) -> LabelledImage:
        image = Path(self.images[index])
        size = dicom_size(image)
        if not self.is_labelled(index):
            return LabelledImage(image, size, is_labelled=False)
        item = super().item(index)
        if item.size != size:
            raise DataError(
                f"{self.label_file(index)}: mask of {item.size[1]}x{item.size[0]} pixels for a slice of "
                f"{size[1]}x{size[0]} ({image}); export the masks at the slices' size"
            )
        return item

    def pixels(self, index: int, channels: int = 3) -> np.ndarray:
        return np.repeat(read_dicom(self.images[index]), channels, axis=2)


def _layout(root: Path) -> Layout | None:
    """The slices and masks below a folder; None where the images are no files of DICOM."""
    files = list(_files(root)) if root.is_dir() else []
    layout = None if all(_is_picture(name) for name in files) else find_layout(root, files)
    if layout is None or any(_is_picture(pair.image) for pair in layout.pairs):
        return None
    return layout if is_dicom(layout.pairs[0].image) else None


def _files(root: Path) -> Iterator[str]:
    """Files of DICOM by their endings, or without one by how they begin; and pictures that may be masks."""
    for name in walk_files(root, (*SUFFIXES, *MASK_SUFFIXES)):
        path = Path(name)
        if path.suffix or (path.name != DIRECTORY and is_dicom(path)):
            yield name


def _is_picture(path: str | Path) -> bool:
    return str(path).lower().endswith(MASK_SUFFIXES)
