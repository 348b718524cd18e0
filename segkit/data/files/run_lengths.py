"""Run-length codes of binary masks as text: Kaggle's absolute form, SIIM's relative form, and COCO's counts.

H W image, n runs. Runs are int64 [n,2]: the first pixel, counted from 0, and the number of pixels. Pixels are counted
down the columns (top to bottom, then left to right) unless a format says by rows.
"""

from dataclasses import dataclass

import numpy as np

from segkit.data.files.coco_json import to_rle
from segkit.data.files.outlines import run_lengths_of
from segkit.files import DataError, brief
from segkit.types import RLE


def runs_of(mask: np.ndarray, *, by_rows: bool = False) -> np.ndarray:
    """Finds the runs of a mask.

    Args:
        mask: [H,W], not 0 where the object is.
        by_rows: whether pixels are counted along the rows.

    Returns:
        int64 [n,2], sorted; no two runs touch.
    """
    pixels = (mask != 0).ravel(order="C" if by_rows else "F")
    edges = np.flatnonzero(np.diff(pixels, prepend=False, append=False))
    starts, ends = edges[0::2], edges[1::2]
    return np.stack([starts, ends - starts], axis=1).astype(np.int64)


def mask_of(runs: np.ndarray, size: tuple[int, int], *, by_rows: bool = False) -> np.ndarray:
    """Draws runs, which must lie in the image.

    Args:
        runs: int64 [n,2].
        size: (H, W).
        by_rows: whether pixels are counted along the rows.

    Returns:
        uint8 [H,W] of 0 and 1.
    """
    pixels = np.zeros(size[0] * size[1], np.uint8)
    for start, length in runs.tolist():
        pixels[start : start + length] = 1
    return np.ascontiguousarray(pixels.reshape(size, order="C" if by_rows else "F"))


@dataclass(frozen=True)
class RunLengths:
    """A way to write a mask as "start length start length ...".

    Args:
        first: number of the first pixel, 0 or 1.
        relative: whether a start is counted from the end of the run before it instead of from the first pixel.
        by_rows: whether pixels are counted along the rows instead of down the columns.
    """

    first: int = 1
    relative: bool = False
    by_rows: bool = False

    def decode(self, text: str, size: tuple[int, int], source: str) -> np.ndarray:
        """Draws a code.

        Args:
            text: the code; blank for no pixel.
            size: (H, W) of the image.
            source: file and line, for the error.

        Returns:
            uint8 [H,W] of 0 and 1.

        Raises:
            DataError: the numbers are odd in count or not whole, the runs are not in order, overlap or reach beyond the
                image.
        """
        return mask_of(self._runs(text, size, source), size, by_rows=self.by_rows)

    def encode(self, mask: np.ndarray) -> str:
        """Writes a mask.

        Args:
            mask: [H,W], not 0 where the object is.

        Returns:
            The code; "" for no pixel.
        """
        runs = runs_of(mask, by_rows=self.by_rows)
        starts = runs[:, 0] + self.first
        if self.relative:
            starts[1:] = runs[1:, 0] - (runs[:-1, 0] + runs[:-1, 1])
        return " ".join(map(str, np.stack([starts, runs[:, 1]], axis=1).ravel().tolist()))

    def _runs(self, text: str, size: tuple[int, int], source: str) -> np.ndarray:
        """The checked runs of a code."""
        numbers = _numbers(text, source)
        runs: list[tuple[int, int]] = []
        end, last = 0, -1
        for written, length in zip(numbers[0::2], numbers[1::2]):
            start = end + written if self.relative and runs else written - self.first
            if length < 1 or start < max(end, last, 0) or start + length > size[0] * size[1]:
                number = len(runs) + 1
                place = f"{source}: run {number} ('{written} {length}')"
                raise DataError(f"{place} {self._reason((start, length), (last, end), number - 1, size)}")
            runs.append((start, length))
            last, end = start, start + length
        return np.array(runs, np.int64).reshape(-1, 2)

    def _reason(self, run: tuple[int, int], before: tuple[int, int], number: int, size: tuple[int, int]) -> str:
        """Why a run (start, length) cannot be; before: first pixel and end of the run before it, whose number it is."""
        (start, length), (last, end) = run, before
        if length < 1:
            return "has no pixel; a length is 1 or more"
        if start < 0:
            return f"begins before the image; the first pixel is {self.first}"
        if start < last:
            return f"begins before run {number}; sort the runs by their starts"
        if start < end:
            return f"overlaps run {number}, which ends with pixel {end - 1 + self.first}"
        return (
            f"ends with pixel {start + length - 1 + self.first}, beyond the image of {size[1]}x{size[0]}, whose last "
            f"is {size[0] * size[1] - 1 + self.first}; is it of another size, or of a code that counts "
            f"{'from the first pixel' if self.relative else 'from the run before'}?"
        )


KAGGLE = RunLengths()
"""Most of Kaggle's competitions: starts from 1, down the columns."""

RELATIVE = RunLengths(first=0, relative=True)
"""SIIM-ACR: each start is the number of pixels since the run before it, the first one since the image's first pixel."""


def _numbers(text: str, source: str) -> list[int]:
    """The whole numbers of a code, an even count of them."""
    words = text.split()
    for word in words:
        if not word.isascii() or not word.isdecimal() or len(word) > 18:
            raise DataError(f"{source}: {brief(word)} is no whole number; a code is 'start length start length ...'")
    if len(words) % 2:
        raise DataError(f"{source}: {len(words)} numbers, an odd count; a code is 'start length start length ...'")
    return [int(word) for word in words]


def to_counts(mask: np.ndarray) -> RLE:
    """Writes a mask as COCO's uncompressed run lengths.

    Args:
        mask: [H,W], not 0 where the object is.

    Returns:
        dict(size=[H, W], counts=list of int): pixels of 0 and of 1 in turn down the columns, 0 first.
    """
    height, width = mask.shape
    counts, end = [], 0
    for start, length in runs_of(mask).tolist():
        counts += [start - end, length]
        end = start + length
    rest = height * width - end
    return dict(size=[height, width], counts=[*counts, rest] if rest or not counts else counts)


def compressed(code: RLE) -> RLE:
    """Compresses COCO's uncompressed run lengths.

    Args:
        code: dict(size=[H, W], counts=list of int), as of to_counts.

    Returns:
        dict(size=[H, W], counts=bytes), as pycocotools has it.

    Raises:
        ValueError, TypeError, KeyError: the counts do not fill the size, see outlines.check_segmentation.
    """
    height, width = code["size"]
    return to_rle(code, height, width)


def encode_mask(mask: np.ndarray) -> RLE:
    """Writes a mask as COCO's compressed run lengths, as pycocotools.mask.encode does, without that package.

    Each run length, from the fourth on its difference to the last but one, becomes groups of 5 bits, the lowest first;
    bit 5 says that more follow, and 48 is added (https://github.com/cocodataset/cocoapi, maskApi.c).

    Args:
        mask: [H,W], not 0 where the object is.

    Returns:
        dict(size=[H, W], counts=bytes).
    """
    runs = to_counts(mask)
    counts, digits = runs["counts"], bytearray()
    for i, count in enumerate(counts):
        rest = count - counts[i - 2] if i > 2 else count
        while True:
            group, rest = rest & 31, rest >> 5
            is_last = rest == (-1 if group & 16 else 0)
            digits.append(group + 48 if is_last else group + 80)
            if is_last:
                break
    return dict(size=runs["size"], counts=bytes(digits))


def decode_mask(code: RLE) -> np.ndarray:
    """Draws COCO's run lengths, compressed or not, as pycocotools.mask.decode does, without that package.

    Args:
        code: dict(size=[H, W], counts=bytes, text, or a list of int).

    Returns:
        uint8 [H,W] of 0 and 1.

    Raises:
        ValueError: the code is damaged.
    """
    height, width = code["size"]
    counts = code["counts"]
    runs = counts if isinstance(counts, list) else run_lengths_of(counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"its run lengths add up to {sum(runs)}, not to the {height * width} pixels of its size")
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)
