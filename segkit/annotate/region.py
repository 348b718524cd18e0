"""The mask of one object of an image of any size: bits of its bounding box, compressed. H W image."""

import base64
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from segkit.data.files.run_lengths import compressed
from segkit.files import DataError
from segkit.types import RLE

Box: TypeAlias = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels; x1 and y1 are exclusive."""

LEVEL = 1
"""Of zlib: masks compress well at any, and strokes are answered at once."""

UNPACKED_BYTES = 96 << 20
"""Bits of regions that are kept decompressed, in bytes."""

COLUMNS = 512
"""Columns whose pixels are held at once while run lengths are counted."""

_COUNTS = np.array([bin(value).count("1") for value in range(256)], np.uint8)


@dataclass(frozen=True)
class Region:
    """The pixels of an object, never changed in place.

    Attributes:
        box: tight around the pixels; (0, 0, 0, 0) of no pixel.
        area: number of pixels.
        bits: zlib of rows of bits, the highest first; a row begins at the last multiple of 8 that is at most x0, so
            that the bytes of two regions lie above each other.
    """

    box: Box
    area: int
    bits: bytes

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.area == 0

    def packed(self) -> np.ndarray:
        """Returns the bits, uint8 [y1 - y0, ceil(x1 / 8) - floor(x0 / 8)], which are not to be changed."""
        return _unpacked.of(self)

    def bytes_in(self, box: Box) -> np.ndarray:
        """Returns the bits in a box whose x0 and x1 are multiples of 8: uint8 [y1 - y0, (x1 - x0) / 8], a copy."""
        x0, y0, x1, y1 = box
        found = np.zeros((y1 - y0, (x1 - x0) // 8), np.uint8)
        if self.is_empty:
            return found
        left, right = self.box[0] // 8, -(-self.box[2] // 8)
        top, bottom = max(y0, self.box[1]), min(y1, self.box[3])
        first, last = max(x0 // 8, left), min(x1 // 8, right)
        if top < bottom and first < last:
            rows = slice(top - self.box[1], bottom - self.box[1])
            inner = self.packed()[rows, first - left : last - left]
            found[top - y0 : bottom - y0, first - x0 // 8 : last - x0 // 8] = inner
        return found

    def window(self, box: Box) -> np.ndarray:
        """Returns the pixels in a box, bool [y1 - y0, x1 - x0]."""
        x0, y0, x1, y1 = box
        wide = (x0 // 8 * 8, y0, -(-x1 // 8) * 8, y1)
        pixels = np.unpackbits(self.bytes_in(wide), axis=1)
        return pixels[:, x0 - wide[0] : x1 - wide[0]].view(bool)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Returns the pixels of some rows and columns, ascending int64 [n] and [m]; bool [n,m]."""
        found = np.zeros((len(rows), len(columns)), bool)
        x0, y0, x1, y1 = self.box
        i0, i1 = np.searchsorted(rows, [y0, y1])
        j0, j1 = np.searchsorted(columns, [x0, x1])
        if i0 < i1 and j0 < j1:
            inner = columns[j0:j1]
            values = self.packed()[np.ix_(rows[i0:i1] - y0, inner // 8 - x0 // 8)]
            found[i0:i1, j0:j1] = (values >> (7 - inner % 8).astype(np.uint8)) & 1
        return found

    def record(self) -> dict[str, Any]:
        """Returns the region as JSON holds it."""
        return {"box": list(self.box), "area": self.area, "bits": base64.b64encode(self.bits).decode("ascii")}


EMPTY = Region((0, 0, 0, 0), 0, b"")
"""No pixel."""


class _Unpacked:
    """The bits of the regions that were asked for last, decompressed."""

    def __init__(self, most: int):
        self._most, self._bytes = most, 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def of(self, region: Region) -> np.ndarray:
        """Returns the bits of a region; see Region.packed."""
        height, width = shape_of(region.box)
        with self._lock:
            found = self._kept.get(region.bits)
            if found is not None and found.shape == (height, width):
                self._kept.move_to_end(region.bits)
                return found
        values = np.frombuffer(zlib.decompress(region.bits), np.uint8).reshape(height, width)
        with self._lock:
            if region.bits not in self._kept:
                self._kept[region.bits] = values
                self._bytes += values.nbytes
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return values


_unpacked = _Unpacked(UNPACKED_BYTES)


def shape_of(box: Box) -> tuple[int, int]:
    """Returns the shape of the bits of a region with this box."""
    return box[3] - box[1], -(-box[2] // 8) - box[0] // 8


def region_of_bits(packed: np.ndarray, x0: int, y0: int) -> Region:
    """Makes a region of bits.

    Args:
        packed: uint8 [h,w], rows of bits.
        x0: column of the first bit, a multiple of 8.
        y0: row of the first bits.
    """
    rows = np.flatnonzero(packed.any(1))
    if not len(rows):
        return EMPTY
    packed = packed[rows[0] : rows[-1] + 1]
    ors = np.bitwise_or.reduce(packed, axis=0)
    columns = np.flatnonzero(ors)
    packed = np.ascontiguousarray(packed[:, columns[0] : columns[-1] + 1])
    first = 8 - int(ors[columns[0]]).bit_length()
    last = 8 - (int(ors[columns[-1]]) & -int(ors[columns[-1]])).bit_length()
    left, top = x0 + 8 * int(columns[0]), y0 + int(rows[0])
    box = (left + first, top, x0 + 8 * int(columns[-1]) + last + 1, top + len(packed))
    area = sum(int(_COUNTS[block].sum(dtype=np.int64)) for block in np.array_split(packed, max(1, packed.size >> 22)))
    return Region(box, area, zlib.compress(packed.tobytes(), LEVEL))


def region_of(mask: np.ndarray, x0: int = 0, y0: int = 0) -> Region:
    """Makes a region of pixels.

    Args:
        mask: [h,w], not 0 where the object is.
        x0, y0: column and row of its first pixel in the image.
    """
    if not mask.size:
        return EMPTY
    shift = x0 % 8
    pixels = mask if mask.dtype == bool else mask != 0
    pixels = np.pad(pixels, ((0, 0), (shift, 0))) if shift else pixels
    return region_of_bits(np.packbits(pixels, axis=1), x0 - shift, y0)


def region_of_record(record: Any, size: tuple[int, int], source: str) -> Region:
    """Reads a region out of JSON.

    Args:
        record: of Region.record.
        size: (H, W) of the image.
        source: file and line, for the error.

    Raises:
        DataError: it is no such record, or does not lie within the image.
    """
    try:
        x0, y0, x1, y1 = (int(side) for side in record["box"])
        bits = base64.b64decode(record["bits"], validate=True)
        if not bits:
            return EMPTY
        if not (0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]):
            raise ValueError(f"its box leaves the image of {size[1]}x{size[0]}")
        height, width = shape_of((x0, y0, x1, y1))
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(bits, height * width + 1)
        if len(content) != height * width or unpacker.unconsumed_tail:
            raise ValueError("its bits do not fill its box")
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{source}: a mask cannot be read ({error}); restore the file, or remove it") from error
    region = region_of_bits(np.frombuffer(content, np.uint8).reshape(height, width), x0 // 8 * 8, y0)
    # what was written is what was read, so that equal masks stay equal bytes
    return region if region.box != (x0, y0, x1, y1) else Region(region.box, region.area, bits)


def around(boxes: Sequence[Box]) -> Box:
    """Returns the box around boxes, those of no pixel left out; (0, 0, 0, 0) of none."""
    full = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    if not full:
        return 0, 0, 0, 0
    x0, y0 = (min(box[i] for box in full) for i in (0, 1))
    x1, y1 = (max(box[i] for box in full) for i in (2, 3))
    return x0, y0, x1, y1


def _aligned(box: Box) -> Box:
    return box[0] // 8 * 8, box[1], -(-box[2] // 8) * 8, box[3]


def union(regions: Sequence[Region]) -> Region:
    """Returns the pixels that lie in any of the regions."""
    full = [region for region in regions if not region.is_empty]
    if len(full) < 2:
        return full[0] if full else EMPTY
    box = _aligned(around([region.box for region in full]))
    bits = full[0].bytes_in(box)
    for region in full[1:]:
        inner = _aligned(region.box)
        place = bits[inner[1] - box[1] : inner[3] - box[1], (inner[0] - box[0]) // 8 : (inner[2] - box[0]) // 8]
        place |= region.packed()
    return region_of_bits(bits, box[0], box[1])


def minus(region: Region, other: Region) -> Region:
    """Returns the pixels of a region that do not lie in another."""
    if region.is_empty or other.is_empty:
        return region
    box = _aligned(region.box)
    return region_of_bits(region.packed() & ~other.bytes_in(box), box[0], box[1])


def within(region: Region, box: Box) -> Region:
    """Returns the pixels of a region that lie in a box."""
    x0, y0, x1, y1 = (max(region.box[i], box[i]) if i < 2 else min(region.box[i], box[i]) for i in range(4))
    if x0 >= x1 or y0 >= y1:
        return EMPTY
    return region_of(region.window((x0, y0, x1, y1)), x0, y0)


def outside(region: Region, box: Box) -> Region:
    """Returns the pixels of a region that do not lie in a box."""
    return minus(region, within(region, box))


def difference_box(a: Region, b: Region) -> Box | None:
    """Returns the box around the pixels that lie in one of two regions alone; None where they are equal."""
    if a.bits == b.bits and a.box == b.box:
        return None
    box = _aligned(around([a.box, b.box]))
    found = region_of_bits(a.bytes_in(box) ^ b.bytes_in(box), box[0], box[1])
    return None if found.is_empty else found.box


def counts_of(region: Region, size: tuple[int, int]) -> RLE:
    """Writes a region as COCO's uncompressed run lengths, without drawing the whole image.

    Args:
        region: of the image.
        size: (H, W) of the image.

    Returns:
        dict(size=[H, W], counts=list of int): pixels of 0 and of 1 in turn down the columns, 0 first.
    """
    height, width = size
    x0, y0, x1, y1 = region.box
    starts, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for left in range(x0, x1, COLUMNS):
        pixels = region.window((left, y0, min(left + COLUMNS, x1), y1)).T
        edges = np.diff(np.pad(pixels, ((0, 0), (1, 1))).view(np.int8), axis=1)
        for found, sign in ((starts, 1), (ends, -1)):
            column, row = np.nonzero(edges == sign)
            found.append((left + column) * height + y0 + row)
    begin, end = np.concatenate(starts), np.concatenate(ends)
    # runs of the full height touch those of the next column
    is_new = np.ones(len(begin), bool)
    is_new[1:] = begin[1:] != end[:-1]
    begin, end = begin[is_new], end[np.append(is_new[1:], True)] if len(end) else end
    edges = np.concatenate([[0], np.stack([begin, end], axis=1).ravel(), [height * width]])
    counts = np.diff(edges).tolist()
    if counts[-1] == 0 and len(counts) > 1:
        counts.pop()
    return dict(size=[height, width], counts=counts)


def rle_of(region: Region, size: tuple[int, int]) -> RLE:
    """Writes a region as COCO's compressed run lengths, as pycocotools.mask.encode does of the drawn mask."""
    return compressed(counts_of(region, size))
