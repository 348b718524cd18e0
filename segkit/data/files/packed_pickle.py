"""Reading the published pickles of COCO+LVIS, OpenImages and ADE20K annotations without running anything in them."""

import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.data.files.images import read_bytes
from segkit.data.files.plain_pickle import NumberType, PlainUnpickler
from segkit.files import DataError


class Bytes:
    """Stands for a numpy array of bytes while it is unpickled.

    Attributes:
        content: the array's bytes, all that is taken of it.
    """

    content = b""

    def __setstate__(self, state: tuple) -> None:
        _, _, dtype, _, content = state
        dtype_name = dtype.name if isinstance(dtype, NumberType) else None
        if dtype_name != "u1":
            raise pickle.UnpicklingError(f"it holds a numpy array of {dtype_name or dtype}, not of bytes")
        self.content = content.encode("latin-1") if isinstance(content, str) else bytes(content)


class _Name:
    """Stands for a class that is only named, as an argument."""


def _array(*_: Any) -> Bytes:
    return Bytes()


def _array_of(content: Any, dtype: Any, *_: Any) -> Bytes:
    array = Bytes()
    array.__setstate__((1, (), dtype, False, content))
    return array


def _mapping(*_: Any) -> dict:
    return {}


def _path(*names: str) -> str:
    return str(PurePosixPath(*names))


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
"""What the published files name by (module, name), and what stands for it here."""


class _PublishedUnpickler(PlainUnpickler):
    """Knows plain values, arrays of bytes, default dicts (as dicts) and paths (as text)."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name in the file; see PlainUnpickler."""
        substitute = STANDS_FOR.get((module, name))
        return super().find_class(module, name) if substitute is None else substitute


def load_published(path: str | Path) -> Any:
    """Reads a pickle file of published annotations.

    Args:
        path: the file.

    Returns:
        Its plain values, arrays of uint8 as Bytes.

    Raises:
        DataError: where the file is damaged, or names anything else: none of it is called.
    """
    content = read_bytes(path)
    try:
        return _PublishedUnpickler(io.BytesIO(content), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle raises nearly any exception
        raise DataError(
            f"{path}: no pickle of published annotations, or it breaks off ({error}); copy or make it again"
        ) from error


def load_layers(path: str | Path) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Reads the objects of an image.

    Args:
        path: masks/<id>.pickle.

    Returns:
        The PNG of each layer, and (layer, value) of each object, checked against each other.

    Raises:
        DataError: where the file holds something else, an object lies in no layer, or two objects are the same.
    """
    content = load_published(path)
    try:
        layers, positions = content
        pictures = [layer.content if isinstance(layer, Bytes) else bytes(layer) for layer in layers]
        objects = [(int(layer), int(value)) for layer, value in positions]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: expected (encoded layers, (layer, value) per object): {error}") from error
    for number, (layer, value) in enumerate(objects):
        if not 0 <= layer < len(pictures) or not 1 <= value <= 255:
            raise DataError(
                f"{path}: object {number} is value {value} of layer {layer}; there are {len(pictures)} layers and "
                "values 1..255 (0 is the background)"
            )
    if len(set(objects)) < len(objects):
        raise DataError(f"{path}: two objects have the same layer and value")
    return pictures, objects
