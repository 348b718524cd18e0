"""The first clicks of users, from a table, and how a model answers each of them alone.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, whose table has these columns. H W image.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.data.files.rle_table import read_rows
from segkit.files import DataError
from segkit.models.bases import Network
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click, mask_iou
from segkit.runners.interactive.session import Session
from segkit.settings import ClickInference
from segkit.types import Meta

COLUMNS = ("image_stem", "object_stem", "click_type", "device", "x", "y", "w", "h")
"""Columns that are read beside SET; further ones are passed over."""

SET = "dataset"
"""Column of the data set's name, which a table of one data set need not have."""

AT_ONCE = 16
"""Clicks on one image that are answered together at most."""


class UserClick(NamedTuple):
    """A user's first click on an object.

    Attributes:
        y, x: pixel of the picture that the user saw.
        height, width: of that picture.
        device: that it was made with, "pc" or "mobile" in the published table.
    """

    y: int
    x: int
    height: int
    width: int
    device: str

    def on(self, size: tuple[int, ...]) -> Click:
        """Returns the positive click on an image of (H, W) pixels; one outside of the picture lies on its border."""
        y, x = min(max(self.y, 0), self.height - 1), min(max(self.x, 0), self.width - 1)
        return Click(y * size[0] // self.height, x * size[1] // self.width, True)


@functools.lru_cache(maxsize=4)
def read_user_clicks(path: str | Path, of: str | None = None) -> dict[str, tuple[UserClick, ...]]:
    """Reads the first clicks of a table, a row each; rows of later clicks are passed over.

    Args:
        path: CSV file with the columns COLUMNS: image_stem and object_stem ("" for the only object of an image) name
            the object, click_type is "first" for first clicks, x and y count pixels of a picture of w x h.
        of: name of the data set in the column SET, whose rows are read; None takes all.

    Returns:
        The clicks of each object: by IMAGE where it is the only one of the image, else by IMAGE_OBJECT.

    Raises:
        DataError: the file is no such table, a number is none, or data sets share the name of an object.
    """
    clicks: dict[str, list[UserClick]] = {}
    sets: dict[str, str] = {}
    others: set[str] = set()
    for line, (image, part, kind, device, *numbers, source) in read_rows(path, COLUMNS, optional=(SET,)):
        if of is not None and source != of:
            others.add(source)
            continue
        if kind != "first":
            continue
        name = f"{image}_{part}" if part else image
        if sets.setdefault(name, source) != source:
            raise DataError(
                f"{path}, line {line}: '{name}' is an object of {source} and of {sets[name]}, clicked apart; "
                f"name the data set that is scored: inference.clicks.users_of = '{source}'"
            )
        clicks.setdefault(name, []).append(_user_click(numbers, device, f"{path}, line {line}"))
    if not clicks:
        whose = "" if of is None else f" with dataset '{of}'"
        known = ", ".join(sorted(others - {""}))
        remedy = f"; inference.clicks.users_of must be one of {known}" if known else ""
        raise DataError(f"{path}: no row{whose} has click_type 'first', so there are no first clicks of users{remedy}")
    return {name: tuple(of_object) for name, of_object in clicks.items()}


def _user_click(numbers: Sequence[str], device: str, source: str) -> UserClick:
    """The click of the cells x, y, w and h."""
    try:
        x, y, width, height = (int(float(number)) for number in numbers)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{source}: x, y, w, h = {', '.join(numbers)}: must be four numbers") from error
    if width < 1 or height < 1:
        raise DataError(f"{source}: a picture of {width}x{height} pixels; w and h must be 1 or more")
    return UserClick(y, x, height, width, device)


def clicks_on(table: Mapping[str, tuple[UserClick, ...]], meta: Meta) -> tuple[UserClick, ...]:
    """Returns the users' clicks on an item, () for none.

    Args:
        table: of read_user_clicks.
        meta: of the item. Its id may name the object beside the image, as that of TETRIS does, where the table names
            the image alone since it has no other object.
    """
    name = str(meta["id"])
    return table.get(name) or table.get(Path(meta["path"]).stem, ())


def answer_alone(
    model: Network, image: Tensor, mask: Tensor, clicks: Sequence[UserClick], settings: ClickInference
) -> np.ndarray:
    """Answers each user's first click from a clean state.

    Args:
        model: a click model in evaluation mode.
        image: uint8, or float in 0..255, RGB [3,H,W], on the model's device.
        mask: int [H,W], object 1, rest 0, ignored -1.
        clicks: of several users.
        settings: section inference.clicks.

    Returns:
        The IoU after each, float32 [clicks] in 0..1.
    """
    advance, target = Advance(model, settings), mask.cpu().numpy()
    ious: list[float] = []
    for start in range(0, len(clicks), AT_ONCE):
        sessions = [Session(image) for _ in clicks[start : start + AT_ONCE]]
        for session, click in zip(sessions, clicks[start:]):
            session.add(click.on(target.shape))
        advance(sessions)
        found = torch.cat([session.probabilities[0] > settings.threshold for session in sessions]).cpu().numpy()
        ious += [mask_iou(one, target) for one in found]
    return np.array(ious, np.float32)
