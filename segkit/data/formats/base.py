"""What label formats share: the objects of an image in one form, a reader and a writer for each format.

H W image, n corners. Coordinates are in pixels from the upper left corner of the image: x to the right, y down, so that
the pixel in row 0 and column 0 covers 0 to 1 in both.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, TypeAlias

import numpy as np

from segkit.types import RLE

Box: TypeAlias = tuple[float, float, float, float]
"""(x0, y0, x1, y1): the left, upper, right and lower side, in pixels."""


@dataclass(frozen=True)
class Shape:
    """One labelled object of an image: by outlines, by a mask, or by a box alone.

    Args:
        label: name of its class.
        outlines: float64 [n,2] of (x, y) each: the pieces that the object consists of.
        holes: float64 [n,2] of (x, y) each: what is cut out of the pieces.
        mask: compressed run-length code of the image's size; an object has outlines or a mask, not both.
        box: as the file states it; None where it states none.
        crowd: whether it marks a group that is not taken apart, as COCO's iscrowd.
    """

    label: str
    outlines: tuple[np.ndarray, ...] = ()
    holes: tuple[np.ndarray, ...] = ()
    mask: RLE | None = None
    box: Box | None = None
    crowd: bool = False


@dataclass(frozen=True)
class LabelledImage:
    """An image and its labels.

    Args:
        path: the image's file.
        size: (H, W) that the labels refer to.
        shapes: its objects, in the order of the file; later ones lie above earlier ones where the format says so.
        label_map: of formats that label pixels instead of objects: uint8 [H,W] of class indices and IGNORE.
        is_labelled: False for an image that nobody has labelled yet; True with no shape is an image of background.
        in_order: whether the file says that later shapes lie above earlier ones.
    """

    path: Path
    size: tuple[int, int]
    shapes: tuple[Shape, ...] = ()
    label_map: np.ndarray | None = None
    is_labelled: bool = True
    in_order: bool = False


class LabelReader(ABC):
    """The labels of a folder or file in one format; an item is read when it is asked for.

    Attributes:
        format: the format's name, as `--format` and `format=` have it.
        classes: K names, in the order of the file.
        images: one file per item.
        splits: {name: items} where the data names its splits; empty where it does not.
        lost: what the files hold and this form cannot, by a few words, with its count: "keypoints", "tracks" ...
        notes: warnings: images without labels, labels without an image ...
    """

    format: ClassVar[str] = ""
    classes: tuple[str, ...] = ()
    images: Sequence[Path] = ()
    splits: Mapping[str, Sequence[int]] = {}
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    @abstractmethod
    def sniff(cls, root: Path) -> str | None:
        """Says why a folder or file is in this format; looks at names and the heads of a few files alone.

        Args:
            root: a folder or file.

        Returns:
            The evidence in a few words ("12 files *.json with 'shapes' and 'imagePath'"), None where it is not in this
            format. It never raises for what somebody else's files hold.
        """

    @classmethod
    @abstractmethod
    def open(cls, root: Path) -> "LabelReader":
        """Opens a folder or file of this format.

        Raises:
            DataError: names the file and what is wrong with it.
        """

    def is_labelled(self, index: int) -> bool:
        """Returns whether an image is labelled; a reader that knows it without reading the labels overrides this."""
        return self.item(index).is_labelled

    def label_file(self, index: int) -> Path | None:
        """Returns the file of an image's labels, for messages and to notice that it changes; None where several are."""
        return None

    @abstractmethod
    def item(self, index: int) -> LabelledImage:
        """Reads the labels of an image, not its pixels.

        Raises:
            DataError: names the file, the object and the way out.
        """

    def channels(self, index: int) -> int:
        """Returns how many channels of an item its file holds, where `pixels` reads them."""
        return 3

    def pixels(self, index: int, channels: int = 3) -> np.ndarray | None:
        """Reads the image of an item where its file holds more than that, as the slices of a volume.

        Args:
            index: the item.
            channels: how many the image shall have; one is repeated.

        Returns:
            uint8 or float32 [H,W,channels]; None where the item's path is a file for read_image.

        Raises:
            DataError: names the file and what is wrong with it.
        """
        return None


@dataclass
class Written:
    """What came of writing labels.

    Args:
        files: number of files written.
        objects: number of objects written.
        lost: what could not be written, by a few words, with its count.
    """

    files: int = 0
    objects: int = 0
    lost: Counter[str] = field(default_factory=Counter)


class LabelWriter(ABC):
    """Writes labels in one format into a folder; nothing is left half written: `close` finishes the files.

    Args:
        folder: the new folder; it is empty.
        classes: K names, in the order of their numbers.
        splits: {split: names of its images, as `add` has them}; empty where the data has none.

    Attributes:
        format: the format's name, as `--to` has it.
        image_folder: path below the folder at which the caller puts the images, "" for the folder itself.
        has_split_folders: whether the names of images begin with their split.
        is_of_pixels: whether the labels are maps of classes, whose K names include the background.
        has_maps: whether a map is written beside the objects; then class 0 of a map is the background, and class n + 1
            the n-th of the names without it.
    """

    format: ClassVar[str] = ""
    image_folder: ClassVar[str] = "images"
    has_split_folders: ClassVar[bool] = True
    is_of_pixels: ClassVar[bool] = False
    has_maps: ClassVar[bool] = False

    def __init__(
        self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[str]] = MappingProxyType({})
    ):
        self.folder, self.classes, self.splits = folder, tuple(classes), splits
        self.written = Written()

    @abstractmethod
    def add(self, image: LabelledImage, name: str) -> None:
        """Writes, or keeps for `close`, the labels of an image.

        Args:
            image: its labels.
            name: path of the image below the new folder's images, with suffix; the caller puts the image there.
        """

    @abstractmethod
    def close(self) -> Written:
        """Finishes the files and says what was lost."""
