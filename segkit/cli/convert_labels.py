"""Converts labels from one format to another, with their images: segkit convert-labels SRC DST --to FORMAT.

The format of SRC is found out, or named by --from. What was read, written and lost is printed. DST is new or empty, and
appears only when everything is in it.
"""

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segkit.cli import common
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelReader, LabelWriter, Written
from segkit.data.formats.common import background_of
from segkit.data.formats.draw import objects_of, pixel_classes
from segkit.data.formats.known import READERS, WRITERS, reader_of
from segkit.files import DataError
from segkit.types import IGNORE


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit convert-labels`; returns the exit code."""
    arguments = common.parser("convert-labels", __doc__ or "")
    arguments.add_argument("src", metavar="SRC", help="folder or file of labels, with its images")
    arguments.add_argument("dst", metavar="DST", help="folder of the result; it is new or empty")
    arguments.add_argument("--to", required=True, choices=[writer.format for writer in WRITERS], help="format to write")
    arguments.add_argument(
        "--from", dest="source", choices=[reader.format for reader in READERS], help="format of SRC; default: found out"
    )
    images = arguments.add_mutually_exclusive_group()
    images.add_argument("--copy", action="store_true", help="copy the images (default)")
    images.add_argument("--link", action="store_true", help="hard links in place of copies, on the same disk")
    return common.run(_convert, arguments.parse_args(argv))


def _convert(args: argparse.Namespace) -> int:
    src, dst = Path(args.src).expanduser(), Path(args.dst).expanduser()
    _check_free(src, dst)
    found = reader_of(src, args.source)
    reader = found.read(src)
    _say_read(reader, found.evidence)
    writer_type = next(writer for writer in WRITERS if writer.format == args.to)
    draft = dst.resolve().with_name(f".{dst.resolve().name}.{os.getpid()}.part")
    try:
        draft.mkdir(parents=True)
        written, lost = convert(reader, writer_type, draft, link=args.link)
        if dst.exists():
            dst.rmdir()
        draft.rename(dst)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _say_written(written, lost + reader.lost, args.to, dst)
    return 0


def _check_free(src: Path, dst: Path) -> None:
    if dst.is_file() or (dst.is_dir() and any(dst.iterdir())):
        raise DataError(f"{dst}: is not empty; choose another folder, or empty this one")
    if src.resolve() in (dst.resolve(), *dst.resolve().parents):
        raise DataError(f"{dst}: lies in {src}, where it would be read as a part of it; choose another folder")


def convert(
    reader: LabelReader, writer_type: type[LabelWriter], folder: Path, *, link: bool = False
) -> tuple[Written, Counter[str]]:
    """Writes all labelled images of a reader, and their labels in another format.

    Args:
        reader: the labels.
        writer_type: the format to write.
        folder: where; it is empty.
        link: whether images are hard links in place of copies.

    Returns:
        What was written, and what was lost on the way to the writer.

    Raises:
        DataError: a label cannot be read or written, an image is missing, or no image is labelled.
    """
    from tqdm import tqdm

    names, splits = _names(reader, with_folders=writer_type.has_split_folders)
    maps = pixel_classes(reader)
    background = background_of(maps)
    classes = maps
    if not writer_type.is_of_pixels:
        has_map = maps == tuple(reader.classes) and background is not None
        classes = tuple(name for number, name in enumerate(maps) if number != background) if has_map else reader.classes
    lost: Counter[str] = Counter()
    writer = writer_type(folder, classes, splits)
    count = 0
    for index in tqdm(range(len(reader)), unit="image", disable=None, leave=False):
        image = reader.item(index)
        if not image.is_labelled:
            lost["images without labels, which are left out"] += 1
            continue
        if not writer_type.is_of_pixels:
            image = _as_objects(image, maps, lost, keeps_map=writer_type.has_maps)
        writer.add(image, names[index])
        _place(reader, index, folder / writer_type.image_folder / names[index], link=link)
        count += 1
    if not count:
        raise DataError(f"none of {len(reader)} images is labelled, so there is nothing to convert; check SRC")
    return writer.close(), lost


def _as_objects(image: LabelledImage, classes: Sequence[str], lost: Counter[str], *, keeps_map: bool) -> LabelledImage:
    """The image with objects; of a map of classes its connected regions, which may be several objects each.

    With keeps_map the map stays, with the background as class 0.
    """
    if image.label_map is None:
        return image
    ignored = int((image.label_map == IGNORE).sum())
    if ignored and not keeps_map:
        lost["pixels that were ignored"] += ignored
    if not image.shapes:
        image = replace(image, shapes=objects_of(image, classes))
        regions = len(image.shapes)
        lost["connected regions that became an object each, though objects of a class may touch"] += regions
    if not keeps_map:
        return replace(image, label_map=None)
    table = np.full(256, IGNORE, np.uint8)
    background = background_of(classes)
    others = [number for number in range(len(classes)) if number != background]
    table[others] = np.arange(1, len(others) + 1)
    if background is not None:
        table[background] = 0
    return replace(image, label_map=table[image.label_map])


def _names(reader: LabelReader, *, with_folders: bool) -> tuple[list[str], dict[str, list[str]]]:
    """The name of each image in the new folder, and of the labelled images of each split."""
    homes = [""] * len(reader)
    # of lists that hold others, such as trainval, the smaller ones name the folders
    for split, items in sorted(reader.splits.items(), key=lambda entry: -len(entry[1])):
        for index in items:
            homes[index] = split
    if reader.splits:
        homes = [home or "other" for home in homes]
    paths = [_named(Path(path)) for path in reader.images]
    prefixes = [f"{home}/" if home and with_folders else "" for home in homes]
    names = [f"{prefix}{path.name}" for prefix, path in zip(prefixes, paths)]
    if not _are_distinct(names):
        base = Path(os.path.commonpath([path.parent for path in paths]))
        names = [f"{prefix}{path.relative_to(base).as_posix()}" for prefix, path in zip(prefixes, paths)]
    if not _are_distinct(names):
        names = [f"{os.path.splitext(name)[0]}_{path.suffix[1:]}{path.suffix}" for name, path in zip(names, paths)]
    if with_folders:
        kept: Mapping[str, Sequence[int]] = {
            home: [i for i, h in enumerate(homes) if h == home] for home in dict.fromkeys(homes)
        }
    else:
        kept = reader.splits
    labelled = {
        split: [index for index in items if reader.is_labelled(index)] for split, items in kept.items() if split
    }
    return names, {split: [names[index] for index in items] for split, items in labelled.items() if items}


def _named(path: Path) -> Path:
    """The file that a slice of a volume, a.nii.gz#0004, becomes: a.nii.gz_0004.npy."""
    return path if path.suffix.lower() in IMAGE_SUFFIXES else path.with_name(f"{path.name.replace('#', '_')}.npy")


def _are_distinct(names: Sequence[str]) -> bool:
    stems = [os.path.splitext(name)[0].casefold() for name in names]
    return len(set(stems)) == len(stems)


def _place(reader: LabelReader, index: int, target: Path, *, link: bool) -> None:
    """Puts an image where it belongs; slices of volumes become arrays of the values that are stored."""
    target.parent.mkdir(parents=True, exist_ok=True)
    pixels = reader.pixels(index, reader.channels(index))
    if pixels is not None:
        np.save(target, pixels)
        return
    source = Path(reader.images[index])
    if not source.is_file():
        raise DataError(f"{source}: no such image; copy it there, or take its labels out")
    try:
        if link:
            os.link(os.path.realpath(source), target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        way_out = "leave --link out" if link else "free space, or choose another folder"
        raise DataError(f"{target}: cannot be made from {source} ({error.strerror or error}); {way_out}") from error


def _say_read(reader: LabelReader, evidence: str) -> None:
    splits = ", ".join(f"{split} {len(items)}" for split, items in reader.splits.items()) or "none"
    print(f"read: {reader.format} ({evidence})")
    print(f"  {len(reader)} images, {len(reader.classes)} classes: {some(reader.classes, 12)}; splits: {splits}")
    for note in reader.notes:
        print(f"  note: {note}")


def _say_written(written: Written, lost: Counter[str], form: str, dst: Path) -> None:
    print(f"written: {form} to {dst}: {written.objects} objects, {written.files} files of labels")
    lost = +(lost + written.lost)
    if not lost:
        print("lost: nothing")
    for words, count in lost.items():
        print(f"  lost: {count} {words}")
