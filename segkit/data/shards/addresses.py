"""Which shards a setting names: braces, lists, folders, patterns, index files; on this disk or elsewhere."""

import glob
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from segkit.files import DataError, brief

SUFFIX = ".tar"
LIST = "shards.json"
"""Name of the file that says what a folder of shards holds."""

MOST_SHARDS = 1_000_000
"""Shards of a data set, at most."""

PROTOCOL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def protocol_of(address: str) -> str:
    """Returns "s3" of "s3://bucket/a.tar", "" for a file of this machine."""
    found = PROTOCOL.match(address)
    name = found[1].lower() if found else ""
    return "" if name in ("file", "local") else name


def local_path(address: str) -> Path:
    """Returns the path of an address without a protocol, or of file://."""
    found = PROTOCOL.match(address)
    return Path(address[found.end() :] if found else address).expanduser()


def beside(address: str, name: str) -> str:
    """Returns the address of a file in the same folder."""
    head, slash, _ = address.rpartition("/")
    return head + slash + name


def expand(text: str) -> Iterator[str]:
    """Expands braces: {000..127} counts, with leading zeros, {a,b} chooses; several give all combinations.

    Args:
        text: an address.

    Raises:
        DataError: a brace is not closed or holds neither a range nor a choice, or there are too many shards.
    """
    pieces: list[list[str]] = []
    total = 1
    for number, piece in enumerate(re.split(r"\{([^{}]*)\}", text)):
        if number % 2 == 0:
            if "{" in piece or "}" in piece:
                raise DataError(f"urls = {brief(text)}: a brace that is not closed; write {{000..127}} or {{a,b}}")
            pieces.append([piece])
            continue
        found = RANGE.fullmatch(piece)
        if found and len(piece) < 40:
            first, last = int(found[1]), int(found[2])
            if last < first or last - first >= MOST_SHARDS:
                raise DataError(f"urls = {brief(text)}: {{{piece}}} must count upwards, to {MOST_SHARDS:,} at most")
            width = len(found[1]) if found[1].startswith("0") or len(found[1]) == len(found[2]) else 0
            pieces.append([f"{value:0{width}d}" for value in range(first, last + 1)])
        elif "," in piece:
            pieces.append(piece.split(","))
        else:
            raise DataError(
                f"urls = {brief(text)}: {{{brief(piece)[1:-1]}}} is neither a range {{000..127}} nor a choice {{a,b}}"
            )
        total *= len(pieces[-1])
    if total > MOST_SHARDS:
        raise DataError(f"urls = {brief(text)}: {total:,} shards; {MOST_SHARDS:,} at most")
    yield from map("".join, itertools.product(*pieces))


def addresses(urls: str | Sequence[str]) -> list[str]:
    """Returns the addresses of shards and of lists of shards (.json), in order.

    Args:
        urls: an address, or several: a shard, a folder of this machine, a pattern with * of this machine, a list of
            shards; with braces.

    Raises:
        DataError: one of them names nothing that can be read, or one shard twice.
    """
    texts = [urls] if isinstance(urls, str) else list(urls)
    found: list[str] = []
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"urls = {brief(urls)}: must be the address of shards, or a list of them")
        if text.startswith(("pipe:", "|")) or text.rstrip().endswith("|"):
            raise DataError(f"urls = {brief(text)}: commands are not run; name the shards by their address (s3://...)")
        for address in expand(text):
            found += [address] if protocol_of(address) else _local(address)
    if not found:
        raise DataError(f"urls = {brief(urls)}: names no shard")
    if len(set(found)) < len(found):
        twice = next(address for number, address in enumerate(found) if address in found[:number])
        raise DataError(f"urls: {twice} is named twice; every image would come twice an epoch")
    return found


def _local(address: str) -> list[str]:
    path = local_path(address)
    if path.is_dir():
        if (path / LIST).is_file():
            return [str(path / LIST)]
        shards = sorted(str(file) for file in path.glob(f"*{SUFFIX}"))
        if not shards:
            raise DataError(f"{path}: holds no shard (*{SUFFIX}); write some by: segkit shard CONFIG --out {path}")
        return shards
    if not path.exists() and glob.has_magic(str(path)):
        matches = sorted(glob.glob(str(path)))
        if not matches:
            raise DataError(f"urls = {brief(address)}: no file matches")
        return matches
    return [str(path)]


def listed(content: dict, source: str) -> list[str]:
    """Returns the addresses of the shards that a list names.

    Args:
        content: of the file shards.json, or of a list of WebDataset (wids).
        source: its address.

    Raises:
        DataError: it names none, or one outside of its folder.
    """
    rows = content.get("shards", content.get("shardlist")) if isinstance(content, dict) else content
    names: list[str] = []
    for row in rows if isinstance(rows, list) else []:
        name = row.get("file", row.get("url")) if isinstance(row, dict) else row
        if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", "..") or "\\" in name:
            raise DataError(f"{source}: names the shard {brief(name)}; shards lie beside their list")
        names.append(beside(source, name))
    if not names:
        raise DataError(f"{source}: names no shard; it needs a list `shards` with their names")
    return names


def as_json(content: object) -> str:
    """Returns the text of a list of shards."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
