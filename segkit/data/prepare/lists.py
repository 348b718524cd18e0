"""Lists that the readers of OpenImages, ADE20K and SBD need, in the formats of RITM's published code."""

import csv
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.data.files.masks import values_of
from segkit.data.files.pairs import read_list, some, split_names
from segkit.data.interactive.voc import read_instances
from segkit.data.prepare.jobs import Journal, run_jobs
from segkit.files import DataError, write_whole

ROWS_PER_JOB = 20_000

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
    """Writes run(journal) as a pickle; a finished file is left as it is."""
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
    """<split>/<split>-annotations-object-segmentation.csv -> ..._clean.pkl of the rows whose image and mask exist."""
    place = root / split
    source = place / f"{split}-annotations-object-segmentation.csv"
    path = place / f"{split}-annotations-object-segmentation_clean.pkl"

    def run(journal: Journal) -> dict:
        rows = _rows(source)
        starts = [str(start) for start in range(0, len(rows), ROWS_PER_JOB)]
        work = partial(_existing, place=place, rows=rows)
        found = run_jobs(starts, work, journal, processes=processes, label=f"openimages {split}")
        masks: dict[str, list[str]] = {}
        for start in starts:
            for row in found[start]:
                image, mask = rows[int(start) + row]
                masks.setdefault(image, []).append(mask)
        if not masks:
            raise DataError(f"{source}: of {len(rows)} rows none has its image in images/ and its mask in masks/")
        return {"image_id_to_masks": masks, "dataset_samples": list(masks)}

    return _finish(path, dict(set="openimages", split=split, rows=ROWS_PER_JOB), run)


def _rows(path: Path) -> list[tuple[str, str]]:
    """-> (image id, mask file) of every row."""
    try:
        with open(path, newline="") as file:
            return [(row["ImageID"], row["MaskPath"]) for row in csv.DictReader(file)]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; it is part of the download of OpenImages' masks") from error
    except KeyError as error:
        raise DataError(f"{path}: has no column {error}; expected MaskPath, ImageID ...") from error


def _existing(start: str, place: Path, rows: Sequence[tuple[str, str]]) -> list[int]:
    """-> which of the rows from `start` on have both files, counted from it."""
    part = rows[int(start) : int(start) + ROWS_PER_JOB]
    images, masks = f"{place}/images", f"{place}/masks"
    return [
        number
        for number, (image, mask) in enumerate(part)
        if Path(f"{images}/{image}.jpg").is_file() and Path(f"{masks}/{mask}").is_file()
    ]


def prepare_ade20k(root: Path, *, split: str, processes: int = 1) -> Path:
    """index_ade20k.mat and the *_atr.txt files -> <split>-annotations-object-segmentation.pkl."""
    path = root / f"{split}-annotations-object-segmentation.pkl"

    def run(journal: Journal) -> dict:
        folders = _folders(root / "index_ade20k.mat", split)
        work = partial(_layers, root=root, folders=folders)
        found = run_jobs(list(folders), work, journal, processes=processes, label=f"ade20k {split}")
        # JSON has no integer keys
        for entry in (layer for layers in found.values() for layer in layers):
            entry["instance_to_class"] = {int(key): names for key, names in entry["instance_to_class"].items()}
        return {name: {"folder": folders[name], "layers": layers} for name, layers in found.items()}

    return _finish(path, dict(set="ade20k", split=split), run)


def _folders(path: Path, split: str) -> dict[str, str]:
    """-> {image name: its folder below the root} of the split's images."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        index = loadmat(path, squeeze_me=True, struct_as_record=True)["index"].item()
        pairs = [(str(name), PurePosixPath(str(folder))) for name, folder in zip(index[0], index[1])]
    except (OSError, MatReadError, KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no index of the full ADE20K ({error}); unpack the download again") from error
    # its folders begin with the name of the release
    found = {
        name.partition(".")[0]: str(PurePosixPath(*folder.parts[1:]))
        for name, folder in pairs
        if name.startswith(f"ADE_{split}_")
    }
    if not found:
        raise DataError(f"{path}: no image ADE_{split}_...; splits are train and val")
    return found


def _layers(name: str, root: Path, folders: dict[str, str]) -> list[dict]:
    """-> per layer of an image (objects, then levels of parts): its mask's name and the classes of its instances."""
    folder = root / folders[name]
    parts = len(list(folder.glob(f"{name}_parts_*.png")))
    suffixes = ["seg", *(f"parts_{level}" for level in range(1, parts + 1))]
    layers = [
        {"mask_name": f"{name}_{suffix}.png", "instance_to_class": {}, "object_instances": [], "stuff_instances": []}
        for suffix in suffixes
    ]
    path = folder / f"{name}_atr.txt"
    for number, line in enumerate(read_list(path, "every image of the full ADE20K has NAME_atr.txt"), 1):
        fields = line.split("#")
        try:
            instance, level, names = int(fields[0]), int(fields[1]), [one.strip() for one in fields[3].split(",")]
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
    """<split>.txt and inst/*.mat -> <split>_images_and_ids_list.pkl, the list of (image, object) for evaluation."""
    path = root / f"{split}_images_and_ids_list.pkl"

    def run(journal: Journal) -> list[tuple[str, int]]:
        names = read_list(root / f"{split}.txt", "SBD's root holds train.txt and val.txt")
        missing = [name for name in names if not (root / "inst" / f"{name}.mat").is_file()]
        if missing:
            raise DataError(f"{root / 'inst'}: {len(missing)} of {len(names)} files are missing: {some(missing)}")
        found = run_jobs(names, partial(_objects, root=root), journal, processes=processes, label=f"sbd {split}")
        return [(name, value) for name in names for value in found[name]]

    return _finish(path, dict(set="sbd", split=split), run)


def _objects(name: str, root: Path) -> list[int]:
    path = str(root / "inst" / f"{name}.mat")
    return values_of(read_instances(path), path)
