"""Small pictures inside of annotation files that are masks of objects, and masks as run-length codes."""

import base64
import binascii
import zlib
from collections.abc import Sequence

import numpy as np

from segkit.data.files.images import AS_STORED, decode
from segkit.files import DataError, brief
from segkit.types import RLE

SPARE_BYTES = 1 << 20
"""Bytes of a packed picture beyond those of its pixels: its head, and a palette."""


def code_of(mask: np.ndarray) -> RLE:
    """Encodes a mask [H,W], not 0 where the object is, as compressed run lengths."""
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))


def union_of(codes: Sequence[RLE]) -> RLE:
    """Unites compressed run-length codes of one size."""
    from pycocotools import mask as coco_mask

    return coco_mask.merge(list(codes))


def from_base64(text: object, source: str) -> bytes:
    """Returns the bytes that a base64 text stands for; DataError where it is none."""
    try:
        if not isinstance(text, str):
            raise ValueError("no text")
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise DataError(f"{source}: the mask {brief(text)} is no base64 ({error}); export it again") from error


def unpacked(content: bytes, size: tuple[int, int], source: str) -> bytes:
    """Unpacks a zlib stream that holds a picture of at most the image's size.

    Args:
        content: the stream.
        size: (H, W) of the image.
        source: file and object, for the error.

    Raises:
        DataError: it is damaged, or unfolds to more bytes than such a picture can have.
    """
    most = 4 * size[0] * size[1] + SPARE_BYTES
    try:
        stream = zlib.decompressobj()
        picture = stream.decompress(content, most)
    except zlib.error as error:
        raise DataError(f"{source}: its mask cannot be unpacked ({error}); export it again") from error
    if stream.unconsumed_tail:
        raise DataError(
            f"{source}: its mask unfolds to more than {most:,} bytes, too many for an image of {size[1]}x{size[0]}; "
            "export it again"
        )
    return picture


def bitmap_of(content: bytes, size: tuple[int, int], source: str) -> np.ndarray:
    """Decodes a picture that is the mask of an object: not transparent, or not 0.

    Args:
        content: a PNG.
        size: (H, W) of the image, which the picture must not exceed.
        source: file and object, for the error.

    Returns:
        bool [h,w].

    Raises:
        DataError: it cannot be decoded, or is larger than the image.
    """
    picture = decode(content, AS_STORED, source)
    height, width = picture.shape[:2]
    if height > size[0] or width > size[1]:
        raise DataError(
            f"{source}: a mask of {width}x{height} pixels for an image of {size[1]}x{size[0]}; was the image resized? "
            "Restore it, or label it again"
        )
    if picture.ndim == 2:
        return picture != 0
    return np.asarray(picture[:, :, 3] != 0 if picture.shape[2] == 4 else picture.any(axis=2))


def placed(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> RLE:
    """Encodes a mask that covers a part of an image; what lies outside of the image is cut off.

    Args:
        mask: [h,w], not 0 where the object is.
        corner: (x, y) of its upper left pixel in the image.
        size: (H, W) of the image.

    Returns:
        Compressed run-length code of the image's size.
    """
    whole = np.zeros(size, np.uint8)
    x, y = corner
    top, left = max(0, -y), max(0, -x)
    part = mask[top : max(top, size[0] - y), left : max(left, size[1] - x)]
    if part.size:
        whole[y + top : y + top + part.shape[0], x + left : x + left + part.shape[1]] = part != 0
    return code_of(whole)
