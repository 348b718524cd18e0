"""Label Studio's run-length code of brush masks: words of bits, packed one after another.

32 bits: the number of words; 5 bits: bits of a word less 1; 4 x 4 bits: four sizes of lengths less 1. Then blocks: 1
bit: whether the block repeats one word; 2 bits: which of the four sizes its length has; the length less 1; the word, or
as many words. The words are red, green, blue and alpha of the image's pixels along its rows, and a mask is where alpha
is not 0. Facts: https://github.com/HumanSignal/label-studio-converter (brush.py).
"""

import numpy as np

from segkit.data.files.run_lengths import runs_of
from segkit.files import DataError, brief

CHANNELS = 4
SIZES = (3, 4, 8, 16)
"""Bits of the four kinds of lengths that are written; a file states its own."""

WORD = 8
"""Bits of a word that is written."""


class _Bits:
    """Reads numbers from bytes, the highest bit first."""

    def __init__(self, content: bytes):
        self._content = content
        self._bytes = np.frombuffer(content, np.uint8)
        self._position = 0

    def number(self, bits: int) -> int:
        """Returns the number in the next bits, at most 32; ValueError where the code ends before."""
        self._need(bits)
        first, offset = divmod(self._position, 8)
        self._position += bits
        chunk = self._content[first : first + 5].ljust(5, b"\0")
        return int.from_bytes(chunk, "big") >> 40 - offset - bits & (1 << bits) - 1

    def are_set(self, count: int, bits: int) -> np.ndarray:
        """Whether each of the next numbers is not 0, bool [count]."""
        self._need(count * bits)
        first, offset = divmod(self._position, 8)
        self._position += count * bits
        end = -(-self._position // 8)
        digits = np.unpackbits(self._bytes[first:end])[offset : offset + count * bits]
        return digits.reshape(count, bits).max(axis=1) > 0

    def _need(self, bits: int) -> None:
        if self._position + bits > 8 * len(self._content):
            raise ValueError(f"it ends after {len(self._content)} bytes, too soon")


def decode_brush(code: object, size: tuple[int, int], source: str) -> np.ndarray:
    """Draws a brush mask.

    Args:
        code: list of bytes 0..255.
        size: (H, W) of the image.
        source: file and object, for the error.

    Returns:
        bool [H,W].

    Raises:
        DataError: it is no such code, or one of an image of another size.
    """
    try:
        if not isinstance(code, list):
            raise ValueError("it is no list of bytes")
        bits = _Bits(bytes(code))
        count, word = bits.number(32), bits.number(5) + 1
        if count != CHANNELS * size[0] * size[1]:
            raise ValueError(f"it has {count} words, not {CHANNELS} for each pixel")
        sizes = [bits.number(4) + 1 for _ in range(CHANNELS)]
        is_set = np.zeros(count, bool)
        position = 0
        while position < count:
            is_repeated = bits.number(1)
            length = bits.number(sizes[bits.number(2)]) + 1
            if position + length > count:
                raise ValueError(f"its runs go beyond its {count} words")
            if is_repeated:
                is_set[position : position + length] = bits.number(word) != 0
            else:
                is_set[position : position + length] = bits.are_set(length, word)
            position += length
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{source}: the brush mask {brief(code)} cannot be drawn on an image of {size[1]}x{size[0]} ({error}); "
            "export it again"
        ) from error
    return is_set.reshape(*size, CHANNELS)[:, :, CHANNELS - 1]


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encodes a mask [H,W], not 0 where the object is; returns bytes 0..255."""
    digits = [f"{CHANNELS * mask.size:032b}{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    end = 0
    for start, length in runs_of(mask, by_rows=True).tolist():
        digits += [*_blocks(CHANNELS * (start - end), 0), *_blocks(CHANNELS * length, 255)]
        end = start + length
    digits += _blocks(CHANNELS * (mask.size - end), 0)
    text = "".join(digits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _blocks(length: int, value: int) -> list[str]:
    """The blocks that repeat a word, as bits."""
    blocks = []
    while length > 0:
        part = min(length, 1 << SIZES[-1])
        kind = next(number for number, size in enumerate(SIZES) if part <= 1 << size)
        blocks.append(f"1{kind:02b}{part - 1:0{SIZES[kind]}b}{value:0{WORD}b}")
        length -= part
    return blocks
