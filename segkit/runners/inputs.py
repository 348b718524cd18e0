"""What a trained model is given to predict: files, arrays and pictures as images of the kind that it was trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from segkit.config import Config
from segkit.data.dataset import (
    Bands,
    NoData,
    Reading,
    ScaleRange,
    check_reading,
    missing_pixels,
    without_missing,
)
from segkit.data.files.images import read_image
from segkit.data.files.orientation import ORIENTATION, turned
from segkit.data.files.value_range import with_bands, with_scale
from segkit.engine import setup
from segkit.files import DataError, check_plain
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.schema import check, check_foreign

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ImageInput: TypeAlias = Union[str, Path, np.ndarray, "PILImage"]
"""An image file, an array, or a picture of Pillow."""

NEEDED = ("model", "inference", "runner", "loop")
"""Sections of a config that a prediction reads whole."""

READING = Reading._fields
"""Arguments of data sets that say how their images are read."""


@dataclass(frozen=True)
class Inputs:
    """Reads and converts images for a model.

    Attributes:
        channels: of the images that the model takes.
        takes_255: whether the model's mean shows that it takes values of 0..255, not of 0..1.
        reading: how the data set that it was tested or trained on reads its files.
    """

    channels: int
    takes_255: bool
    reading: Reading

    def read(self, path: str | Path) -> np.ndarray:
        """Reads an image file as the model's data sets read theirs, pixels without data filled.

        Args:
            path: the file.

        Returns:
            uint8 or float32 [H,W,channels].

        Raises:
            DataError: the file cannot be read, has other channels, or holds NaN or infinity without `nodata`.
        """
        image = read_image(path, self.channels, **self.reading._asdict())
        return without_missing(image, self.reading.nodata, str(path), is_marked=True)[0]

    def convert(self, image: ImageInput) -> np.ndarray:
        """Makes an image of anything that can be meant as one.

        Where the model's data set has `scale` or `bands`, an array counts as the content of a file: its bands are
        chosen and its values scaled.

        Args:
            image: a file; a picture of Pillow; or an array [H,W,channels], or [H,W] for a grey image.

        Returns:
            uint8 or float32 [H,W,channels].

        Raises:
            DataError: a file cannot be read, or pixels are NaN or infinite without `nodata`.
            ValueError: an array has another shape, type or range; the message says how to convert it.
        """
        if isinstance(image, str | Path):
            return self.read(image)
        value = None
        if not isinstance(image, np.ndarray) and hasattr(image, "getexif"):
            is_turned = image.format == "TIFF"  # Pillow does it by itself
            value = int(image.getexif().get(ORIENTATION, 1)) if self.reading.exif and not is_turned else 1
            image = self._of_picture(image)
        if not isinstance(image, np.ndarray):
            hint = "; convert a tensor [C,H,W] by image.permute(1, 2, 0).numpy()" if hasattr(image, "permute") else ""
            raise ValueError(
                f"image = {type(image).__name__}: must be a numpy array [height,width,{self.channels}] in 0..255, RGB, "
                f"the path of a file, or a picture of Pillow{hint}"
            )
        array = self._checked_values(self._with_channels(image))
        array = without_missing(array, self.reading.nodata, "image", is_marked=self.reading.scale is not None)[0]
        array = array if value is None else turned(array, value)
        return np.require(array, requirements=["C", "W"])

    def _of_picture(self, picture: "PILImage") -> np.ndarray:
        """The array of a picture, with the model's channels where they are the picture's own or can be shown as RGB."""
        wide = picture.mode.startswith(("I", "F"))
        if self.channels == 3 and not wide:
            return np.asarray(picture.convert("RGB"))
        array = np.asarray(picture)
        if self.channels == 3 and array.dtype == np.uint16 and self.reading.scale is None:
            return array.astype(np.float32) / np.float32(257)  # as pictures of 16 bits are read
        return array.astype(np.uint8) * np.uint8(255) if array.dtype == bool else array

    def _with_channels(self, image: np.ndarray) -> np.ndarray:
        shape, wanted = tuple(image.shape), self.channels
        if image.ndim == 2:
            image = image[:, :, None]
        if self.reading.bands is not None and image.ndim == 3:
            image = with_bands(image, self.reading.bands, f"image = array of shape {shape}")
        if image.ndim == 3 and image.shape[2] == 1 and wanted == 3:
            image = np.repeat(image, 3, axis=2)
        if image.ndim == 3 and image.shape[2] == wanted and image.size:
            return image
        hint = ""
        if image.ndim == 3 and image.shape[0] == wanted:
            hint = ": it has its channels first; give image.transpose(1, 2, 0)"
        elif image.ndim == 3 and image.shape[2] == 4 and wanted == 3:
            hint = ": drop the fourth channel by image[:, :, :3]"
        elif image.ndim == 4:
            hint = ": give one image at a time"
        raise ValueError(f"image = array of shape {shape}: must be [height,width,{wanted}]{hint}")

    def _checked_values(self, image: np.ndarray) -> np.ndarray:
        """uint8 or float32; RGB values are checked to be of 0..255, where another range can be told from it."""
        if self.reading.scale is not None and image.dtype.kind in "uif":
            image, nodata = image.astype(np.float32), self.reading.nodata
            if nodata is not None and (is_missing := missing_pixels(image, nodata)).any():
                image[is_missing] = np.nan
            return with_scale(image, self.reading.scale, "image")
        if image.dtype == np.uint8:
            return image
        if image.dtype.kind not in "uif":
            raise ValueError(f"image = array of type {image.dtype}: must be uint8, or float32 of 0..255")
        is_rgb, is_float = self.channels == 3 and self.takes_255, image.dtype.kind == "f"
        if is_rgb and image.dtype == np.uint16:
            raise ValueError(
                "image = array of type uint16: the model takes 0..255; give image / 257 for 16 bits (a picture file of "
                "16 bits is read so), or image.astype(np.uint8) where its values are those of 8 bits"
            )
        values = image[np.isfinite(image)]
        if is_rgb and self.reading.nodata is None and values.size:
            low, high = float(values.min()), float(values.max())
            shown = f"image = {image.dtype} values of {low:g} to {high:g}: the model takes 0..255; give"
            if is_float and low >= 0 and 0 < high <= 1:
                raise ValueError(f"{shown} image * 255")
            if is_float and low < 0 and high < 20:
                raise ValueError(f"{shown} the image before its normalization, which the model does itself")
            if not is_float and (low < 0 or high > 255):
                raise ValueError(f"{shown} values of that range")
        return image.astype(np.float32)


def inputs_of(
    model: Network,
    *,
    exif: bool | None = None,
    nodata: NoData = None,
    scale: ScaleRange | str = None,
    bands: Bands | str = None,
) -> Inputs:
    """Returns how a model's images are read: its channels, and the reading of the data set in its config.

    Args:
        model: with its config, or without one.
        exif, nodata, scale, bands: in place of the config's, see Reading; None for those, and "none" for no scale and
            all bands.

    Raises:
        ConfigError: one of them has a wrong value, or other bands are chosen than the model has channels.
    """
    given = {"exif": exif, "nodata": nodata, "scale": scale, "bands": bands}
    options = reading_options(getattr(model, "config", None) or {})
    options |= {name: value for name, value in given.items() if value is not None}
    plain = {name: None if str(value).lower() == "none" else value for name, value in options.items()}
    try:
        reading = check_reading(bool(plain["exif"]), plain["nodata"], plain["scale"], plain["bands"])
    except DataError as error:
        raise ConfigError(str(error)) from error
    channels = int(model.mean.shape[1])
    if reading.bands is not None and len(reading.bands) != channels:
        raise ConfigError(
            f"bands = {list(reading.bands)}: the model takes images of {channels} channels; name {channels} bands"
        )
    return Inputs(channels=channels, takes_255=float(model.mean.max()) > 2, reading=reading)


def reading_options(cfg: dict) -> dict[str, Any]:
    """Finds the fields of Reading in the data set of the first section of test, val and train that the config has.

    Of several named test sets, and of data sets in others, the first counts that states the key.
    """
    sections = [cfg[name] for name in ("test", "val", "train") if cfg.get(name)][:1]
    return {name: _first(sections, name) for name in READING}


BESIDE_DATA = ("transforms", "sampler")
"""Keys of data sections that hold no data set, but arguments of the same names."""


def _first(value: Any, name: str) -> Any:
    """The first value of a key at any depth of dicts and lists, transforms left out, None without one."""
    if isinstance(value, dict):
        if value.get(name) is not None:
            return value[name]
        value = [inner for key, inner in value.items() if key not in BESIDE_DATA]
    for inner in value if isinstance(value, list | tuple) else ():
        found = _first(inner, name) if isinstance(inner, dict | list | tuple) else None
        if found is not None:
            return found
    return None


def sections_to_predict(cfg: Config, *, is_foreign: bool) -> Config:
    """Returns a checked config of what a prediction needs: model, inference, runner, and the transforms of `test`.

    Data sets, losses, metrics and the rest are left out, whatever classes they name; of the data set the fields of
    Reading stay, and of the training its crops, which say how large a sliding window is.

    Args:
        cfg: all sections.
        is_foreign: whether they come out of a file that is not trusted and may name registered classes alone.

    Raises:
        ConfigError: what is needed is wrong, or names code outside of segkit.
    """
    if is_foreign:
        check_plain(dict(cfg), f"{cfg.file}, 'config'", ConfigError)
    needed = Config({name: cfg[name] for name in NEEDED if name in cfg}, cfg.file, dict(cfg.origins))
    options = {name: value for name, value in reading_options(cfg).items() if value is not None}
    test = {"dataset": options, "transforms": _transforms(cfg)}
    if is_foreign:
        check_foreign({**needed, "test": test}, cfg.file)
    check(needed)
    rows = (cfg.get("train") or {}).get("transforms") or []
    crops = [{"type": row["type"], "size": row["size"]} for row in rows if _is_crop(row)]
    return Config({**needed, "test": test, "train": {"transforms": crops}}, needed.file, needed.origins)


def _transforms(cfg: dict) -> list:
    """Rows of section `test`, else `val`; of several named sets those of the first."""
    section = cfg.get("test") or cfg.get("val") or {}
    if section and not {"dataset", "transforms"} & set(section):
        section = next(iter(section.values())) or {}
    return section.get("transforms") or []


def _is_crop(row: Any) -> bool:
    return isinstance(row, dict) and "Crop" in str(row.get("type")) and "size" in row


def section_of_test(cfg: dict) -> tuple[dict, str]:
    """Returns section `test` or, without it, `val`, and its config path; of several named test sets the first."""
    at = "test" if cfg.get("test") else "val"
    section = cfg.get(at) or {}
    if section and not {"dataset", "transforms"} & set(section):
        name, section = next(iter(section.items()))
        at = f"{at}.{name}"
    return section, at


def transforms_of_test(cfg: dict, *, needs_stored: bool) -> list:
    """Builds the transforms of section_of_test.

    Args:
        cfg: the sections.
        needs_stored: whether pixels must stay where they are stored.
    """
    section, at = section_of_test(cfg)
    return setup.build_eval_transforms(section.get("transforms", []), f"{at}.transforms", needs_stored=needs_stored)
