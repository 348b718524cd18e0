"""The pickles of the published COCO+LVIS, OpenImages and ADE20K annotations, read without running anything of them."""

import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.data.files.images import read_bytes
from segkit.data.files.plain_pickle import _Plain
from segkit.files import DataError


class Bytes:
    """Stands for a numpy array of bytes while it is unpickled; `content` is all that is taken of it."""

    content = b""

    def __setstate__(self, state: tuple) -> None:
        _, _, kind, _, content = state
        if getattr(kind, "name", None) != "u1":
            raise pickle.UnpicklingError(f"it holds a numpy array of {getattr(kind, 'name', kind)}, not of bytes")
        self.content = content.encode("latin-1") if isinstance(content, str) else bytes(content)


class _Name:
    """Stands for a class that is only named, as an argument."""


def _array(*_: Any) -> Bytes:
    return Bytes()


def _array_of(content: Any, kind: Any, *_: Any) -> Bytes:
    array = Bytes()
    array.__setstate__((1, (), kind, False, content))
    return array


def _mapping(*_: Any) -> dict:
    return {}


def _path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


ARRAY_MODULES = ("numpy.core", "numpy._core")
PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath")
STANDS_FOR: dict[tuple[str, str], Any] = {
    **{(f"{module}.multiarray", "_reconstruct"): _array for module in ARRAY_MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _array_of for module in ARRAY_MODULES},
    ("numpy", "ndarray"): _Name,
    ("collections", "defaultdict"): _mapping,
    ("builtins", "list"): _Name,
    **{(module, name): _path for module in ("pathlib", "pathlib._local") for name in PATHS},
}
"""What the published files name, and what it becomes here."""


class _Published(_Plain):
    """Plain values, arrays of bytes, default dicts (as dicts) and paths (as text)."""

    def find_class(self, module: str, name: str) -> Any:
        found = STANDS_FOR.get((module, name))
        return super().find_class(module, name) if found is None else found


def load_published(path: str | Path) -> Any:
    """path: a pickle file -> its plain values, arrays of uint8 as Bytes. DataError where the file is damaged or names
    anything else: none of it is called."""
    content = read_bytes(path)
    try:
        return _Published(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle raises nearly any exception
        raise DataError(
            f"{path}: no pickle of published annotations, or it breaks off ({error}); copy or make it again"
        ) from error


def load_layers(path: str | Path) -> tuple[list[bytes], list[tuple[int, int]]]:
    """path: masks/<id>.pickle -> (PNG of each layer, (layer, value) of each object), checked against each other."""
    content = load_published(path)
    try:
        layers, places = content
        pictures = [layer.content if isinstance(layer, Bytes) else bytes(layer) for layer in layers]
        mapping = [(int(layer), int(value)) for layer, value in places]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: expected (encoded layers, (layer, value) per object): {error}") from error
    for number, (layer, value) in enumerate(mapping):
        if not 0 <= layer < len(pictures) or not 1 <= value <= 255:
            raise DataError(
                f"{path}: object {number} is value {value} of layer {layer}; there are {len(pictures)} layers and "
                "values 1..255 (0 is the background)"
            )
    if len(set(mapping)) < len(mapping):
        raise DataError(f"{path}: two objects have the same layer and value")
    return pictures, mapping
