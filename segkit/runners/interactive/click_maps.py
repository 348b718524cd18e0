"""The click maps of an evaluation, of files or of a network: how likely each pixel is clicked. H W image."""

import functools
import os
from pathlib import Path

import numpy as np
from torch import Tensor

from segkit.data.files.images import load_array
from segkit.data.files.masks import read_mask
from segkit.files import DataError, inside
from segkit.runners.interactive.band_clicker import MapClicker
from segkit.runners.interactive.clickability import load_clickability, predict_click_map
from segkit.runners.interactive.clicker import Clicker
from segkit.settings import ClickInference
from segkit.types import Batch

ENDS = (".png", ".npy")
"""Suffixes of click maps."""


def read_click_map(folder: str | Path, name: str, size: tuple[int, ...]) -> np.ndarray:
    """Reads the click map of an object.

    Args:
        folder: holds NAME.png (grey, 8 or 16 bits) or NAME.npy (float or whole numbers [H,W]).
        name: of the object, its id.
        size: (H, W) of its image.

    Returns:
        float32 [H,W], 0 or more.

    Raises:
        DataError: there is no such file, or it holds anything else.
    """
    paths = [os.path.join(folder, inside(folder, f"{name}{end}", folder)) for end in ENDS]
    path = next((path for path in paths if os.path.isfile(path)), None)
    if path is None:
        raise DataError(
            f"{folder}: no click map of '{name}' ({' or '.join(ENDS)}); make the maps of all objects, or set "
            "inference.clicks.maps = None for the distance to the error's border"
        )
    values = load_array(path) if path.endswith(".npy") else read_mask(path)
    if values.shape != tuple(size):
        raise DataError(f"{path}: click map of {values.shape} for an image of {tuple(size)} pixels; make it anew")
    if values.dtype.kind not in "fub" and values.dtype.kind != "i":
        raise DataError(f"{path}: {values.dtype} values; a click map holds numbers of 0 or more")
    values = values.astype(np.float32)
    if not np.isfinite(values).all() or values.min(initial=0) < 0:
        raise DataError(f"{path}: a click map holds finite numbers of 0 or more; make it anew")
    return values


def mapped_clickers(batch: Batch, settings: ClickInference) -> list[Clicker]:
    """Returns a clicker for each object of a batch, which draws from the map that inference.clicks.maps names.

    Args:
        batch: with "meta" and "mask".
        settings: section inference.clicks; without a `band` clicks are drawn from the whole map.
    """
    assert settings.maps is not None
    low, high = settings.band or (0.0, 1.0)
    clickers: list[Clicker] = []
    for i, (meta, mask) in enumerate(zip(batch["meta"], batch["mask"], strict=True)):
        assert isinstance(mask, Tensor)
        if settings.maps.lower().endswith((".pth", ".pt")):
            height, width = mask.shape
            image, target = batch["image"][i, :, :height, :width], (mask == 1).cpu().numpy()
            network = load_clickability(settings.maps, image.device)
            clickers.append(MapClicker(functools.partial(predict_click_map, network, image, target), low, high))
        else:
            clickers.append(MapClicker(read_click_map(settings.maps, str(meta["id"]), tuple(mask.shape)), low, high))
    return clickers
