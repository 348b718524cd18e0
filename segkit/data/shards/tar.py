"""Shards as WebDataset has them: tar files in which the files of a sample lie together, KEY.jpg, KEY.png, KEY.json.

The members are found by their headers alone, so that a file whose members mean harm (links, devices, names that lead
elsewhere, sizes beyond its end) is refused before anything of it is read. Nothing is unpacked.

Format: POSIX.1-2001 pax, ustar and GNU tar; https://github.com/webdataset/webdataset for the names.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from segkit.files import DataError, brief, inside

BLOCK = 512
"""Bytes of a header; contents begin and are padded at multiples of it."""

MOST_BYTES = 0xFFFF_FFFF
"""Bytes of a member at most: the index has 32 bits for them."""

LONG_NAME = 1 << 16
"""Bytes of a header that holds a long name, at most."""

PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a file with holes",
}
"""Members that are no files, by their type."""

META = re.compile(r"__[^/]*__($|/)")
"""Names that WebDataset keeps for itself."""

REMEDY = "copy or write the shard again"


class Member(NamedTuple):
    """A file of a shard: the key of its sample, its suffix in lower case, where its content begins, and its bytes."""

    key: str
    suffix: str
    offset: int
    size: int


def split_name(name: str) -> tuple[str, str]:
    """Splits the name of a member into the key of its sample and its suffix, at the first dot of its last part.

    Returns:
        Both; the suffix in lower case, "" where there is no dot.
    """
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def members(file: BinaryIO, size: int, source: str) -> Iterator[Member]:
    """Finds the files of a shard.

    Folders, names without a suffix, hidden files and WebDataset's own (__meta__) are passed over.

    Args:
        file: the shard.
        size: its bytes.
        source: its name, for errors.

    Yields:
        The files in their order.

    Raises:
        DataError: names the shard and the byte: it breaks off, is no tar file, or holds something that is no file, has
            a name that leads elsewhere, or states a size that cannot be.
    """
    position = 0
    pax: dict[str, str] = {}
    while True:
        info = _header(file, position, size, source)
        if info is None:
            return
        start = position + BLOCK
        if "size" in pax:
            info.size = _number(pax["size"], source, position)
        if not 0 <= info.size <= MOST_BYTES:
            raise DataError(f"{source}: at byte {position} a file states {info.size:,} bytes; {REMEDY}")
        if start + info.size > size:
            raise DataError(
                f"{source}: breaks off: {brief(info.name)} at byte {position} states {info.size:,} bytes, and "
                f"{max(size - start, 0):,} follow; {REMEDY}"
            )
        position = start + -(-info.size // BLOCK) * BLOCK
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            content = _extension(file, start, info, source)
            is_name = info.type == tarfile.GNUTYPE_LONGNAME
            pax = {
                **pax,
                **({"path": _text(content.rstrip(b"\0"), source, start)} if is_name else _pax(content, source)),
            }
            continue
        if info.type == tarfile.XGLTYPE:
            continue  # what it says of all files (comments, owners) is of no use here
        name, pax = pax.get("path", info.name), {}
        if info.type == tarfile.DIRTYPE:
            continue
        if info.type not in PLAIN:
            kind = KINDS.get(info.type, f"of the unknown type {info.type!r}")
            raise DataError(f"{source}: {brief(name)} at byte {start - BLOCK} is {kind}; a shard holds plain files")
        name = inside("the shard", name.removeprefix("./"), source, REMEDY)
        key, suffix = split_name(name)
        if suffix and key.rpartition("/")[2] and not META.match(name):
            yield Member(key, suffix, start, info.size)


def _header(file: BinaryIO, position: int, size: int, source: str) -> tarfile.TarInfo | None:
    """The header at a position; None at the end of the archive, which two blocks of zeros mark."""
    if position + BLOCK > size:
        raise DataError(f"{source}: breaks off at byte {size} without the end that a tar file has; {REMEDY}")
    file.seek(position)
    block = file.read(BLOCK)
    if len(block) == BLOCK and not block.strip(b"\0"):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        what = "no tar file" if not position else "damaged"
        raise DataError(f"{source}: {what} ({error} at byte {position}); {REMEDY}") from error


def _extension(file: BinaryIO, start: int, info: tarfile.TarInfo, source: str) -> bytes:
    if info.size > LONG_NAME:
        raise DataError(f"{source}: at byte {start} a header of {info.size:,} bytes; {REMEDY}")
    file.seek(start)
    return file.read(info.size)


def _text(content: bytes, source: str, position: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: at byte {position} a name that is no UTF-8; {REMEDY}") from error


def _number(text: str, source: str, position: int) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise DataError(f"{source}: at byte {position} a file states {brief(text)} bytes; {REMEDY}")
    return int(text)


def _pax(content: bytes, source: str) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of a header that count here: path and size."""
    found: dict[str, str] = {}
    while content.strip(b"\0"):
        digits, space, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 9 else 0
        record = content[len(digits) + 1 : length - 1]
        key, equals, value = record.partition(b"=")
        if not (space and equals) or length > len(content) or content[length - 1 : length] != b"\n":
            raise DataError(f"{source}: a header that cannot be read ({brief(content[:40])}); {REMEDY}")
        if key.startswith(b"GNU.sparse."):
            raise DataError(f"{source}: holds a file with holes; a shard holds plain files")
        if key in (b"path", b"size"):
            found[key.decode()] = _text(value, source, 0)
        content = content[length:]
    return found


def is_header(header: bytes, size: int) -> bool:
    """Whether bytes are the header of a file of `size` bytes."""
    if header[257:262] == b"ustar" and header[124:136].strip(b" \0") == b"%011o" % size:
        return True  # as nearly all are, in a tenth of the time
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size == size
    except tarfile.HeaderError:
        return False


def member_bytes(name: str, content: bytes) -> bytes:
    """Returns a member as it stands in a tar file; equal arguments give equal bytes on every machine.

    Args:
        name: KEY.SUFFIX.
        content: of the file.
    """
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o644, 0
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header + content + b"\0" * (-len(content) % BLOCK)


END = b"\0" * (2 * BLOCK)
"""What ends a tar file."""


def content_offset(member: bytes, size: int) -> int:
    """Where the content begins in a member of member_bytes.

    Args:
        member: as it stands in the tar file.
        size: bytes of its content.
    """
    return len(member) - (-(-size // BLOCK) * BLOCK)
