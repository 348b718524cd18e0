"""How the images of a data set are to be read: range, missing pixels, bands, orientation."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.dataset import Reading, without_missing
from segkit.data.files.image_advice import Advice, advice, reading_of_advice, written
from segkit.data.files.image_facts import Collection, FileFacts, Moments, facts_of
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.value_range import with_scale
from segkit.data.formats.base import LabelReader
from segkit.files import DataError
from segkit.recipe.choice import Choice
from segkit.recipe.recognise import Survey, spread

MOST_READ = 24
"""Images whose values are looked at."""


class Values(NamedTuple):
    """What the images need.

    Attributes:
        choices: keys of the data set, and of the model for other than 3 channels.
        channels: that the model gets.
        notes: sentences on what a person must look at.
    """

    choices: list[Choice]
    channels: int
    notes: list[str]


def values_of(reader: LabelReader, items: Sequence[int], labels: Survey, *, takes_channels: bool) -> Values:
    """Looks at the values of some images.

    Args:
        reader: of the data set.
        items: of the reader, those that are trained on.
        labels: tells by the sizes of the labels whether they were made on turned pictures.
        takes_channels: whether the data set of the task reads other than 3 channels.

    Raises:
        DataError: none of the images can be read, or all are black.
    """
    chosen = spread(items, MOST_READ)
    paths = [str(reader.images[index]) for index in chosen]
    if any(Path(path).suffix.lower() not in IMAGE_SUFFIXES for path in paths):
        return _of_volumes(reader, chosen, takes_channels=takes_channels)
    files, failures = Collection(), []
    for path in paths:
        try:
            files.add(facts_of(path))
        except (DataError, OSError) as error:
            failures.append(str(error))
    if not files.files:
        raise DataError(f"none of {len(paths)} images looked at can be read: {failures[0]}")
    if all(facts.is_black for facts in files.files):
        raise DataError(f"all {len(files.files)} images looked at are black ({paths[0]}); check the files")
    notes = [f"{len(failures)} of {len(paths)} images cannot be read, such as {failures[0]}"] if failures else []
    found = [_of_labels(item, files.files, labels) if item.key == "exif" else item for item in advice(files)]
    notes += [f"look at {item.key}={written(item.value)}: {item.reason}" for item in found if not item.is_sure]
    found = [item for item in found if item.is_sure and item.value is not False]
    channels = int(next((item.value for item in found if item.key == "channels"), 3))
    if channels != 3 and not takes_channels:
        bands = [1, 2, 3] if channels > 3 else [1, 1, 1]
        reason = f"files of {channels} bands: the first three" if channels > 3 else f"files of {channels} bands"
        found = [item for item in found if item.key != "channels"] + [Advice("bands", bands, reason)]
        channels = 3
    choices = [Choice(item.key, item.value, item.reason) for item in found]
    if channels != 3:
        reading, _ = reading_of_advice(found)
        choices += _for_model(channels, [_read(path, channels, reading) for path in paths])
    return Values(choices, channels, notes)


def _of_labels(item: Advice, files: Sequence[FileFacts], labels: Survey) -> Advice:
    """Whether labels fit the turned pictures, by their sizes where turning swaps the sides."""
    turned = stored = 0
    for facts in files:
        size = labels.sizes.get(facts.path)
        if facts.orientation > 4 and size is not None and facts.size[0] != facts.size[1]:
            turned += size == facts.size[::-1]
            stored += size == facts.size
    if turned > stored:
        return Advice("exif", True, f"{item.reason.partition(':')[0]}; the labels have the sizes of turned pictures")
    if stored:
        return Advice("exif", False, "")
    return Advice("exif", True, f"{item.reason.partition(':')[0]}; most tools show such pictures turned")


def _read(path: str, channels: int, reading: Reading) -> Moments:
    """The moments of an image as the data set reads it; of no value where it cannot be read."""
    with contextlib.suppress(DataError, OSError):
        image = read_image(path, channels, **reading._asdict())
        return Moments.of(*without_missing(image, reading.nodata, path, is_marked=True))
    return Moments.none(channels)


def _of_volumes(reader: LabelReader, chosen: Sequence[int], *, takes_channels: bool) -> Values:
    """Slices of volumes hold values of any range."""
    channels = reader.channels(chosen[0]) if takes_channels else 3
    slices = [pixels for index in chosen if (pixels := reader.pixels(index, channels)) is not None]
    found = [Choice("channels", channels, f"the files have {channels}")] if channels != 3 else []
    scale = None
    if takes_channels and slices:  # other sets hand slices on as they are
        values = np.concatenate([pixels[::2, ::2].ravel() for pixels in slices])
        low, high = (float(f"{value:.2g}") for value in np.percentile(values[np.isfinite(values)], (0.1, 99.9)))
        if low < high and not (low >= 0 and 100 < high <= 255):
            scale = (low, high)
            found.append(Choice("scale", scale, "99.8 % of the values of the slices looked at"))
    if channels != 3:
        found += _for_model(channels, [Moments.of(with_scale(pixels, scale, "slices")) for pixels in slices])
    return Values(found, channels, [])


def _for_model(channels: int, moments: Sequence[Moments]) -> list[Choice]:
    """The model's number of channels, and its normalization by the mean and deviation of the images."""
    total = Moments.none(channels)
    for one in moments:
        total = total + one
    mean, std = (tuple(float(f"{value:.3g}") for value in values) for values in (total.mean, total.std))
    reason = "of the images as they are read, since those of ImageNet are for three colors"
    return [
        Choice("model.backbone.mean", mean, f"mean {reason}"),
        Choice("model.backbone.std", tuple(max(value, 1e-3) for value in std), "and their deviation"),
    ]
