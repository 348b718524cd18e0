"""Zip and tar archives of data, unpacked without trust: no file leaves its folder, no link, sizes bounded."""

import contextlib
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from segkit.files import DataError, brief, inside, limit, open_regular

MAX_UNPACKED = ("SEGKIT_MAX_UNPACKED", 64 << 30)
"""Variable and default: bytes of all files of an archive, unpacked."""

MAX_MEMBERS = ("SEGKIT_MAX_MEMBERS", 2_000_000)
"""Variable and default: files of an archive."""

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVES = (".zip", *TARS)
"""Ends of the names of archives that are unpacked."""

FOREIGN = (".7z", ".rar", ".gz", ".tar.zst", ".zst")
"""Ends of archives that are not."""

JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
"""Names that systems leave in archives; they are passed over, as are files that begin with "._"."""

BLOCK = 1 << 20
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
REMEDY = "download or pack it again"


class Member(NamedTuple):
    """A file of an archive: its name, its size in bytes, and the object by which the archive finds it."""

    name: str
    size: int
    key: zipfile.ZipInfo | tarfile.TarInfo


class Unpacked(NamedTuple):
    """Where an archive was unpacked, the number of its files, and whether it lay there already."""

    folder: Path
    files: int
    is_old: bool


def archive_stem(path: Path) -> str | None:
    """Returns the name of an archive without the end that says so, None for a file that is none by its name.

    Raises:
        DataError: it is an archive of a kind that is not read.
    """
    name = path.name.lower()
    end = next((end for end in sorted(ARCHIVES, key=len, reverse=True) if name.endswith(end)), None)
    if end is not None:
        return path.name[: -len(end)] or "data"
    if name.endswith(FOREIGN) and not name.endswith(".nii.gz"):
        raise DataError(f"{path}: this kind of archive is not unpacked; unpack it and give the folder, or make a .zip")
    return None


def unpack(path: Path, folder: Path) -> Unpacked:
    """Unpacks an archive; the folder appears when everything is in it.

    Args:
        path: a .zip or .tar file, packed or not.
        folder: new; or of an earlier call with the same archive, whose files are then used as they are.

    Raises:
        DataError: the archive is damaged, encrypted or too large, holds a link or device, names a file outside of its
            folder or one twice; or the folder holds something else.
    """
    try:
        with _opened(path) as archive:
            members = _members(archive, path)
            if folder.exists():
                if _holds(folder, members):
                    return Unpacked(folder, len(members), True)
                raise DataError(
                    f"{folder}: is there already and differs from {path}; rename one of them, or give the folder itself"
                )
            draft = folder.with_name(f".{folder.name}.{os.getpid()}.part")
            try:
                _write(archive, members, draft, path)
                os.replace(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except DAMAGE as error:
        raise DataError(f"{path}: a damaged archive ({brief(str(error))}); {REMEDY}") from error
    except RuntimeError as error:  # zipfile has no error of its own for a password
        raise DataError(f"{path}: cannot be unpacked ({brief(str(error))}); pack it without a password") from error
    except OSError as error:
        way_out = "free space, or work in another folder" if error.errno else REMEDY
        raise DataError(f"{path}: cannot be unpacked to {folder} ({error.strerror or error}); {way_out}") from error
    return Unpacked(folder, len(members), False)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    with open_regular(path) as file:
        if path.name.lower().endswith(TARS):
            with tarfile.open(fileobj=file) as archive:
                yield archive
        else:
            with zipfile.ZipFile(file) as packed:
                yield packed


def _members(archive: zipfile.ZipFile | tarfile.TarFile, path: Path) -> list[Member]:
    """The files of an archive, each checked."""
    members: dict[str, Member] = {}
    total, most = 0, limit(MAX_UNPACKED)
    for number, info in enumerate(_infos(archive)):
        if number >= limit(MAX_MEMBERS):
            raise DataError(f"{path}: more than {limit(MAX_MEMBERS):,} files; set {MAX_MEMBERS[0]} where it is right")
        member = _of_zip(info, path) if isinstance(info, zipfile.ZipInfo) else _of_tar(info, path)
        if member is None:
            continue
        if member.name in members:
            raise DataError(f"{path}: holds {brief(member.name)} twice; {REMEDY}")
        members[member.name] = member
        total += member.size
        if total > most:
            raise DataError(
                f"{path}: more than {most:,} bytes unpacked; set {MAX_UNPACKED[0]} where it is right, or unpack it "
                "yourself and give the folder"
            )
    if not members:
        raise DataError(f"{path}: holds no file; {REMEDY}")
    return list(members.values())


def _infos(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[zipfile.ZipInfo | tarfile.TarInfo]:
    if isinstance(archive, zipfile.ZipFile):
        yield from archive.infolist()
    else:
        yield from archive


def _of_zip(info: zipfile.ZipInfo, path: Path) -> Member | None:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        raise DataError(f"{path}: {brief(info.filename)} is a link, which is not unpacked; pack the files themselves")
    if info.flag_bits & 1:
        raise DataError(f"{path}: is encrypted; pack it without a password")
    name = info.filename
    if not info.flag_bits & 0x800:  # no UTF-8 by its mark; most programs write it nevertheless
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return None if info.is_dir() else _checked(name, info.file_size, info, path)


def _of_tar(info: tarfile.TarInfo, path: Path) -> Member | None:
    if info.isdir():
        return None
    if not info.isreg():
        kind = "a link" if info.issym() or info.islnk() else "no regular file"
        raise DataError(f"{path}: {brief(info.name)} is {kind}, which is not unpacked; pack the files themselves")
    return _checked(info.name, info.size, info, path)


def _checked(name: str, size: int, key: zipfile.ZipInfo | tarfile.TarInfo, path: Path) -> Member | None:
    name = inside("the archive's folder", name.removeprefix("./"), path, REMEDY).replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if any(part in JUNK or part.startswith("._") for part in parts):
        return None
    return Member("/".join(parts), size, key)


def _holds(folder: Path, members: list[Member]) -> bool:
    """Whether a folder has the files of an archive, by their sizes."""
    files = [folder / member.name for member in members]
    return folder.is_dir() and all(
        file.is_file() and file.stat().st_size == member.size for file, member in zip(files, members)
    )


def _write(archive: zipfile.ZipFile | tarfile.TarFile, members: list[Member], draft: Path, path: Path) -> None:
    from tqdm import tqdm

    draft.mkdir(parents=True)
    needed, free = sum(member.size for member in members), shutil.disk_usage(draft).free
    if needed > free:
        raise DataError(
            f"{path}: {needed:,} bytes unpacked, and {free:,} are free in {draft.parent}; free space, or work in "
            "another folder"
        )
    for member in tqdm(members, f"unpacking {path.name}", unit="file", disable=None, leave=False):
        target = draft / member.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _content(archive, member) as source, open(target, "xb") as file:
                _copy(source, file, member, path)
        except (FileExistsError, NotADirectoryError) as error:
            raise DataError(f"{path}: {brief(member.name)} has the name of another file or folder; {REMEDY}") from error


def _content(archive: zipfile.ZipFile | tarfile.TarFile, member: Member) -> IO[bytes]:
    if isinstance(archive, zipfile.ZipFile):
        return archive.open(member.key)  # type: ignore[arg-type]
    content = archive.extractfile(member.key)  # type: ignore[arg-type]
    assert content is not None, "regular files alone are members"
    return content


def _copy(source: IO[bytes], file: IO[bytes], member: Member, path: Path) -> None:
    left = member.size
    while block := source.read(BLOCK):
        left -= len(block)
        if left < 0:
            break
        file.write(block)
    if left:
        raise DataError(f"{path}: {brief(member.name)} has not the {member.size:,} bytes that it states; {REMEDY}")
