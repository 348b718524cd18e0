"""Reading the published pickles of COCO+LVIS, OpenImages and ADE20K annotations without running anything in them."""

import pickle
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.data.files.plain_pickle import ARRAY_MODULES, STAND_INS, NumberType
from segkit.files import DataError, read_bytes, shortened
from segkit.readers.pickles import Frozen, no_arguments, unpickle


class Bytes(metaclass=Frozen):
    """Stands for a numpy array of bytes while it is unpickled."""

    __slots__ = ("_stored",)

    def __init__(self) -> None:
        self._stored: bytes | str = b""

    def __setstate__(self, state: tuple) -> None:
        _, _, dtype, _, content = state
        dtype_name = dtype.name if isinstance(dtype, NumberType) else None
        if dtype_name != "u1":
            found = shortened(dtype_name or repr(dtype), 50)
            raise pickle.UnpicklingError(f"it holds a numpy array of {found}, not of bytes")
        if not isinstance(content, bytes | bytearray | str):
            raise pickle.UnpicklingError("it holds a numpy array without values")
        self._stored = content if isinstance(content, str) else bytes(content)

    @property
    def content(self) -> bytes:
        """The array's bytes, all that is taken of it."""
        return self._stored.encode("latin-1") if isinstance(self._stored, str) else self._stored


class _Name(metaclass=Frozen):
    """Stands for a class that is only named, as an argument."""

    __slots__ = ()


def _array(*_: Any) -> Bytes:
    return Bytes()


def _array_of(content: Any, dtype: Any, *_: Any) -> Bytes:
    array = Bytes()
    array.__setstate__((1, (), dtype, False, content))
    return array


def _path(*names: str) -> str:
    if sum(map(len, names)) > 4096:
        raise pickle.UnpicklingError("it holds a path of more than 4,096 letters")
    return str(PurePosixPath(*names))


PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath")
PUBLISHED: dict[tuple[str, str], Any] = {
    **STAND_INS,
    **{(f"{module}.multiarray", "_reconstruct"): _array for module in ARRAY_MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _array_of for module in ARRAY_MODULES},
    ("numpy", "ndarray"): _Name,
    ("collections", "defaultdict"): no_arguments,
    ("builtins", "list"): _Name,
    **{(module, name): _path for module in ("pathlib", "pathlib._local") for name in PATHS},
}
"""What the published files name: plain values, arrays of bytes, default dicts (read as dicts) and paths (as text)."""


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
        return unpickle(content, PUBLISHED)
    except DataError as error:
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
        pictures = [layer.content if isinstance(layer, Bytes) else _only_bytes(layer) for layer in layers]
        objects = [(int(layer), int(value)) for layer, value in positions]
    except (TypeError, ValueError, OverflowError) as error:
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


def _only_bytes(layer: object) -> bytes:
    """A layer that is stored as bytes; bytes(n) of a number would be n zeros."""
    if not isinstance(layer, bytes | bytearray):
        raise TypeError(f"a layer is a {type(layer).__name__}, not bytes")
    return bytes(layer)
