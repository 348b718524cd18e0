"""Whether the bytes of a checkpoint are those that were written.

torch writes a zip archive with the CRC-32 of each record, and does not look at them when it reads.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from segkit.files import DataError

SUFFIXES = (".pt", ".pth")
PIECE = 1 << 20
CRC = "crc32"
"""Metadata of a .safetensors file, which has no checksums of its own: that of all tensors."""


class Unreadable(DataError):
    """A file that the system does not let this process read, whatever is in it."""


def crc_of(tensors: Mapping[str, Tensor]) -> int:
    """Returns the CRC-32 of names and bytes of tensors on the CPU, in the order of their names."""
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(name.encode(), crc)
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            crc = zlib.crc32(flat.view(torch.uint8).numpy().data, crc)
    return crc


def damage(path: Path) -> str:
    """Returns what is wrong with a zip archive: "" where nothing is, or where it is none.

    Archives that were written without checksums (torch.serialization.set_crc32_options(False)) count as whole: there
    every record differs from its own.

    Args:
        path: a file of torch.save.

    Raises:
        Unreadable: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            is_archive = file.read(2) == b"PK"
        if not is_archive:
            return "its first bytes were changed" if zipfile.is_zipfile(path) else ""
        with zipfile.ZipFile(path) as archive:
            records = [info for info in archive.infolist() if info.file_size]
            if any(info.compress_type != zipfile.ZIP_STORED for info in records):
                return ""  # not of torch.save, and perhaps far larger than the file
            bad = [info.filename for info in records if not _is_whole(archive, info)]
    except OSError as error:
        reason = error.strerror or error
        raise Unreadable(f"{path}: cannot be read ({reason}); check its rights and the disk") from error
    except Exception:  # the list of records is cut off or no list at all; zipfile raises errors of many types
        return "it was cut off while it was written or copied, or changed"
    if not bad or len(bad) == len(records) > 1:
        return ""
    return f"{len(bad)} of {len(records)} records differ from their checksums, first {bad[0]}"


def _is_whole(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(info) as record:
            while record.read(PIECE):
                pass
    except OSError:
        raise
    except Exception:  # a checksum, or the head of a record that is none
        return False
    return True


def whole_beside(path: Path) -> str:
    """Returns a sentence on the whole checkpoints in the folder of a damaged one; "" where there is none."""
    try:
        named = [file for file in path.parent.iterdir() if file.suffix in SUFFIXES and file.name[0] != "."]
        others = [file for file in named if file.is_file()]
        others = sorted((file for file in others if file != path), key=lambda file: -file.stat().st_mtime)
    except OSError:
        return ""
    whole = [file.name for file in others if _is_whole_archive(file)]
    return f"; whole in this folder, the newest first: {', '.join(whole)}" if whole else ""


def _is_whole_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path) and not damage(path)
    except (OSError, Unreadable):
        return False


def with_checksums() -> None:
    """Makes torch.save write checksums, whatever the process has set."""
    if hasattr(torch.serialization, "set_crc32_options"):
        torch.serialization.set_crc32_options(True)
