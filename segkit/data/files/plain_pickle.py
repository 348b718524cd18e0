"""Reading pickle files of plain values without running anything that is in them."""

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segkit.files import DataError

SCALARS = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Modules in which pickles look for the maker of numpy's single numbers; arrays are not among the plain values."""


class PlainUnpickler(pickle.Unpickler):
    """Knows the numbers of numpy and nothing else beside Python's own values."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name in the file.

        Args:
            module: the name's module.
            name: what the file asks for.

        Raises:
            pickle.UnpicklingError: for a name that is no plain value.
        """
        if (module, name) == ("numpy", "dtype"):
            return _number_type
        if module in SCALARS and name == "scalar":
            return _number
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain value")


class NumberType:
    """Stands for a numpy dtype while it is unpickled; it takes kind, size and byte order alone.

    Args:
        name: the dtype's, such as "f8".
    """

    order: Literal["<", ">", "="]

    def __init__(self, name: str):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="


def _number_type(name: str, *_: Any) -> NumberType:
    if not isinstance(name, str) or name[:1] not in tuple("biuf") or not name[1:].isdigit():
        raise pickle.UnpicklingError(f"it holds a numpy value of type {name!r}, which is no number")
    return NumberType(name)


def _number(dtype: NumberType, content: bytes | str) -> bool | int | float:
    content = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(content, np.dtype(dtype.name).newbyteorder(dtype.order), 1)[0].item()


def _bytes(text: str, encoding: str) -> bytes:
    """How Python writes bytes in pickles of protocol 2 and below."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes written as {encoding!r}")
    return text.encode("latin1")


def load_plain(path: str | Path) -> Any:
    """Reads a pickle file of plain values.

    Args:
        path: pickle of lists, tuples, dicts, text, bytes and numbers, numpy's too.

    Returns:
        These values, numbers as Python's.

    Raises:
        DataError: where the file cannot be read, or names any function or class: nothing of it is called.
    """
    try:
        with open(path, "rb") as file:
            return PlainUnpickler(file, encoding="latin-1").load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises nearly any exception
        raise DataError(f"{path}: no pickle of plain values: {error}") from error
