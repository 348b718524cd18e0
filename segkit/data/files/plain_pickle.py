"""Pickle files of plain values, read without running anything that is in them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from segkit.files import DataError

SCALARS = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Where pickles look for the maker of numpy's single numbers; arrays are not among the plain values."""


class _Plain(pickle.Unpickler):
    """Knows the numbers of numpy and nothing else beside Python's own values."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return _number_type
        if module in SCALARS and name == "scalar":
            return _number
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain value")


class _NumberType:
    """Stands for a numpy dtype while it is unpickled; kind, size and byte order are all that is taken of it."""

    def __init__(self, name: str):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


def _number_type(name: str, *_: Any) -> _NumberType:
    if not isinstance(name, str) or name[:1] not in tuple("biuf") or not name[1:].isdigit():
        raise pickle.UnpicklingError(f"it holds a numpy value of type {name!r}, which is no number")
    return _NumberType(name)


def _number(kind: _NumberType, content: bytes | str) -> bool | int | float:
    order = kind.order if kind.order in ("<", ">") else "="
    content = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(content, np.dtype(kind.name).newbyteorder(order), 1)[0].item()


def _bytes(text: str, encoding: str) -> bytes:
    """How Python writes bytes in pickles of protocol 2 and below."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes written as {encoding!r}")
    return text.encode("latin1")


def load_plain(path: str | Path) -> Any:
    """path: pickle of lists, tuples, dicts, text, bytes and numbers (numpy's too) -> these, numbers as Python's.

    DataError where the file cannot be read or names any function or class: nothing of it is called.
    """
    try:
        with open(path, "rb") as file:
            return _Plain(file, encoding="latin-1").load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises nearly any exception
        raise DataError(f"{path}: no pickle of plain values: {error}") from error
