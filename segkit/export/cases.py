"""The images that an export is proved on, and that int8 is calibrated with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import walk_files
from segkit.data.transforms.way_back import for_network
from segkit.engine import setup
from segkit.export.proof import Case
from segkit.files import DataError
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.inputs import inputs_of, transforms_of_test
from segkit.runners.multi_label import MultiLabel
from segkit.runners.semantic import Semantic
from segkit.runtime.metadata import GraphInfo
from segkit.types import Meta, Sample


def image_files(folder: str, at: str) -> list[Path]:
    """Returns the images below a folder, or the image that it is.

    Args:
        folder: or a file.
        at: option that names it, for messages.

    Raises:
        ConfigError: there are none.
    """
    path = Path(folder)
    files = [Path(file) for file in walk_files(path, IMAGE_SUFFIXES)] if path.is_dir() else [path]
    files = [file for file in files if file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise ConfigError(f"{at} {folder}: holds no image; images end in {', '.join(IMAGE_SUFFIXES)}")
    return sorted(files)


def cases_of_files(model: Network, info: GraphInfo, files: list[Path]) -> Iterator[Case]:
    """Reads images as `segkit predict` does, and moves them by the transforms of section `test`."""
    inputs = inputs_of(model)
    transforms = transforms_of_test(getattr(model, "config", None) or {}, needs_stored=False)
    for file in files:
        image = inputs.read(file)
        yield Case(for_graph(_transformed(image, str(file), transforms), info))


def cases_of_validation(model: Network, info: GraphInfo, most: int) -> list[Case] | None:
    """Reads the first images of section `val`, with their label maps where the model predicts such.

    Returns:
        None where the model's config has no such section, or its data is not at hand.
    """
    cfg = getattr(model, "config", None) or {}
    section = cfg.get("val") or {}
    if "dataset" not in section:
        return None
    try:
        dataset = setup.DataSets().get(section["dataset"], "val.dataset")
        transforms = setup.build_eval_transforms(section.get("transforms", []), "val.transforms", needs_stored=False)
        cases = []
        for index in range(min(len(dataset), most)):
            sample = dataset.sample(index, np.random.default_rng(index))
            image = _transformed(sample["image"], dataset.path(index), transforms)
            mask = sample.get("mask") if is_label_map(cfg) else None
            cases.append(Case(for_graph(image, info), None if mask is None else [mask]))
        return cases
    except (DataError, ConfigError, OSError) as error:
        print(f"note: section `val` cannot be read ({error}); the proof takes seeded images, or those of --images DIR")
        return None


def is_label_map(cfg: dict) -> bool:
    """Whether a config's predictions are label maps, one class for each pixel."""
    from segkit.runners.base import build_runner

    runner = build_runner(cfg)
    return isinstance(runner, Semantic) and not isinstance(runner, MultiLabel)


def for_graph(image: np.ndarray, info: GraphInfo) -> np.ndarray:
    """Turns an image [H,W,C] into the input of a graph, [1,C,H,W], in its size and type.

    A graph of one size takes the part of the image at its top left, the rest of a smaller image is 0.
    """
    array = image.transpose(2, 0, 1)[None]
    if info.size:
        height, width = info.size
        canvas = np.zeros((1, array.shape[1], height, width), array.dtype)
        part = array[:, :, :height, :width]
        canvas[:, :, : part.shape[2], : part.shape[3]] = part
        array = canvas
    if info.dtype == "uint8" and array.dtype != np.uint8:
        array = np.clip(np.rint(array), 0, 255)
    return np.ascontiguousarray(array.astype(info.dtype))


def _transformed(image: np.ndarray, path: str, transforms: list) -> np.ndarray:
    sample = Sample(image=image, meta=Meta(id=path, path=path, size=image.shape[:2]))
    moved = for_network(sample, transforms, np.random.default_rng(0))
    height, width = moved["meta"].get("valid", moved["image"].shape[:2])
    return moved["image"][:height, :width]
