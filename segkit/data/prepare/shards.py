"""Writes a data set of any task as shards: tar files in WebDataset's form, each with an index, and a list of all."""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import cv2
import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.mask_scan import key as key_of
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.data.shards.addresses import LIST
from segkit.data.shards.addresses import as_json as list_text
from segkit.data.shards.content import FORMAT, LAYERS, MASK, OBJECTS, in_planes
from segkit.data.shards.index import SUFFIX, IndexMaker, as_key, unpacked
from segkit.data.shards.tar import BLOCK, END, member_bytes
from segkit.files import DataError, read_bytes, whole_file, write_whole
from segkit.types import Sample

JOURNAL = "unfinished.jsonl"
"""Name of the file that an unfinished run keeps beside its shards."""

PROBED = 32
"""Items that are written on trial, to see whether the image files give the images, and how large the rest is."""


@runtime_checkable
class _OfFiles(Protocol):
    channels: int


class _Annotated(Protocol):
    annotations: dict[str, list[dict]]


@dataclass
class Packing:
    """How the items of a data set become files of a shard.

    Attributes:
        dataset: the items.
        task: "semantic", "instances" or "clicks".
        keeps_files: whether the image files are copied; images that are no file of their own, or parts of one, are
            written as PNG or .npy.
        objects: of instances, COCO's entries of each image by its id.
        heads: of instances, COCO's entry of each image by its id.
    """

    dataset: Dataset
    task: str
    keeps_files: bool = False
    objects: dict[str, list[dict]] = field(default_factory=dict)
    heads: dict[str, dict] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of the images, as their data set reads them."""
        inner = self.dataset
        while not isinstance(inner, _OfFiles) and isinstance(getattr(inner, "dataset", None), Dataset):
            inner = cast(Any, inner).dataset
        return inner.channels if isinstance(inner, _OfFiles) else 3

    def image(self, index: int) -> tuple[str, bytes]:
        """Returns the suffix and the bytes of an image: the file as it is, or a lossless picture of the values."""
        if self.keeps_files:
            path = self.dataset.path(index)
            return os.path.splitext(path)[1][1:].lower(), read_bytes(path)
        image = self.dataset.image(index)
        if image.dtype == np.uint8 and image.shape[2] in (1, 3, 4):
            order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[image.shape[2]]
            return "png", png(image[:, :, order])
        stream = io.BytesIO()
        np.save(stream, image)
        return "npy", stream.getvalue()

    def rest(self, index: int) -> list[tuple[str, bytes]]:
        """Returns suffix and bytes of what belongs to an image: its label map, or its objects."""
        if self.task == "instances":
            name = str(self.dataset.ids[index])
            return [(OBJECTS, compact(dict(image=self.heads[name], annotations=self.objects.get(name, []))))]
        if self.task == "clicks":
            return _of_clicks(self.dataset.sample(index, np.random.default_rng([0, index])))
        if not self.dataset.has_mask(index):
            return []
        return [_of_mask(self.dataset.mask(index), self.dataset.mask_path(index))]

    def files(self, index: int) -> list[tuple[str, bytes]]:
        """Returns all files of an item."""
        return [self.image(index), *self.rest(index)]


def png(array: np.ndarray) -> bytes:
    """Returns a PNG of uint8 or uint16 [H,W] or [H,W,C], BGR as OpenCV has it."""
    done, content = cv2.imencode(".png", np.ascontiguousarray(array))
    if not done:
        raise DataError(f"an array of {array.shape} cannot be written as PNG")
    return content.tobytes()


def compact(value: object) -> bytes:
    """Returns JSON without spaces, equal for equal values."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("ascii")
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise DataError(f"a {type(value).__name__} cannot be written as JSON")


def _of_mask(mask: np.ndarray, source: str) -> tuple[str, bytes]:
    if mask.dtype.kind not in "ui" or mask.min(initial=0) < 0 or mask.max(initial=0) > 65535:
        raise DataError(
            f"{source}: values {mask.min()} to {mask.max()}; label maps of 0 to 65535 can be written as PNG"
        )
    values = mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16)
    return (MASK, png(values)) if mask.ndim == 2 else (LAYERS, png(in_planes(values)))


def _of_clicks(sample: Sample) -> list[tuple[str, bytes]]:
    objects = {str(name): [*item[:3], [*item.children]] for name, item in sample["objects"].items()}
    about = dict(objects=objects, ignored=sample["ignored"], layers=sample["layers"].shape[2])
    return [(LAYERS, png(in_planes(sample["layers"]))), (OBJECTS, compact(about))]


def packing_of(dataset: Dataset) -> Packing:
    """Finds out how a data set is written.

    Raises:
        DataError: its items cannot be written: each is one object of an image that several share.
    """
    if not len(dataset):
        raise DataError(f"{type(dataset).__name__}: holds no image; check root and split")
    sample = dataset.sample(0, np.random.default_rng(0))
    if dataset.ignore == -1 and "layers" not in sample:
        raise DataError(
            f"{type(dataset).__name__}: an item is one object, and the images of several would be written as often; "
            "shards are written of training sets, and what is scored stays in files"
        )
    if "layers" in sample:
        packing = Packing(dataset, "clicks")
    elif "boxes" in sample:
        truth = cast(_Annotated, dataset).annotations
        packing = Packing(dataset, "instances")
        packing.heads = {
            str(image["id"]): {k: v for k, v in image.items() if k != "file_name"} for image in truth["images"]
        }
        for entry in truth["annotations"]:
            packing.objects.setdefault(str(entry["image_id"]), []).append(entry)
    else:
        packing = Packing(dataset, "semantic")
    packing.keeps_files = _gives_files(packing)
    return packing


def _probe(dataset: Dataset) -> list[int]:
    return np.unique(np.linspace(0, len(dataset) - 1, min(PROBED, len(dataset))).round().astype(int)).tolist()


def _gives_files(packing: Packing) -> bool:
    """Whether the image files, read by the data set's settings, are its images, tried on a few."""
    dataset = packing.dataset
    paths = [dataset.path(index) for index in _probe(dataset)]
    if len(set(paths)) < len(paths):
        return False  # windows of large images
    for index, path in zip(_probe(dataset), paths):
        if os.path.splitext(path)[1].lower() not in IMAGE_SUFFIXES or not os.path.isfile(path):
            return False
        try:
            image = read_image(path, packing.channels, **dataset.reading._asdict())
        except DataError:
            return False
        # sets for clicks round and fill what they read, and so will their reader
        if packing.task != "clicks" and not np.array_equal(
            image, dataset.image(index), equal_nan=image.dtype.kind == "f"
        ):
            return False
    return True


def cuts(packing: Packing, size: int) -> list[int]:
    """Decides which items go to which shard, from the sizes of the image files and of a few written items.

    Args:
        packing: of the data set.
        size: bytes of a shard, about.

    Returns:
        Number of the first item of each shard, and the number of items at the end.
    """
    dataset = packing.dataset
    rest, images = [], []
    for index in _probe(dataset):
        files = packing.files(index)
        images.append(len(files[0][1]))
        rest.append(sum(BLOCK + -(-len(content) // BLOCK) * BLOCK for _, content in files[1:]) + 2 * BLOCK)
    total = len(dataset)
    if packing.keeps_files:
        weights = np.array([os.path.getsize(dataset.path(index)) for index in range(total)], np.float64)
    else:
        weights = np.full(total, np.mean(images))
    ends = np.cumsum(weights + np.mean(rest))
    starts = [0]
    while starts[-1] < total:
        before = ends[starts[-1] - 1] if starts[-1] else 0.0
        starts.append(max(int(np.searchsorted(ends, before + size, side="right")), starts[-1] + 1))
    return starts


@dataclass
class ShardJob:
    """Writes the shard of a number, in any process; a shard that an earlier run has written whole is kept.

    Attributes:
        packing: of the data set.
        starts: of cuts.
        folder: of the shards.
        stem: of their names.
    """

    packing: Packing
    starts: Sequence[int]
    folder: Path
    stem: str

    def path(self, number: int) -> Path:
        """Returns the file of a shard."""
        return self.folder / f"{self.stem}-{number:06d}.tar"

    def __call__(self, name: str) -> dict[str, Any]:
        """Writes a shard; returns its row of the list."""
        number = int(name)
        path = self.path(number)
        items = range(self.starts[number], self.starts[number + 1])
        keys = [as_key(str(self.packing.dataset.ids[index])) for index in items]
        if len(set(keys)) < len(keys):
            twice = next(key for at, key in enumerate(keys) if key in keys[:at])
            raise DataError(f"{type(self.packing.dataset).__name__}: two items have the name '{twice}'; rename one")
        row = written(path, keys)
        if row is not None:
            return row
        maker, digest, position = IndexMaker(str(path)), hashlib.sha256(), 0
        with whole_file(path) as draft, open(draft, "wb") as file:
            for key, index in zip(keys, items):
                for suffix, content in self.packing.files(index):
                    member = member_bytes(f"{key}.{suffix}", content)
                    offset = position + len(member) - -(-len(content) // BLOCK) * BLOCK
                    maker.add(key, suffix, offset, len(content))
                    file.write(member)
                    digest.update(member)
                    position += len(member)
            file.write(END)
            digest.update(END)
        found = maker.index(position + len(END), digest.hexdigest())
        write_whole(Path(f"{path}{SUFFIX}"), found.packed())
        return dict(file=path.name, samples=len(keys), bytes=found.size, sha256=found.sha256)


def written(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    """Returns the row of a shard that is whole and holds these keys; None where it has to be written."""
    index = Path(f"{path}{SUFFIX}")
    if not path.is_file() or not index.is_file():
        return None
    try:
        found = unpacked(np.frombuffer(read_bytes(index), np.uint8), str(index))
    except DataError:
        return None
    is_same = found.size == path.stat().st_size and [found.key(row) for row in range(len(found))] == list(keys)
    return dict(file=path.name, samples=len(found), bytes=found.size, sha256=found.sha256) if is_same else None


def write_shards(
    dataset: Dataset, folder: Path, *, stem: str, size: int, processes: int, resume: bool
) -> tuple[dict[str, Any], Packing]:
    """Writes a data set as shards.

    Args:
        dataset: of any task whose items are images of their own.
        folder: new, or of an unfinished run that `resume` continues.
        stem: of the shards' names.
        size: bytes of a shard, about.
        processes: how many work at once; the shards are the same for any number.
        resume: whether whole shards of an unfinished run are kept.

    Returns:
        The content of shards.json, and how the items were written.

    Raises:
        DataError: the folder holds other files, or shards of other data; or an item cannot be written.
    """
    journal_file, list_file = folder / JOURNAL, folder / LIST
    if list_file.is_file():
        raise DataError(f"{folder}: holds finished shards ({LIST}); choose another folder, or remove them")
    if journal_file.is_file() and not resume:
        raise DataError(f"{folder}: holds an unfinished run; continue it with --resume, or remove the folder")
    if not journal_file.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: is not empty; choose another folder")
    packing = packing_of(dataset)
    job = ShardJob(packing, cuts(packing, size), folder, stem)
    about = dict(data=key_of(dataset, "shards"), stem=stem, bytes=size, shards=len(job.starts) - 1)
    journal = Journal(journal_file, about)
    for name, row in list(journal.done.items()):
        if not job.path(int(name)).is_file() or job.path(int(name)).stat().st_size != row["bytes"]:
            del journal.done[name]
    is_finished = False
    try:
        names = [str(number) for number in range(len(job.starts) - 1)]
        rows = run_jobs(names, job, journal, processes=processes, label="shards")
        content = dict(_about(packing), shards=list(rows.values()))
        for part in folder.glob(f".{stem}-*.part"):  # of a run that was killed
            part.unlink(missing_ok=True)
        write_whole(list_file, list_text(content))
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return content, packing


def _about(packing: Packing) -> dict[str, Any]:
    dataset = packing.dataset
    reading = dataset.reading._asdict()
    if not packing.keeps_files:  # the values are written as they were read
        nodata = None if dataset.nodata is None else "nan" if dataset.is_marked else dataset.nodata
        reading = dict(exif=False, nodata=nodata, scale=None, bands=None)
    about: dict[str, Any] = dict(
        format=FORMAT,
        task=packing.task,
        samples=len(dataset),
        classes=list(dataset.classes),
        palette=[list(map(int, color)) for color in dataset.palette],
        ignore=dataset.ignore,
        channels=packing.channels,
        reading=reading,
    )
    if packing.task == "instances":
        about["categories"] = [
            {k: v for k, v in row.items() if isinstance(v, str | int | float)}
            for row in cast(_Annotated, dataset).annotations["categories"]
        ]
    return about
