"""DICOM segmentations (SEG): which segment each frame holds, of which slice, and its pixels.

Standard: https://dicom.nema.org/medical/dicom/current/output/html/part03.html, sections A.51 and C.8.20.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segkit.data.files.dicom import read_header
from segkit.files import MAX_PIXELS, DataError, brief, limit, shortened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset as Header

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
"""The class of segmentation objects; later characters make another class of it."""

KINDS = ("BINARY", "FRACTIONAL")


class Frame(NamedTuple):
    """A frame of a segmentation.

    Attributes:
        label: name of the segment.
        slice: SOPInstanceUID of the image that it lies on, "" where the file names none.
        position: of its first pixel in the patient, in mm; () where the file states none.
    """

    label: str
    slice: str
    position: tuple[float, ...]


def is_segmentation(header: "Header") -> bool:
    """Whether a file of DICOM is a segmentation."""
    return str(header.get("SOPClassUID", "")) == SEG_CLASS


def position_of(header: "Header") -> tuple[float, ...]:
    """Returns ImagePositionPatient in mm to two digits, () where it is missing or damaged."""
    try:
        return tuple(round(float(value), 2) for value in header.get("ImagePositionPatient") or ())
    except (TypeError, ValueError, OverflowError):
        return ()


def frames_of(header: "Header", path: Path) -> list[Frame]:
    """Lists the frames of a segmentation.

    Args:
        header: of read_header.
        path: the file, for the error.

    Raises:
        DataError: it is of a kind that is not read, or what it says of its frames is damaged.
    """
    kind = str(header.get("SegmentationType", ""))
    if kind not in KINDS:
        raise DataError(f"{path}: SegmentationType {brief(kind)}; {' and '.join(KINDS)} are read, export it as such")
    try:
        names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in header.SegmentSequence}
        shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
        frames = []
        for group in header.PerFrameFunctionalGroupsSequence:
            groups = [item for item in (group, shared) if item is not None]
            named = [item for item in groups if "SegmentIdentificationSequence" in item]
            number = int(named[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            positions = [
                position_of(item.PlanePositionSequence[0]) for item in groups if "PlanePositionSequence" in item
            ]
            frames.append(Frame(names[number], _source(group), positions[0] if positions else ()))
        return frames
    except Exception as error:  # elements are converted when they are asked for, and raise nearly anything
        raise DataError(
            f"{path}: its segments or frames are damaged ({type(error).__name__}: {shortened(error, 200)}); export it "
            "again"
        ) from error


def _source(group: "Header") -> str:
    """SOPInstanceUID of the image that a frame was made of, "" where it names none or several."""
    derivations = group.get("DerivationImageSequence") or []
    sources = [source for item in derivations for source in item.get("SourceImageSequence") or []]
    return str(sources[0].ReferencedSOPInstanceUID) if len(sources) == 1 else ""


def read_frame(path: Path, index: int, size: tuple[int, int]) -> np.ndarray:
    """Reads a frame of a segmentation; of fractional ones what is at least half.

    Args:
        path: the file.
        index: of the frame.
        size: (H, W) that it must have.

    Returns:
        bool [H,W].

    Raises:
        DataError: it has another size, or cannot be decoded.
    """
    header = read_header(path)
    try:
        stated = int(header.Rows), int(header.Columns)
        if stated == size and stated[0] * stated[1] <= limit(MAX_PIXELS):
            values = _values(header, index, size)
            least = float(header.get("MaximumFractionalValue") or 1) / 2
            if values.shape == size:
                return values >= max(least, 0.5)
            stated = values.shape[:2]
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise DataError(f"{path}, frame {index}: cannot be decoded ({shortened(error, 200)}); copy it again") from error
    raise DataError(
        f"{path}, frame {index}: {stated[1]}x{stated[0]} pixels on a slice of {size[1]}x{size[0]}; bring both to one "
        "grid"
    )


def _values(header: "Header", index: int, size: tuple[int, int]) -> np.ndarray:
    """The stored numbers of a frame, [H,W]."""
    from pydicom.pixels import pixel_array

    if int(header.BitsAllocated) != 1 or header.file_meta.TransferSyntaxUID.is_compressed:
        return np.asarray(pixel_array(header, index=index))
    # single bits follow each other from frame to frame, so that a frame may begin within a byte
    start, count = index * size[0] * size[1], size[0] * size[1]
    piece = np.frombuffer(header.PixelData, np.uint8)[start // 8 : -(-(start + count) // 8)]
    return np.unpackbits(piece, bitorder="little")[start % 8 : start % 8 + count].reshape(size)
