"""Which keys of a data set its image files ask for, as lines to paste into a config."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from segkit.data.dataset import Dataset, Reading
from segkit.data.files.image_facts import Collection, Suspect, facts_of
from segkit.data.files.image_values import ImageValues
from segkit.files import DataError

FREQUENT = 0.1
"""Share of the files from which on a value that may mark missing pixels is named."""


class Advice(NamedTuple):
    """A key of a data set.

    Attributes:
        key: its name.
        value: to set.
        reason: what was found.
        is_sure: whether it should be set; else a person must look.
    """

    key: str
    value: Any
    reason: str
    is_sure: bool = True

    @property
    def line(self) -> str:
        """The key as a line of a config, a comment where a person must look first."""
        return f"{'' if self.is_sure else '# '}{self.key}={written(self.value)},  # {self.reason}"


def written(value: Any) -> str:
    """Returns a value as Python writes it, numbers in their shortest form."""
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, tuple | list):
        inner = ", ".join(written(element) for element in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def advice(files: Collection) -> list[Advice]:
    """Returns the keys that a data set of these files needs, in the order in which they take effect."""
    if not files.files:
        return []
    found = [*_exif(files), *_nodata(files), *_bands(files)]
    scale = _scale(files, reads_all=any(item.key == "channels" for item in found))
    return [*found, *([] if scale is None else [scale])]


def reading_of_advice(found: list[Advice]) -> tuple[Reading, int]:
    """Returns how files are read with the keys that are sure, and the number of channels."""
    sure = {item.key: item.value for item in found if item.is_sure}
    reading = Reading(bool(sure.get("exif")), sure.get("nodata"), sure.get("scale"), None)
    return reading, int(sure.get("channels", 3))


MOST_READ = 8
"""Files that are read for a sentence of the check before training."""


def keys_for(paths: Sequence[str]) -> str:
    """Returns the keys on values that a few files need, such as "nodata=-9999 and scale=(0, 4095) (...)".

    Args:
        paths: of all images; up to 8 of those that are files are read.

    Returns:
        "" where the files need none or cannot be read.
    """
    chosen = sorted({round(i * (len(paths) - 1) / (MOST_READ - 1)) for i in range(MOST_READ)}) if paths else []
    files = Collection()
    for number in chosen:
        if os.path.isfile(paths[number]):
            with contextlib.suppress(DataError):  # reading the sample says so
                files.add(facts_of(paths[number]))
    found = [item for item in advice(files) if item.key in ("nodata", "scale") and item.is_sure]
    keys = " and ".join(f"{item.key}={written(item.value)}" for item in found)
    return f"{keys} ({'; '.join(item.reason for item in found)})" if found else ""


class ValueFindings(NamedTuple):
    """What is wrong with the values of images, as sentences."""

    errors: list[str]
    warnings: list[str]


def findings_of(
    values: ImageValues,
    dataset: Dataset,
    num_read: int,
    mean: Sequence[float] | float | None,
    std: Sequence[float] | float | None,
) -> ValueFindings:
    """Returns what is wrong with the values of the images that a check has read: black, of one color, unlike the model.

    Args:
        values: of the images read.
        dataset: which they come from; a few of its files are read again where the values do not fit.
        num_read: images.
        mean, std: of the model's normalization, None for those of most encoders.
    """
    errors: list[str] = []
    warnings: list[str] = []
    for paths, what in ((values.black, "black: every value is 0"), (values.plain, "of one color")):
        if paths:
            text = (
                f"{len(paths)} of {num_read} images read are {what} ({paths[0]}): check the files, and bands and scale"
            )
            is_all_black = paths is values.black and len(paths) == len(values)
            (errors if is_all_black else warnings).append(text)
    if text := values.misfit(mean, std):
        keys = keys_for([dataset.path(index) for index in range(len(dataset))]) if dataset.scale is None else ""
        warnings.append(f"{text}: {values.remedy(keys)}")
    return ValueFindings(errors, warnings)


def _exif(files: Collection) -> list[Advice]:
    turned = files.turned
    if not turned:
        return []
    reason = f"{len(turned)} of {len(files.files)} files state an EXIF orientation: for labels made on turned pictures"
    return [Advice("exif", True, reason)]


def _nodata(files: Collection) -> list[Advice]:
    total = len(files.files)
    by_value: dict[float, list[Suspect]] = {}
    for facts in files.files:
        for suspect in facts.suspects:
            by_value.setdefault(suspect.value, []).append(suspect)
    found: list[Advice] = []
    sure = sorted((item for item in by_value.items() if any(s.is_sure for s in item[1])), key=lambda i: -len(i[1]))
    for value, suspects in sure:
        share = 100 * sum(suspect.share for suspect in suspects) / total
        plain = int(value) if value == int(value) and abs(value) < 1e6 else value
        reason = f"{share:.3g} % of the pixels, in {len(suspects)} of {total} files"
        found.append(Advice("nodata", plain, reason, is_sure=not found))
    missing = [facts for facts in files.files if facts.num_nan or facts.num_infinite]
    if missing and not found:
        reason = f"NaN or infinity in {len(missing)} of {total} files; they always count as missing"
        found.append(Advice("nodata", "nan", reason))
    zero = by_value.get(0.0, [])
    if not found and len(zero) >= FREQUENT * total:
        share = 100 * sum(suspect.share for suspect in zero) / total
        count = 3 if files.channels == 4 else files.channels
        reason = f"{share:.3g} % of the pixels, in areas at the border of {len(zero)} of {total} files: no data?"
        found.append(Advice("nodata", 0 if count == 1 else [0] * count, reason, is_sure=False))
    return found


def _bands(files: Collection) -> list[Advice]:
    """Files of 1 and 3 bands, and of alpha beside them, are read as RGB; others have `channels` or `bands` set."""
    bands = {facts.moments.mean.shape[0] - facts.num_alpha for facts in files.files}
    if bands <= {1, 3} and not any(facts.kind == "npy" and facts.moments.mean.shape[0] != 3 for facts in files.files):
        return []
    channels = files.channels
    if len(bands) > 1:
        reason = f"files of {', '.join(map(str, sorted(bands)))} bands are mixed: sort them into folders"
        return [Advice("channels", channels, reason, is_sure=False)]
    found = [Advice("channels", channels, "all bands; model.backbone.in_channels must be as many")]
    if channels > 3:
        found.append(
            Advice("bands", [3, 2, 1], "or three of them, counted from 1: which ones are red, green, blue?", False)
        )
    return found


def _scale(files: Collection, *, reads_all: bool) -> Advice | None:
    kinds = {facts.dtype for facts in files.files}
    if kinds <= {"uint8", "bool"}:
        return None
    if len(kinds) > 1:
        reason = f"files of {', '.join(sorted(kinds))} are mixed, so that each image has a range of its own"
        return Advice("scale", ("p1", "p99"), reason)
    bits, declared = files.bits_in_use, max(facts.bits for facts in files.files)
    low, high = files.percentiles((0.1, 99.9))
    if 0 < bits <= 16:
        if bits == declared and not reads_all:
            return None  # pictures of 16 bits are brought to 0..255 by what the file declares
        most = (1 << bits) - 1
        dark = "" if high.max() > most / 4 else f"; 99.9 % lie below {high.max():.0f}: or scale=('p1', 'p99')"
        used = f"values use {bits} of {declared} bits" if bits < declared else f"values use {bits} bits"
        return Advice("scale", (0, most), used + dark)
    moments = files.moments[files.channels]
    if moments.low.min() >= 0 and 0.5 < moments.high.max() <= 1:
        return Advice("scale", (0, 1), "values lie in 0 to 1")
    if moments.low.min() >= 0 and 100 < moments.high.max() <= 255:
        return None
    ends = _rounded(float(low.min()), up=False), _rounded(float(high.max()), up=True)
    if ends[0] >= ends[1]:
        return None
    reason = f"99.8 % of the values; all are {moments.low.min():.4g} to {moments.high.max():.4g}"
    return Advice("scale", ends, reason)


def _rounded(value: float, *, up: bool) -> float | int:
    """A number of two digits that lies outside."""
    if value == 0:
        return 0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    rounded = float((np.ceil if up else np.floor)(value / unit) * unit)
    return int(rounded) if rounded == int(rounded) else float(f"{rounded:.6g}")
