"""The base class of data sets, and the folders in which their files lie."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from segkit.files import DataError
from segkit.types import IGNORE, Color, Meta, Sample, WithArguments


def resolve_root(root: str | None, folder: str) -> Path:
    """Returns the folder of a data set.

    Args:
        root: the folder the user names, "~" allowed; None for the default.
        folder: name of the set's folder below the data root.

    Returns:
        `root` where it is given, else $SEGKIT_DATA/<folder>, or data/<folder> where the variable is not set.
    """
    if root is not None:
        return Path(root).expanduser()
    return Path(os.environ.get("SEGKIT_DATA", "data")) / folder


NoData: TypeAlias = float | str | Sequence[float] | None
"""What marks a pixel without data: a number, "nan", or one number for each channel; None for nothing."""


Bound: TypeAlias = float | str | Sequence[float]
"""An end of a range of values: a number, a percentile of the image such as "p1", or one number for each channel."""

ScaleRange: TypeAlias = tuple[Bound, Bound] | None
"""The stored values that become 0 and 255; None leaves the values as they are read."""

Bands: TypeAlias = Sequence[int] | None
"""Which bands of a file become the channels of the image, counted from 1; None for all."""


class Reading(NamedTuple):
    """How image files are read; the fields are arguments of read_image and of every data set of files.

    Attributes:
        exif: whether images are turned by the orientation that their files state.
        nodata: what marks a pixel without data.
        scale: the stored values that become 0 and 255.
        bands: which bands of a file become channels, counted from 1.
    """

    exif: bool = False
    nodata: NoData = None
    scale: ScaleRange = None
    bands: tuple[int, ...] | None = None

    @property
    def has_percentiles(self) -> bool:
        """Whether `scale` depends on all values of an image, so that no part can be read without the rest."""
        return self.scale is not None and any(isinstance(bound, str) for bound in self.scale)


def check_reading(exif: bool, nodata: NoData, scale: ScaleRange = None, bands: Bands = None) -> Reading:
    """Returns how images are read, with every value checked.

    Raises:
        DataError: names the argument, its value and what it may be.
    """
    return Reading(exif, check_nodata(nodata), check_scale(scale), check_bands(bands))


def check_nodata(nodata: NoData) -> NoData:
    """Returns the argument `nodata` of a data set as None, a number, or numbers.

    Args:
        nodata: a number, "nan", one number for each channel, or None.

    Raises:
        DataError: it is anything else.
    """
    if nodata is None:
        return None
    is_list = isinstance(nodata, list | tuple)
    values: Sequence = nodata if is_list else [nodata]  # type: ignore[assignment]
    numbers: list[float] = []
    if not any(isinstance(value, bool) for value in values):
        with contextlib.suppress(TypeError, ValueError):
            numbers = [float(value) for value in values]
    if not numbers:
        raise DataError(f"nodata = {nodata!r}: must be a number, 'nan', or a list of one number for each channel")
    return tuple(numbers) if is_list else numbers[0]


def check_scale(scale: ScaleRange) -> ScaleRange:
    """Returns the argument `scale` of a data set as None or two ends, each a number, "pN" or numbers.

    Args:
        scale: (low, high).

    Raises:
        DataError: it is anything else, or low is not below high.
    """
    if scale is None:
        return None
    advice = "must be (low, high), such as (0, 4095) or ('p1', 'p99'), or None"
    if not isinstance(scale, list | tuple) or len(scale) != 2:
        raise DataError(f"scale = {scale!r}: {advice}")
    low, high = (_bound(bound, f"scale = {scale!r}: {advice}") for bound in scale)
    is_percentile = isinstance(low, str), isinstance(high, str)
    if is_percentile[0] != is_percentile[1]:
        raise DataError(f"scale = {scale!r}: one end is a percentile and the other a value; give two of one kind")
    ends = (percent_of(low), percent_of(high)) if isinstance(low, str) and isinstance(high, str) else (low, high)
    if not (np.asarray(ends[0], np.float64) < np.asarray(ends[1], np.float64)).all():
        raise DataError(f"scale = {scale!r}: the first is the lower end and must be below the second")
    return low, high


def percent_of(bound: str) -> float:
    """Returns the percentile that "p1" or "p99.8" names."""
    return float(bound[1:])


def _bound(bound: Bound, error: str) -> Bound:
    with contextlib.suppress(TypeError, ValueError):
        if isinstance(bound, str):
            if bound[:1].lower() == "p" and 0 <= float(bound[1:]) <= 100:
                return bound.lower()
        elif isinstance(bound, list | tuple) and bound:
            numbers = tuple(float(value) for value in bound)
            if np.isfinite(numbers).all():
                return numbers
        elif not isinstance(bound, bool) and np.isfinite(float(bound)):  # type: ignore[arg-type]
            return float(bound)  # type: ignore[arg-type]
    raise DataError(error)


def check_bands(bands: Bands) -> tuple[int, ...] | None:
    """Returns the argument `bands` of a data set as None or whole numbers.

    Args:
        bands: counted from 1, in the order of the image's channels; one may occur twice.

    Raises:
        DataError: it is empty, or holds anything else.
    """
    if bands is None:
        return None
    is_list = isinstance(bands, list | tuple) and len(bands) > 0
    if not is_list or not all(isinstance(band, int) and not isinstance(band, bool) and band >= 1 for band in bands):
        raise DataError(
            f"bands = {bands!r}: must be a list of whole numbers; bands count from 1, as in GDAL and rasterio: "
            "bands=[3, 2, 1] takes the third, second and first"
        )
    return tuple(int(band) for band in bands)


def missing_pixels(image: np.ndarray, nodata: NoData) -> np.ndarray:
    """Finds the pixels without data.

    Args:
        image: [H,W,C].
        nodata: a number, which marks a pixel by any of its channels, or numbers, one for each channel, which mark it
            together. NaN and infinity always do, in any channel.

    Returns:
        bool [H,W].

    Raises:
        DataError: there are several numbers, but not one for each channel.
    """
    is_missing = np.zeros(image.shape[:2], bool)
    if image.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            total = image.sum()
        # one pass tells the usual case: a sum of finite values is finite, but for one beyond the type's range
        if not np.isfinite(total):
            is_missing = ~np.isfinite(image).all(axis=2)
    nodata = check_nodata(nodata)
    if isinstance(nodata, tuple):
        if len(nodata) != image.shape[2]:
            raise DataError(f"nodata = {nodata}: {len(nodata)} numbers for an image of {image.shape[2]} channels")
        return is_missing | (image == np.array(nodata).astype(_float_type(image))).all(axis=2)
    if nodata is not None:
        is_missing |= (image == np.array(nodata).astype(_float_type(image))).any(axis=2)
    return is_missing


def _float_type(image: np.ndarray) -> np.dtype:
    """The type to compare in: that of a floating-point image, since -3.4e38 and .1 are rounded there."""
    return image.dtype if image.dtype.kind == "f" else np.dtype(np.float64)


def without_missing(
    image: np.ndarray, nodata: NoData, source: str, *, is_marked: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Fills the pixels without data with the mean of the others, which lies near 0 after the model's normalization.

    Args:
        image: uint8 or float32 [H,W,C].
        nodata: as for missing_pixels; None where a missing pixel is an error.
        source: the image's file, for the error.
        is_marked: whether a float32 image holds NaN in place of `nodata` already, as read_image has it; its other
            values may be scaled, and one that equals `nodata` is data.

    Returns:
        The image, and bool [H,W] of the pixels that were filled, None for none.

    Raises:
        MissingPixels: `nodata` is None, and a value is NaN or infinite.
    """
    if nodata is None and image.dtype.kind != "f":
        return image, None
    if is_marked and nodata is not None and image.dtype.kind == "f":
        nodata = np.nan
    is_missing = missing_pixels(image, nodata)
    if not is_missing.any():
        return image, None
    if nodata is None:
        count = int(is_missing.sum())
        raise MissingPixels(
            f"{source}: {count} of {is_missing.size} pixels are NaN or infinite, and one of them makes the whole "
            "prediction NaN; set nodata='nan' in the data set (predict: --nodata nan) to fill and ignore them"
        )
    means = np.zeros(image.shape[2])
    if not is_missing.all():
        means = image[~is_missing].mean(axis=0, dtype=np.float64)
    filled = image.copy()
    filled[is_missing] = np.rint(means) if image.dtype.kind == "u" else means
    return filled, is_missing


class MissingPixels(DataError):
    """An image holds NaN or infinity, and its data set does not say what they mean."""


class Dataset(WithArguments):
    """Images with labels, read one at a time by index.

    Every data set derives from this class. A subclass sets `ids`, `classes` and `palette` and gives `image(index)` and
    `mask(index)`; sets of object instances override `sample` instead of `mask`, and have `annotations`, their truth in
    COCO form, for the metrics that need it.

    Attributes:
        classes: K names.
        palette: K colors (r, g, b) in 0..255.
        folder: name of the set's folder below the data root.
        ids: one name per item.
        ignore: the label of pixels that are neither trained nor scored; -1 in data sets for clicks.
        exif: whether images are turned by the orientation that their files state; labels never are.
        scale, bands: see Reading.
        is_marked: whether float32 images hold NaN in place of `nodata`, which read_image puts there.
        nodata: what marks a pixel without data, see missing_pixels; such pixels are filled with the mean of the others,
            and their labels ignored. None: NaN and infinity are an error, and other values are data.
        sizes: int [items, 2], (H, W) of each image as stored, for samplers that group images by shape; None where the
            set does not know them without reading the images.
        blocks: int64 [files + 1], where items that lie in one file (a shard) begin, and the end, for samplers that read
            file by file; None where each item is a file of its own.
        things: for each class whether its objects are apart from one another, of panoptic data sets; None for others.
        shown: the labels that the masks can hold; None for all K classes. The pre-flight check looks for these alone.
        notes: warnings about the files for the pre-flight report (masks without an image ...).
        facts: further lines for the pre-flight report.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[Color, ...] = ()
    folder: str = ""
    ids: Sequence[str]
    ignore: int = IGNORE
    exif: bool = False
    nodata: NoData = None
    scale: ScaleRange = None
    bands: tuple[int, ...] | None = None
    is_marked: bool = False
    sizes: np.ndarray | None = None
    blocks: np.ndarray | None = None
    things: tuple[bool, ...] | None = None
    shown: Sequence[int] | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def read_by(self, reading: Reading) -> None:
        """Takes how images are read; a data set whose images come from read_image calls it once.

        Args:
            reading: of check_reading.
        """
        self.exif, self.nodata, self.scale, self.bands = reading
        self.is_marked = True

    def read_like(self, dataset: "Dataset") -> None:
        """Takes how images are read from the data set that reads them for this one."""
        self.exif, self.nodata, self.scale, self.bands = dataset.reading
        self.is_marked = dataset.is_marked

    @property
    def reading(self) -> Reading:
        """How images are read."""
        return Reading(self.exif, self.nodata, self.scale, self.bands)

    def filled(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads an image and fills its pixels without data, see without_missing."""
        return without_missing(self.image(index), self.nodata, self.path(index), is_marked=self.is_marked)

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> str:
        """Returns the image's file, for messages."""
        return self.ids[index]

    def content(self, index: int) -> bytes | None:
        """Returns the bytes of the image's file where `path` names none of this disk, as in a shard; None elsewhere."""
        return None

    def mask_path(self, index: int) -> str:
        """Returns the label's file, for messages."""
        return self.path(index)

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 or float32 [H,W,C], RGB where C is 3."""
        raise NotImplementedError(f"{type(self).__name__} gives no image()")

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 or int16 [H,W] of class indices 0..K-1 and the ignore value.

        Sets of overlapping classes return a mask of each class, uint8 [H,W,K] of 0, 1 and the ignore value.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no mask()")

    def has_mask(self, index: int) -> bool:
        """Whether the image is labelled; test splits without public labels have no masks."""
        return True

    def count_masks(self) -> int:
        """Returns how many images are labelled."""
        return sum(self.has_mask(index) for index in range(len(self)))

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Is told items that will be read soon; sets whose files lie elsewhere fetch them in the background."""

    def check_size(self, index: int, mask_size: tuple[int, ...], size: tuple[int, int]) -> None:
        """Checks that the labels have the size of their image.

        Args:
            index: the item.
            mask_size: (H, W) of the labels.
            size: (H, W) of the image.

        Raises:
            DataError: where the two differ.
        """
        if tuple(mask_size) != tuple(size):
            turned = ""
            if tuple(mask_size) == tuple(size)[::-1]:
                turned = "; turned by 90 degrees? EXIF orientation is not applied: see exif=True"
                turned = "; turned by 90 degrees? exif=True turns images by EXIF" if self.exif else turned
            raise DataError(
                f"{self.mask_path(index)}: mask of {mask_size[1]}x{mask_size[0]} pixels for an image of "
                f"{size[1]}x{size[0]} ({self.path(index)}); export the masks at the images' size{turned}"
            )

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads one item.

        Args:
            index: the item.
            rng: for sets that choose something at random; this method does not use it.

        Returns:
            A sample with image, mask where the image is labelled, and meta (id, path, size = (H, W) as read).

        Raises:
            DataError: where a file cannot be used, the mask's size is not the image's, or pixels are NaN or infinite
                and `nodata` is None.
        """
        image, is_missing = self.filled(index)
        height, width = image.shape[:2]
        sample = Sample(image=image, meta=Meta(id=self.ids[index], path=self.path(index), size=(height, width)))
        if self.has_mask(index):
            mask = self.mask(index)
            self.check_size(index, mask.shape, (height, width))
            sample["mask"] = mask if is_missing is None else np.where(is_missing, mask.dtype.type(self.ignore), mask)
        return sample
