"""Files, arrays and pictures as images of the kind that a model was trained on; torch is not needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from segkit.data.dataset import Reading, check_reading, missing_pixels, without_missing
from segkit.data.files.orientation import ORIENTATION, turned
from segkit.data.files.value_range import with_bands, with_scale
from segkit.files import DataError
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ImageInput: TypeAlias = Union[str, Path, np.ndarray, "PILImage"]
"""An image file, an array, or a picture of Pillow."""


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

    def read(self, path: str | Path, content: bytes | None = None) -> np.ndarray:
        """Reads an image file as the model's data sets read theirs, pixels without data filled.

        Args:
            path: the file.
            content: its bytes, where it is no file on this machine; the path is then its name in messages.

        Returns:
            uint8 or float32 [H,W,channels].

        Raises:
            DataError: the file cannot be read, has other channels, or holds NaN or infinity without `nodata`.
        """
        from segkit.data.files.images import read_image  # arrays need no OpenCV

        image = read_image(path, self.channels, **self.reading._asdict(), content=content)
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


def chosen_inputs(channels: int, takes_255: bool, options: Mapping[str, Any], given: Mapping[str, Any]) -> Inputs:
    """Returns how images are read, from what a model states and what the user gives in its place.

    Args:
        channels, takes_255: see Inputs.
        options: fields of Reading, as the model states them; None or absent for the defaults.
        given: those that win; None for the model's, and "none" for no scale and all bands.

    Raises:
        ConfigError: one of them has a wrong value, or other bands are chosen than the model has channels.
    """
    options = {**options, **{name: value for name, value in given.items() if value is not None}}
    plain = {name: None if str(value).lower() == "none" else value for name, value in options.items()}
    try:
        reading = check_reading(bool(plain.get("exif")), *(plain.get(name) for name in ("nodata", "scale", "bands")))
    except DataError as error:
        raise ConfigError(str(error)) from error
    if reading.bands is not None and len(reading.bands) != channels:
        raise ConfigError(
            f"bands = {list(reading.bands)}: the model takes images of {channels} channels; name {channels} bands"
        )
    return Inputs(channels, takes_255, reading)
