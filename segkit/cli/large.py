"""What `segkit predict` does with images that do not fit into memory: windows in, a GeoTIFF and polygons out."""

import argparse
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.files import MAX_PIXELS, DataError, limit
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.models.bases import Network
    from segkit.runners.base import Runner
    from segkit.runners.input_images import Inputs
    from segkit.runners.large_band import WindowModel
    from segkit.runtime.model import GraphModel
    from segkit.types import Color


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
        make: makes what predicts them; raises a ConfigError where that cannot be.
        why: tells of an image why the whole is too large; None where it is not.
        palette: K colors, () for the default ones.
        say: takes lines for the user.
        has_bar: whether a bar of the windows is shown, which needs tqdm.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        make: Callable[[], "WindowModel"],
        why: Callable[[Path], str | None],
        palette: "tuple[Color, ...]",
        say: Callable[[str], None],
        *,
        has_bar: bool,
    ):
        self.args, self.palette, self.say, self.has_bar = args, palette, say, has_bar
        self.out = Path(args.out)
        self.results: list[str] = []
        self._make, self._why = make, why
        self._predictor: WindowModel | None = None
        if args.large or args.geojson or args.pieces:
            self.predictor  # noqa: B018  what cannot be done is said before the first image

    @property
    def predictor(self) -> "WindowModel":
        """Made when the first image needs it."""
        if self._predictor is None:
            self._predictor = self._make()
        return self._predictor

    def takes(self, file: Path) -> bool:
        """Whether an image is read in windows: by an option, or because the whole would not fit."""
        if self.args.large is not None or self.args.geojson or self.args.pieces:
            return self.args.large is not False
        reason = self._why(file)
        if reason is not None:
            self._tell(reason)
        return reason is not None

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
        from segkit.data.large.open_large import open_large
        from segkit.runners.large_band import write_labels

        with open_large(file) as reader, self._progress() as progress:
            for note in reader.notes:
                self.say(f"{file}: {note}")
            written = write_labels(
                self.predictor,
                reader,
                self.out / "labels" / f"{name}.tif",
                overlay=self.out / "overlays" / f"{name}.png",
                palette=self.palette,
                progress=progress,
            )
            where = reader.place.crs or ("a place without a reference system" if reader.place.affine else "no place")
            self.results.append(f"{written.labels} ({written.windows} windows, {where})")
            if self.args.geojson:
                self._polygons(written.labels, name)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[int, int], None] | None]:
        """A bar of the windows."""
        if not self.has_bar:
            yield None
            return
        from tqdm import tqdm

        with tqdm(unit="window", disable=None, leave=False) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield progress

    def _polygons(self, labels: Path, name: str) -> None:
        from segkit.data.large.polygons import write_polygons

        result = write_polygons(
            labels,
            self.out / "polygons" / f"{name}.geojson",
            self.predictor.classes,
            least_area=self.args.min_area,
            tolerance=self.args.simplify,
            to_wgs84=self.args.wgs84,
        )
        self.results.append(result)


def large_of_checkpoint(
    args: argparse.Namespace, model: "Network", runner: "Runner", inputs: "Inputs", say: Callable[[str], None]
) -> LargeFiles:
    """Returns what predicts large images by a checkpoint.

    Args:
        args: of the command.
        model: in evaluation mode.
        runner: of its config.
        inputs: how images are read.
        say: takes lines for the user.
    """

    def make() -> "WindowModel":
        from segkit.runners.large import LargePredictor

        return LargePredictor(model, runner, inputs)

    @functools.cache
    def per_pixel() -> float:
        from segkit.runners.memory import bytes_per_pixel

        return bytes_per_pixel(model)

    def why(file: Path) -> str | None:
        from segkit.data.large.open_large import size_of
        from segkit.runners.memory import LEAST_PIXELS, MARGIN, bytes_needed, free_bytes

        size = size_of(file)
        if size is None or not runner.predicts_maps or args.probabilities:
            return None
        pixels = size[0] * size[1]
        if (reason := _beyond_limit(file, size, lambda: large.predictor)) is not None:
            return reason
        free = free_bytes(model.mean.device)
        if pixels < LEAST_PIXELS or free is None:
            return None
        need = MARGIN * bytes_needed(model, pixels, runner.inference, per_pixel())
        if need <= free:
            return None
        try:
            large.predictor  # noqa: B018
        except ConfigError:
            return None  # what the config asks for needs the whole image; the runner warns of it
        shown = f"{file}: {size[1]}x{size[0]} pixels"
        return (
            f"{shown} at once need up to {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {model.mean.device}"
        )

    palette = tuple((int(r), int(g), int(b)) for r, g, b in model.palette or ())
    large = LargeFiles(args, make, why, palette, say, has_bar=True)
    return large


def _beyond_limit(file: Path, size: tuple[int, int], need: Callable[[], object]) -> str | None:
    """Why an image of more pixels than any may have as a whole is predicted in windows; a DataError where it cannot."""
    if size[0] * size[1] <= limit(MAX_PIXELS):
        return None
    text = f"{file}: {size[1]}x{size[0]} pixels are more than {MAX_PIXELS[0]} = {limit(MAX_PIXELS):,}"
    try:
        need()
    except ConfigError as error:
        raise DataError(f"{text}; {error}") from error
    return text


def large_of_graph(
    args: argparse.Namespace, model: "GraphModel", inputs: "Inputs", say: Callable[[str], None]
) -> LargeFiles:
    """Returns what predicts large images by an exported graph, without torch; arguments as of large_of_checkpoint."""

    def make() -> "WindowModel":
        from segkit.runtime.large import LargeGraph

        return LargeGraph(model, inputs)

    def why(file: Path) -> str | None:
        from segkit.data.large.open_large import size_of

        size = size_of(file)
        return None if size is None else _beyond_limit(file, size, lambda: large.predictor)

    large = LargeFiles(args, make, why, model.palette, say, has_bar=False)
    return large
