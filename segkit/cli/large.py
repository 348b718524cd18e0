"""What `segkit predict` does with images that do not fit into memory: windows in, a GeoTIFF and polygons out."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.files import MAX_PIXELS, DataError, limit
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.models.bases import Network
    from segkit.runners.base import Runner
    from segkit.runners.input_images import Inputs
    from segkit.runners.large import LargePredictor


def add_large(arguments: argparse.ArgumentParser) -> None:
    """Adds the options of large and geographic images."""
    group = arguments.add_argument_group("large and geographic images")
    group.add_argument(
        "--large",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="predict in windows, never holding an image as a whole, and write labels/NAME.tif, a GeoTIFF; default: "
        "where an image does not fit into memory",
    )
    group.add_argument("--pieces", action="store_true", help="each PATH is a folder with the pieces of one image")
    group.add_argument(
        "--geojson", action="store_true", help="also write polygons/NAME.geojson; every image is then read in windows"
    )
    group.add_argument(
        "--wgs84", action="store_true", help="of --geojson: in longitude and latitude, as RFC 7946 has it"
    )
    group.add_argument(
        "--min-area", type=int, default=0, metavar="PIXELS", help="of --geojson: least area of a region; default all"
    )
    group.add_argument(
        "--simplify",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help="of --geojson: how far outlines may move; default 0",
    )


def check_large(args: argparse.Namespace) -> None:
    """Raises a ConfigError where the options contradict each other."""
    if args.large is False and (args.geojson or args.pieces):
        option = "--geojson" if args.geojson else "--pieces"
        raise ConfigError(f"--no-large {option}: polygons and pieces need windows; leave one of the two out")
    if args.probabilities and (args.large or args.geojson or args.pieces):
        raise ConfigError("--probabilities: are written of whole images alone; leave it out, or --large and its like")
    for option in ("wgs84", "min_area", "simplify"):
        if getattr(args, option) and not args.geojson:
            raise ConfigError(f"--{option.replace('_', '-')}: polygons are written with --geojson; add it")
    if args.min_area < 0 or not 0 <= args.simplify < math.inf:
        raise ConfigError(f"--min-area {args.min_area} --simplify {args.simplify}: must be numbers of 0 or more")


def find_pieces(paths: list[str]) -> dict[Path, Path]:
    """Returns the folders of pieces, each with the name of its results.

    Raises:
        ConfigError: a path is no folder.
    """
    for path in paths:
        if not Path(path).is_dir():
            raise ConfigError(f"--pieces {path}: is no folder; name the folder that holds the pieces of one image")
    return {Path(path): Path(Path(path).resolve().name) for path in paths}


class LargeFiles:
    """Predicts those images of the command that are read in windows.

    Args:
        args: of the command.
        model: in evaluation mode.
        runner: of its config.
        inputs: how images are read.
        say: takes lines for the user.
    """

    def __init__(
        self, args: argparse.Namespace, model: "Network", runner: "Runner", inputs: "Inputs", say: Callable[[str], None]
    ):
        self.args, self.model, self.runner, self.inputs, self.say = args, model, runner, inputs, say
        self.out = Path(args.out)
        self.results: list[str] = []
        self._predictor: LargePredictor | None = None
        self._per_pixel: float | None = None
        if args.large or args.geojson or args.pieces:
            self.predictor  # noqa: B018  what cannot be done is said before the first image

    @property
    def predictor(self) -> "LargePredictor":
        """Made when the first image needs it."""
        from segkit.runners.large import LargePredictor

        if self._predictor is None:
            self._predictor = LargePredictor(self.model, self.runner, self.inputs)
        return self._predictor

    def takes(self, file: Path) -> bool:
        """Whether an image is read in windows: by an option, or because the whole would not fit."""
        if self.args.large is not None or self.args.geojson or self.args.pieces:
            return self.args.large is not False
        from segkit.data.large.open_large import size_of
        from segkit.runners.memory import LEAST_PIXELS, MARGIN, bytes_needed, bytes_per_pixel, free_bytes

        size = size_of(file)
        if size is None or not self.runner.predicts_maps or self.args.probabilities:
            return False
        pixels = size[0] * size[1]
        shown = f"{file}: {size[1]}x{size[0]} pixels"
        if pixels > limit(MAX_PIXELS):
            try:
                self.predictor  # noqa: B018
            except ConfigError as error:
                raise DataError(f"{shown} are more than {MAX_PIXELS[0]} = {limit(MAX_PIXELS):,}; {error}") from error
            self._tell(f"{shown} are more than {MAX_PIXELS[0]} = {limit(MAX_PIXELS):,}")
            return True
        settings = self.runner.inference
        free = free_bytes(self.model.mean.device)
        if pixels < LEAST_PIXELS or free is None:
            return False
        if self._per_pixel is None:
            self._per_pixel = bytes_per_pixel(self.model)
        need = MARGIN * bytes_needed(self.model, pixels, settings, self._per_pixel)
        if need <= free:
            return False
        try:
            self.predictor  # noqa: B018
        except ConfigError:
            return False  # what the config asks for needs the whole image; the runner warns of it
        device = self.model.mean.device
        self._tell(f"{shown} at once need up to {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {device}")
        return True

    def _tell(self, reason: str) -> None:
        (height, width), (down, across) = self.predictor.crop, self.predictor.stride
        self.say(
            f"{reason}: predicting windows of {width}x{height} pixels, {across} and {down} apart (inference.crop and "
            ".stride set others, --no-large predicts the whole)"
        )

    def add(self, file: Path, name: str) -> None:
        """Predicts an image and writes its results.

        Args:
            file: the image, or the folder of its pieces.
            name: of the files to write, without suffix.

        Raises:
            DataError: it cannot be read in windows, or the results cannot be written.
        """
        from tqdm import tqdm

        from segkit.data.large.open_large import open_large

        palette = tuple((int(r), int(g), int(b)) for r, g, b in self.model.palette or ())
        with open_large(file) as reader:
            for note in reader.notes:
                self.say(f"{file}: {note}")
            with tqdm(unit="window", disable=None, leave=False) as bar:

                def progress(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                written = self.predictor.predict(
                    reader,
                    self.out / "labels" / f"{name}.tif",
                    overlay=self.out / "overlays" / f"{name}.png",
                    palette=palette,
                    progress=progress,
                )
            where = reader.place.crs or ("a place without a reference system" if reader.place.affine else "no place")
            self.results.append(f"{written.labels} ({written.windows} windows, {where})")
            if self.args.geojson:
                self._polygons(written.labels, name)

    def _polygons(self, labels: Path, name: str) -> None:
        from segkit.data.large.polygons import write_polygons

        result = write_polygons(
            labels,
            self.out / "polygons" / f"{name}.geojson",
            tuple(self.model.classes or ()),
            least_area=self.args.min_area,
            tolerance=self.args.simplify,
            to_wgs84=self.args.wgs84,
        )
        self.results.append(result)
