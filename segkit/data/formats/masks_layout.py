"""Finding out which files of a folder are images and which are their masks, by the names of folders and files."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.listing import same_text
from segkit.data.files.masks import MASK_SUFFIXES
from segkit.data.files.name_list import read_lines
from segkit.data.files.pairs import some, walk_files
from segkit.data.formats.common import SPLIT_NAMES, split_name

MASK_WORDS = re.compile(
    r"(?<![a-z])(masks?|labels?(ids|_class)?|gts?(fine|coarse)?|ground[ _-]?truths?|segs?|annot(s|ation|ations)?"
    r"|trimaps?|mattes?|segmentations?(class)?|targets?|semantic)(?![a-z])|(annot|masks|mask|labels|gt)$|^segmentation|^labels?|^masks?",
    re.I,
)
"""What folders of masks are called: masks, gt, trainannot, PedMasks, SegmentationClass, labels_train ..."""

IMAGE_WORDS = re.compile(
    r"(?<![a-z])(images?|imgs?|im|jpe?gs?|jpegimages|pngimages|photos?|pictures?|inputs?|rgb)$", re.I
)
"""What folders of images are called."""

END = re.compile(
    r"[ ._-]?(masks?|labels?(ids)?|gt|seg|segmentation|annotations?|annot|groundtruth|matte|trimap|l|p)$", re.I
)
"""Ends by which a mask beside its image is told: img_001_mask.png, img_001_L.png."""

START = re.compile(r"^(masks?|labels?|gt|seg)[ ._-]", re.I)
"""Starts by which it is told: mask_001.png."""

ALL_SUFFIXES = tuple(dict.fromkeys((*IMAGE_SUFFIXES, *MASK_SUFFIXES)))


class Pair(NamedTuple):
    """An image, its mask (None where it has none), and the split it lies in ("" for none)."""

    image: Path
    mask: Path | None
    split: str


class Layout(NamedTuple):
    """The images and masks of a folder.

    Args:
        pairs: images with and without a mask, in the order of their paths.
        evidence: how they were told apart.
        lost: masks without an image.
    """

    pairs: list[Pair]
    evidence: str
    lost: list[str]


Stems = dict[str, Path]
"""{name without suffix: file} of a folder."""


def find_layout(root: Path, files: Iterable[str] | None = None) -> Layout | None:
    """Finds the images and masks below a folder; None where no image has a mask.

    Args:
        root: the folder.
        files: the images and masks; None for all pictures below the folder.
    """
    if not root.is_dir():
        return None
    folders: dict[tuple[str, ...], Stems] = {}
    for name in walk_files(root, ALL_SUFFIXES) if files is None else files:
        path = Path(name)
        stems = folders.setdefault(path.relative_to(root).parts[:-1], {})
        stem = same_text(path.stem)
        # a.jpg and a.png in one folder: the mask cannot be the JPEG
        stems[stem + (path.suffix if stem in stems else "")] = path
    masks = {parts: stems for parts, stems in folders.items() if any(MASK_WORDS.search(part) for part in parts)}
    images = {parts: stems for parts, stems in folders.items() if parts not in masks}
    layout = _of_folders(root, images, masks) if masks and images else None
    return layout or _beside(root, folders)


def _of_folders(
    root: Path, images: Mapping[tuple[str, ...], Stems], masks: Mapping[tuple[str, ...], Stems]
) -> Layout | None:
    """Pairs of folders of images and of masks."""
    by_key: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for parts in images:
        by_key.setdefault(_canonical(parts, IMAGE_WORDS), []).append(parts)
    pairs: list[Pair] = []
    lost: list[str] = []
    evidence = []
    used: set[tuple[str, ...]] = set()
    for parts, stems in masks.items():
        homes = by_key.get(_canonical(parts, MASK_WORDS), []) or ([*images] if len(images) == 1 else [])
        homes = [home for home in homes if home not in used]
        matches = [(home, _matched(images[home], stems)) for home in homes]
        best = max(matches, key=lambda match: len(match[1]), default=None)
        if best is None or not best[1]:
            lost += [str(path) for path in stems.values()]
            continue
        home, found = best
        used.add(home)
        taken = set(found.values())
        lost += [str(path) for path in stems.values() if path not in taken]
        split = _split_of((*parts, *home))
        pairs += [Pair(path, found.get(path), split) for path in images[home].values()]
        path, mask = next(iter(found.items()))
        evidence.append(f"{path.relative_to(root)} and {mask.relative_to(root)}")
    if not evidence:
        return None
    return Layout(sorted(pairs), some(evidence, 2), lost)


def _beside(root: Path, folders: Mapping[tuple[str, ...], Stems]) -> Layout | None:
    """Masks in the folders of their images, told by the ends or starts of their names."""
    pairs: list[Pair] = []
    lost: list[str] = []
    evidence = []
    for parts, stems in folders.items():
        masks = {stem: path for stem, path in stems.items() if END.search(stem) or START.search(stem)}
        images = {stem: path for stem, path in stems.items() if stem not in masks}
        found = _matched(images, masks)
        if not found:
            # a.jpg beside a.png
            pictures = {stem: path for stem, path in stems.items() if path.suffix.lower() in (".jpg", ".jpeg")}
            others = {os.path.splitext(stem)[0]: path for stem, path in stems.items() if stem not in pictures}
            pictures = {os.path.splitext(stem)[0]: path for stem, path in pictures.items()}
            found = {path: others[stem] for stem, path in pictures.items() if stem in others}
            images, masks = pictures, others
        if not found:
            continue
        taken = set(found.values())
        lost += [str(path) for path in masks.values() if path not in taken]
        pairs += [Pair(path, found.get(path), _split_of(parts)) for path in images.values()]
        image, mask = next(iter(found.items()))
        evidence.append(f"{image.relative_to(root)} and {mask.name}")
    return Layout(sorted(pairs), some(evidence, 2), lost) if evidence else None


def _canonical(parts: Sequence[str], words: re.Pattern) -> tuple[str, ...]:
    """The folders without the words that say what lies in them: train/masks, trainannot and masks/train are train."""
    left = (re.sub(r"^[ ._-]+|[ ._-]+$", "", words.sub("", part)) for part in parts)
    return tuple(split_name(part) for part in left if part)


def _split_of(parts: Iterable[str]) -> str:
    for part in parts:
        for word in (part, *re.split(r"[ ._-]", part), MASK_WORDS.sub("", part)):
            if word.lower() in SPLIT_NAMES:
                return split_name(word)
    return ""


def _matched(images: Stems, masks: Stems) -> dict[Path, Path]:
    """The mask of each image: of the same name, or with what most masks have before or after it."""
    best: dict[Path, Path] = {}
    for start, end, cut in _affixes(images, masks):
        found = {}
        for stem, path in images.items():
            mask = masks.get(f"{start}{stem.removesuffix(cut) if cut else stem}{end}")
            if mask is not None and mask != path:
                found[path] = mask
        if len(found) > len(best):
            best = found
    return best


def _affixes(images: Stems, masks: Stems) -> list[tuple[str, str, str]]:
    """(start and end of a mask's name, end of the image's name) to try: none, the most frequent ones, common ends."""
    starts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    cuts: Counter[str] = Counter()
    for stem in masks:
        for position in range(1, len(stem)):
            ends[stem[position:]] += stem[:position] in images
            starts[stem[:position]] += stem[position:] in images
    for stem in images:
        for position in range(1, len(stem)):
            cuts[stem[position:]] += stem[:position] in masks
    tried = [("", "", "")]
    tried += [("", end, "") for end, count in ends.most_common(2) if count]
    tried += [(start, "", "") for start, count in starts.most_common(2) if count]
    tried += [("", "", cut) for cut, count in cuts.most_common(2) if count]
    return [*tried, ("", _common_end(masks), _common_end(images))]


def _common_end(stems: Iterable[str]) -> str:
    """The end that all names share, from its first separator: _leftImg8bit."""
    end = ""
    for letters in zip(*(stem[::-1] for stem in stems)):
        if len(set(letters)) > 1:
            break
        end = letters[0] + end
    found = re.search(r"[ ._-]", end)
    return end[found.start() :] if found else ""


def split_lists(root: Path, images: Sequence[Path]) -> dict[str, list[int]]:
    """Reads lists of splits: train.txt, val.txt ... in the folder, in splits/ or lists/; {} where there are none.

    Args:
        root: the folder.
        images: the files that lines name, by their paths or names, with or without suffix; more words are passed over.
    """
    numbers: dict[str, int] = {}
    for number, path in enumerate(images):
        stem = path.with_suffix("")
        for name in (path.name, stem.name, path.relative_to(root).as_posix(), stem.relative_to(root).as_posix()):
            numbers.setdefault(same_text(name), number)
    splits: dict[str, list[int]] = {}
    for folder in (root, root / "splits", root / "lists", root / "ImageSets" / "Segmentation"):
        for file in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
            if file.stem.lower() not in SPLIT_NAMES:
                continue
            found = []
            for line in (line.text for line in read_lines(file, "a list names an image on each line")):
                words = (line, re.split(r"[\s,;]", line)[0])
                names = [name for word in words for name in (word.lstrip("./\\"), Path(word.replace("\\", "/")).stem)]
                known = [numbers[name] for name in names if name in numbers]
                found += known[:1]
            if found:
                splits[split_name(file.stem)] = found
    return splits
