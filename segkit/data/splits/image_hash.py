"""What an image looks like in few bytes, to find its copies: a hash that resizing and compression hardly change."""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.dataset import Dataset
from segkit.files import DataError, parse_json, read_bytes, read_text, write_whole

FORMAT = 1
"""Number of the cache's layout; another one makes old files unread."""

SIDE, LOW, THUMB = 32, 8, 16
"""Side of the grey image whose cosine transform is taken, of the frequencies kept, of the thumbnail that is kept."""

FLAT = 2.0
"""Standard deviation of grey levels, in 0..255, below which an image has nothing to be recognised by."""


class Look(NamedTuple):
    """What an image looks like.

    Attributes:
        bits: uint64, the hash.
        thumb: int8 [THUMB * THUMB], grey levels of mean 0 and equal deviation; zeros for a flat image.
        digest: of the file's bytes.
    """

    bits: int
    thumb: np.ndarray
    digest: str


def look(image: np.ndarray, digest: str = "") -> Look:
    """Describes an image: signs of the low frequencies of its cosine transform against their median.

    Args:
        image: uint8 or float [H,W,C].
        digest: of its file.

    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.1.
    """
    grey = image.mean(axis=2, dtype=np.float32) if image.shape[2] > 1 else image[..., 0].astype(np.float32)
    grey = np.nan_to_num(grey, posinf=0.0, neginf=0.0)
    low, high = (0.0, 255.0) if image.dtype == np.uint8 else (float(grey.min()), float(grey.max()))
    grey = (grey - low) * np.float32(255 / max(high - low, 1e-6))
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    # without the mean and its neighbours' offset, brightness and contrast change nothing
    frequencies = cv2.dct(small)[:LOW, :LOW].reshape(-1)
    signs = frequencies > np.median(frequencies[1:])
    signs[0] = False
    bits = int(np.packbits(signs).view(">u8")[0])
    thumb = cv2.resize(small, (THUMB, THUMB), interpolation=cv2.INTER_AREA).reshape(-1)
    deviation = float(thumb.std())
    if deviation < FLAT:
        return Look(bits, np.zeros(THUMB * THUMB, np.int8), digest)
    return Look(bits, np.clip((thumb - thumb.mean()) / deviation * 32, -127, 127).round().astype(np.int8), digest)


class LookBook:
    """Looks of the images of data sets, each computed once and kept in $SEGKIT_CACHE/looks.

    Args:
        folder: of the cache; None for $SEGKIT_CACHE/looks, or work_dirs/looks where the variable is not set.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or Path(os.environ.get("SEGKIT_CACHE", "work_dirs")).expanduser() / "looks"

    def looks(self, dataset: Dataset, indices: Sequence[int] | None = None, *, workers: int = 0) -> dict[str, Look]:
        """Describes images of a data set.

        Args:
            dataset: any data set; items whose image is no file of its own are passed over.
            indices: of the items; all by default.
            workers: threads that read images; 0 reads in this one.

        Returns:
            {path: look}, of the images that can be read.
        """
        chosen = {dataset.path(index): index for index in (range(len(dataset)) if indices is None else indices)}
        stamps = {path: stamp for path in chosen if (stamp := _stamp(path)) is not None}
        files = {path: self._file(dataset, os.path.dirname(path)) for path in stamps}
        known: dict[str, Look] = {}
        stored = {file: _load(file) for file in set(files.values())}
        for path, stamp in stamps.items():
            entry = stored[files[path]].get(path)
            if entry is not None and entry[:2] == [*stamp]:
                known[path] = _decoded(entry)
        missing = [path for path in stamps if path not in known]
        made = dict(zip(missing, _each(dataset, [(path, chosen[path]) for path in missing], workers)))
        for path, found in made.items():
            if found is not None:
                known[path] = found
                stored[files[path]][path] = [*stamps[path], *_encoded(found)]
        for file in {files[path] for path, found in made.items() if found is not None}:
            content = {"format": FORMAT, "looks": stored[file]}
            write_whole(file, json.dumps(content, separators=(",", ":")), "set SEGKIT_CACHE to another folder")
        return {path: known[path] for path in stamps if path in known}

    def _file(self, dataset: Dataset, folder: str) -> Path:
        """One file for each folder of images and way to read them."""
        about = json.dumps([os.path.realpath(folder), dataset.exif, str(dataset.nodata)])
        return self.folder / f"{hashlib.sha256(about.encode()).hexdigest()[:20]}.json"


def _each(dataset: Dataset, items: Sequence[tuple[str, int]], workers: int) -> Iterable[Look | None]:
    from tqdm import tqdm

    def describe(item: tuple[str, int]) -> Look | None:
        path, index = item
        try:
            return look(dataset.image(index), hashlib.blake2b(read_bytes(path), digest_size=12).hexdigest())
        except (DataError, OSError, ValueError):
            return None  # the check of the data says what is wrong with it

    def shown(looks: Iterable[Look | None]) -> list[Look | None]:
        return list(tqdm(looks, "looking at images", len(items), unit="image", disable=None, leave=False))

    if workers < 2:
        return shown(map(describe, items))
    with ThreadPoolExecutor(workers) as pool:
        return shown(pool.map(describe, items))


def _stamp(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns; None for what is no file."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return (stat.st_size, stat.st_mtime_ns) if os.path.isfile(path) else None


def _load(file: Path) -> dict[str, list]:
    """The cache of a folder; empty where there is none, or where it cannot be used."""
    try:
        content = parse_json(read_text(file), file)
        return dict(content["looks"]) if content["format"] == FORMAT else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _encoded(found: Look) -> list[str]:
    return [f"{found.bits:016x}", base64.b64encode(found.thumb.tobytes()).decode(), found.digest]


def _decoded(entry: list) -> Look:
    return Look(int(entry[2], 16), np.frombuffer(base64.b64decode(entry[3]), np.int8), entry[4])
