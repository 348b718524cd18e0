"""Makes the lists that the readers of OpenImages, ADE20K and SBD need, in the formats of RITM's published code."""

import csv
import io
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.data.files.masks import values_of
from segkit.data.files.name_list import read_lines, read_names
from segkit.data.files.pairs import some, split_names
from segkit.data.interactive.voc import read_instances
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.files import DataError, inside, open_regular, shortened, write_whole
from segkit.readers.arrays import read_mat

ROWS_PER_JOB = 20_000
"""Rows of OpenImages' table that one job checks."""

STUFF = frozenset(
    split_names(
        """bridge, building, bush, cabinet, carpet, ceiling, couch, crosswalk, curtain, cushion, door, drape, drapery,
    earth, edifice, fence, fencing, field, floor, flooring, grass, ground, hay bale, hill, house, land, lounge, mantle,
    mount, mountain, pall, path, pavement, pole, river, road, route, rug, sand, sea, seat, shrub, sidewalk, sign,
    signboard, sky, skyscraper, snow, sofa, soil, span, stairs, steps, street lamp, streetlight, table, towel, tree,
    wall, water, wave, window, windowpane"""
    )
)
"""Classes of ADE20K that RITM's training counts as stuff."""


def _finish(path: Path, about: dict, run: Callable[[Journal], Any]) -> Path:
    """Writes run(journal) as a pickle; a finished file is left unchanged."""
    if path.is_file():
        return path
    journal = Journal(path.with_suffix(".part"), about)
    is_finished = False
    try:
        write_whole(path, pickle.dumps(run(journal), protocol=4))
        is_finished = True
    finally:
        journal.close(is_finished=is_finished)
    return path


def prepare_open_images(root: Path, *, split: str, processes: int = 1) -> Path:
    """Makes the list of OpenImages' masks, of the rows whose image and mask exist.

    Reads <split>/<split>-annotations-object-segmentation.csv. A finished list is left unchanged.

    Args:
        root: folder of OpenImages.
        split: "train", "val" or "test".
        processes: how many processes work at once.

    Returns:
        The path of <split>/<split>-annotations-object-segmentation_clean.pkl.

    Raises:
        DataError: the table is missing or wrong, or no row has both files.
    """
    folder = root / split
    source = folder / f"{split}-annotations-object-segmentation.csv"
    path = folder / f"{split}-annotations-object-segmentation_clean.pkl"

    def run(journal: Journal) -> dict:
        rows = _rows(source)
        starts = [str(start) for start in range(0, len(rows), ROWS_PER_JOB)]
        work = partial(_existing, folder=folder, rows=rows)
        found = run_jobs(starts, work, journal, processes=processes, label=f"openimages {split}")
        masks: dict[str, list[str]] = {}
        for start in starts:
            for row in found[start]:
                image, mask = rows[int(start) + row]
                masks.setdefault(image, []).append(mask)
        if not masks:
            raise DataError(f"{source}: none of {len(rows)} rows has its image in images/ and its mask in masks/")
        return {"image_id_to_masks": masks, "dataset_samples": list(masks)}

    return _finish(path, dict(set="openimages", split=split, rows=ROWS_PER_JOB), run)


def _rows(path: Path) -> list[tuple[str, str]]:
    """Image id and mask file of every row."""
    try:
        with io.TextIOWrapper(open_regular(path), "utf-8", newline="") as file:
            rows = [(row["ImageID"], row["MaskPath"]) for row in csv.DictReader(file)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no table of OpenImages ({error}); download it again") from error
    except DataError as error:
        raise DataError(f"{error}; it is part of the download of OpenImages' masks") from error
    except KeyError as error:
        raise DataError(f"{path}: has no column {error}; expected MaskPath and ImageID") from error
    return [(inside("images", image, path), inside("masks", mask, path)) for image, mask in rows]


def _existing(start: str, folder: Path, rows: Sequence[tuple[str, str]]) -> list[int]:
    """Rows from `start` on that have both files, counted from it."""
    chunk = rows[int(start) : int(start) + ROWS_PER_JOB]
    images, masks = f"{folder}/images", f"{folder}/masks"
    return [
        number
        for number, (image, mask) in enumerate(chunk)
        if Path(f"{images}/{image}.jpg").is_file() and Path(f"{masks}/{mask}").is_file()
    ]


def prepare_ade20k(root: Path, *, split: str, processes: int = 1) -> Path:
    """Makes the list of ADE20K's objects and parts from index_ade20k.mat and the *_atr.txt files.

    A finished list is left unchanged.

    Args:
        root: folder of the full ADE20K.
        split: "train" or "val".
        processes: how many processes work at once.

    Returns:
        The path of <split>-annotations-object-segmentation.pkl.

    Raises:
        DataError: a file is missing or wrong, or the split has no image.
    """
    path = root / f"{split}-annotations-object-segmentation.pkl"

    def run(journal: Journal) -> dict:
        folders = _folders(root / "index_ade20k.mat", split)
        work = partial(_layers, root=root, folders=folders)
        found = run_jobs(list(folders), work, journal, processes=processes, label=f"ade20k {split}")
        # JSON has no integer keys
        for layers in found.values():
            for layer in layers:
                layer["instance_to_class"] = {int(key): names for key, names in layer["instance_to_class"].items()}
        return {name: {"folder": folders[name], "layers": layers} for name, layers in found.items()}

    return _finish(path, dict(set="ade20k", split=split), run)


def _folders(path: Path, split: str) -> dict[str, str]:
    """Folder below the root of each image of the split, by name."""
    try:
        index = read_mat(path, "index", squeeze_me=True, struct_as_record=True).item()
        pairs = [(str(name), PurePosixPath(str(folder))) for name, folder in zip(index[0], index[1])]
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no index of the full ADE20K ({shortened(error, 200)}); unpack the download again"
        ) from error
    # its folders begin with the name of the release
    found = {
        inside("", name.partition(".")[0], path): inside(path.parent, str(PurePosixPath(*folder.parts[1:])), path)
        for name, folder in pairs
        if name.startswith(f"ADE_{split}_")
    }
    if not found:
        raise DataError(f"{path}: no image ADE_{split}_...; split must be train or val")
    return found


def _layers(name: str, root: Path, folders: dict[str, str]) -> list[dict]:
    """Mask name and instances of each layer of an image: of its objects, then of each level of parts."""
    folder = root / folders[name]
    num_levels = len(list(folder.glob(f"{name}_parts_*.png")))
    suffixes = ["seg", *(f"parts_{level}" for level in range(1, num_levels + 1))]
    layers: list[dict] = [
        {"mask_name": f"{name}_{suffix}.png", "instance_to_class": {}, "object_instances": [], "stuff_instances": []}
        for suffix in suffixes
    ]
    path = folder / f"{name}_atr.txt"
    for number, line in read_lines(path, "every image of the full ADE20K has NAME_atr.txt"):
        fields = line.split("#")
        try:
            instance, level, names = int(fields[0]), int(fields[1]), [text.strip() for text in fields[3].split(",")]
            layer = layers[level]
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path}, line {number}: expected 'instance # level # occluded # classes # ...' with a level below "
                f"{len(layers)} ({error})"
            ) from error
        layer["stuff_instances" if STUFF & set(names) else "object_instances"].append(instance)
        layer["instance_to_class"][instance] = names
    return layers


def prepare_sbd(root: Path, *, split: str, processes: int = 1) -> Path:
    """Makes the list of (image, object) for evaluation on SBD from <split>.txt and inst/*.mat.

    A finished list is left unchanged.

    Args:
        root: folder benchmark_RELEASE/dataset.
        split: "train" or "val".
        processes: how many processes work at once.

    Returns:
        The path of <split>_images_and_ids_list.pkl.

    Raises:
        DataError: files are missing or wrong.
    """
    path = root / f"{split}_images_and_ids_list.pkl"

    def run(journal: Journal) -> list[tuple[str, int]]:
        names = read_names(root / f"{split}.txt", "SBD's root holds train.txt and val.txt")
        missing = [name for name in names if not (root / "inst" / f"{name}.mat").is_file()]
        if missing:
            raise DataError(f"{root / 'inst'}: {len(missing)} of {len(names)} files are missing: {some(missing)}")
        found = run_jobs(names, partial(_objects, root=root), journal, processes=processes, label=f"sbd {split}")
        return [(name, value) for name in names for value in found[name]]

    return _finish(path, dict(set="sbd", split=split), run)


def _objects(name: str, root: Path) -> list[int]:
    path = str(root / "inst" / f"{name}.mat")
    return values_of(read_instances(path), path)
