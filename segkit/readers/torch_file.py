"""Reads the tensors and plain values of files of torch.save and safetensors; calls nothing that a file names.

Formats: zip archives (torch 1.6 and later) and the pickles before them. torch.load is not used: what it allows in
pickles differs between versions, and TorchScript archives are programs.
"""

import io
import mmap
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from segkit.files import DataError, open_regular, shortened
from segkit.readers.pickles import InertUnpickler, Unknown, end_of_pickle
from segkit.readers.torch_values import DTYPES, STAND_INS, STORAGES, Dtype, Storage, finished, is_shape

MAGIC = 0x1950A86A20F9469CFC6C
"""First value of a file of torch before 1.6."""

SMALL, SMALL_PARTS = 1 << 20, 8
"""Parts of an archive that tell whether it has checksums: most bytes of one, and how many are looked at."""

DAMAGED = "is no checkpoint, or was cut off while it was written; copy or download it again"


OTHER_TENSORS = {
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_qtensor": "quantized tensors",
    "_rebuild_meta_tensor_no_storage": "tensors without values (of the meta device)",
    "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_wrapper_subclass": "tensors of a class of their own",
    "_rebuild_device_tensor_from_numpy": "tensors of another device's format",
    "_rebuild_device_tensor_from_cpu_tensor": "tensors of another device's format",
}
"""Functions of torch._utils that make tensors other than dense ones, and what these are."""


class UnknownObject(DataError):
    """A file that names classes or functions beside those of tensors."""


class _TorchUnpickler(InertUnpickler):
    """Knows tensors, storages and plain values.

    Args:
        content: the pickle.
        lenient: objects of other classes become Unknown instead of an error.
    """

    def __init__(self, content: bytes, *, lenient: bool):
        super().__init__(content, STAND_INS, Unknown if lenient else None)
        self.storages: dict[str, Storage] = {}
        self.other_tensors = ""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name in the file; see InertUnpickler."""
        if module in ("torch", "torch.storage") and name in STORAGES:
            return Dtype(STORAGES[name])
        if module == "torch" and name in DTYPES:
            return Dtype(DTYPES[name])
        if module == "torch._utils" and name in OTHER_TENSORS:
            self.other_tensors = OTHER_TENSORS[name]
            raise ValueError(f"it holds {self.other_tensors}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Storage | Unknown:
        """Returns a storage. Nothing else is taken from outside of the pickle: no modules, no source code."""
        kind, dtype, key, _location, count, *view = pid
        kind = kind.decode("ascii") if isinstance(kind, bytes) else kind
        if kind == "module" and self._unknown is not None:
            return Unknown()  # a whole network as an object; its source code follows and is not read
        if kind != "storage" or not isinstance(dtype, Dtype) or not is_shape((count,)):
            raise ValueError(f"it refers to {shortened(repr(kind), 50)} outside of the pickle")
        root = Storage(str(key), dtype.dtype, count, None)
        if self.storages.setdefault(root.key, root) != root:
            raise ValueError(f"storage {shortened(key, 50)} has two sizes")
        if not view or view[0] is None:
            return root
        _, offset, size = view[0]
        if not is_shape((offset, size)) or offset + size > count:
            raise ValueError("a part of a storage lies outside of it")
        return root._replace(view=(offset, size))


def read_torch(path: str | Path, *, lenient: bool = False, is_verified: bool = False) -> Any:
    """Reads a file of torch.save.

    Args:
        path: the file.
        lenient: objects of unknown classes are left out, which otherwise are an error.
        is_verified: whether the caller has compared all parts with their checksums; then it is not done again.

    Returns:
        Its tensors, on the CPU, in dicts, lists and tuples, with texts and numbers. Unknown objects are Unknown().

    Raises:
        UnknownObject: the file names other classes or functions.
        DataError: it is missing, damaged, no file of torch.save, or a program (TorchScript).
    """
    with open_regular(path) as file:
        return _read(file, path, lenient=lenient, is_verified=is_verified)


def read_torch_bytes(content: bytes, source: str | Path) -> Any:
    """Reads what torch.save wrote into a part of a file.

    Args:
        content: the part.
        source: the file, for errors.

    Raises:
        UnknownObject, DataError: as of read_torch.
    """
    return _read(io.BytesIO(content), source, lenient=False, is_verified=False)


def _read(file: BinaryIO, path: str | Path, *, lenient: bool, is_verified: bool) -> Any:
    start = file.read(512)
    file.seek(0)
    if start[257:262] == b"ustar":
        raise DataError(f"{path}: is a tar archive of torch before 0.2, which is not read; save it with torch 1.6")
    try:
        if start.startswith(b"PK\x03\x04"):
            return _read_zip(file, path, lenient=lenient, is_verified=is_verified)
        return _read_legacy(file, path, lenient)
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: cannot be read ({reason}); check its rights and the disk, then try again") from error
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is") from error
    except Exception as error:  # a damaged file raises nearly any exception
        raise DataError(f"{path}: {DAMAGED} ({shortened(error, 120)})") from error


def _load(content: bytes, path: str | Path, lenient: bool) -> tuple[Any, dict[str, Storage]]:
    """Unpickles the main part of a file. Returns its values and the storages that they name, by key."""
    unpickler = _TorchUnpickler(content, lenient=lenient)
    try:
        return unpickler.load(), unpickler.storages
    except Exception as error:
        if unpickler.other_tensors:
            raise DataError(
                f"{path}: holds {unpickler.other_tensors}; segkit reads dense ones: save the weights as plain floats"
            ) from error
        if unpickler.refused:
            raise UnknownObject(f"{path}: names {unpickler.refused}") from error
        raise


def _read_zip(file: BinaryIO, path: str | Path, *, lenient: bool, is_verified: bool) -> Any:
    archive = zipfile.ZipFile(file)
    listed = archive.infolist()
    members = {member.filename: member for member in listed}
    inner = [name.partition("/")[2] for name in members]
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise DataError(
            f"{path}: is a TorchScript archive, a program, which is not run; save the weights with "
            "torch.save(model.state_dict(), FILE)"
        )
    size = file.seek(0, 2)
    if any(member.compress_type or member.flag_bits & 1 for member in members.values()):
        raise DataError(f"{path}: is a compressed or encrypted zip archive, no checkpoint; save it with torch.save")
    if sum(member.file_size for member in members.values()) > size or len(members) < len(listed):
        raise DataError(f"{path}: {DAMAGED} (its parts are larger than the file)")
    mains = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(mains) != 1:
        raise DataError(f"{path}: is a zip archive, but no checkpoint; give a file of torch.save")
    root = mains[0].removesuffix("data.pkl")
    has_sums = not is_verified and _has_sums(file, listed)
    order = members.get(f"{root}byteorder")
    if order is not None and _bytes(file, order, has_sums) != sys.byteorder.encode():
        raise DataError(f"{path}: was written on a machine of another byte order; save it on one like this")
    values, storages = _load(_bytes(file, members[mains[0]], has_sums), path, lenient)
    tensors = {}
    for key, storage in storages.items():
        member = members[f"{root}data/{key}"]
        if member.file_size != storage.count * storage.dtype.itemsize:
            raise ValueError(f"storage {key} has {member.file_size} bytes for {storage.count} values")
        tensors[key] = _numbers(file, member, has_sums).view(storage.dtype)
    return finished(values, tensors)


def _seek(file: BinaryIO, member: zipfile.ZipInfo) -> None:
    """Goes to the content of a part of an archive."""
    file.seek(member.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04" or len(header) < 30:
        raise ValueError("a part of the archive is missing")
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)


def _has_sums(file: BinaryIO, members: list[zipfile.ZipInfo]) -> bool:
    """Whether the archive was written with checksums; torch leaves them out on request, and then none fits."""
    small = [member for member in members if 0 < member.file_size <= SMALL]
    return not small or any(zlib.crc32(_content(file, member)) == member.CRC for member in small[:SMALL_PARTS])


def _content(file: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    _seek(file, member)
    return file.read(member.file_size)


def _bytes(file: BinaryIO, member: zipfile.ZipInfo, has_sums: bool) -> bytes:
    content = _content(file, member)
    _check_sum(content, member, has_sums)
    return content


def _numbers(file: BinaryIO, member: zipfile.ZipInfo, has_sums: bool) -> Tensor:
    _seek(file, member)
    numbers = torch.empty(member.file_size, dtype=torch.uint8)
    _fill(file, numbers)
    _check_sum(numbers.numpy().data, member, has_sums)
    return numbers


def _check_sum(content: bytes | memoryview, member: zipfile.ZipInfo, has_sums: bool) -> None:
    if len(content) != member.file_size or (has_sums and zlib.crc32(content) != member.CRC):
        raise ValueError(f"part {shortened(member.filename, 60)} is damaged")


def _fill(file: BinaryIO, numbers: Tensor) -> None:
    view = numbers.numpy().data.cast("B")
    if len(view) and file.readinto(view) != len(view):  # type: ignore[attr-defined]
        raise ValueError("it breaks off")


def _read_legacy(file: BinaryIO, path: str | Path, lenient: bool) -> Any:
    """Magic number, protocol, machine, values and the keys of storages as one pickle each; then each storage."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(1 << 10)
    if MAGIC.to_bytes(10, "little") not in head[:20]:
        raise DataError(f"{path}: {DAMAGED}")
    file.seek(0)
    pickles, start = [], 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(5):
            end = end_of_pickle(content, start)
            pickles.append(content[start:end])
            start = end
    if InertUnpickler(pickles[0], {}).load() != MAGIC:
        raise DataError(f"{path}: {DAMAGED}")
    machine = InertUnpickler(pickles[2], {}).load()
    if isinstance(machine, dict) and machine.get("little_endian", True) != (sys.byteorder == "little"):
        raise DataError(f"{path}: was written on a machine of another byte order; save it on one like this")
    values, storages = _load(pickles[3], path, lenient)
    tensors: dict[str, Tensor] = {}
    file.seek(start)
    for key in InertUnpickler(pickles[4], {}).load():
        storage = storages[str(key)]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count or count * storage.dtype.itemsize > size - file.tell() or str(key) in tensors:
            raise ValueError(f"storage {shortened(key, 50)} has another size than its tensors")
        numbers = torch.empty(count * storage.dtype.itemsize, dtype=torch.uint8)
        _fill(file, numbers)
        tensors[str(key)] = numbers.view(storage.dtype)
    return finished(values, tensors)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a .safetensors file.

    Args:
        path: the file.

    Returns:
        Tensors by name, and the texts of its metadata by key.

    Raises:
        DataError: it is missing, damaged or no such file.
    """
    from safetensors import safe_open

    open_regular(path).close()
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:
        raise DataError(f"{path}: is no safetensors file ({shortened(error, 200)})") from error
