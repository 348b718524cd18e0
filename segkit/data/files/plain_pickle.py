"""Reading pickle files of plain values without running anything that is in them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from segkit.files import DataError, brief, read_bytes
from segkit.readers.pickles import Frozen, to_bytes, unpickle

ARRAY_MODULES = ("numpy.core", "numpy._core")
NUMBERS = tuple(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)) + ("b1", "f2", "f4", "f8")
"""Types of numpy's numbers; arrays are not among the plain values."""


class NumberType(metaclass=Frozen):
    """Stands for a numpy dtype while it is unpickled; it takes kind, size and byte order alone.

    Args:
        name: the dtype's, such as "f8".
    """

    __slots__ = ("name", "order")

    def __init__(self, name: str):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="


def _number_type(name: str, *_: Any) -> NumberType:
    if not isinstance(name, str) or name not in NUMBERS:
        raise pickle.UnpicklingError(f"it holds a numpy value of type {brief(name)}, which is no number")
    return NumberType(name)


def _number(dtype: NumberType, content: bytes | str) -> bool | int | float:
    if not isinstance(dtype, NumberType):
        raise pickle.UnpicklingError("it holds a numpy value without a type")
    content = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(content, np.dtype(f"{dtype.order}{dtype.name}"), 1)[0].item()


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _number_type,
    **{(f"{module}.multiarray", "scalar"): _number for module in ARRAY_MODULES},
    ("_codecs", "encode"): to_bytes,
}
"""What pickles of numpy's single numbers, and of bytes, name by (module, name), and what stands for it here."""


def load_plain(path: str | Path) -> Any:
    """Reads a pickle file of plain values.

    Args:
        path: pickle of lists, tuples, dicts, text, bytes and numbers, numpy's too.

    Returns:
        These values, numbers as Python's.

    Raises:
        DataError: where the file cannot be read, or names any function or class: nothing of it is called.
    """
    content = read_bytes(path)
    try:
        return unpickle(content, STAND_INS)
    except DataError as error:
        raise DataError(f"{path}: no pickle of plain values: {error}") from error
