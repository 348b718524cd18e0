"""Pascal VOC 2012, Everingham et al., IJCV 2015, and SBD, Hariharan et al., ICCV 2011.

http://host.robots.ox.ac.uk/pascal/VOC/voc2012 and http://home.bharathh.info/pubs/codes/SBD
"""

from pathlib import Path

import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.labels import LabelTable
from segkit.data.files.listing import same_text
from segkit.data.files.name_list import read_names
from segkit.data.files.pairs import FilePairs, choose_split, some
from segkit.files import DataError, shortened
from segkit.readers.arrays import read_mat
from segkit.registry import DATASETS
from segkit.types import default_palette

LAYOUT = "VOC expects JPEGImages, SegmentationClass and ImageSets/Segmentation/*.txt below root (VOCdevkit/VOC2012)"
SPLITS = ("train", "val", "trainval", "test", "train_aug")
AUGMENTED_LISTS = ("train_aug.txt", "trainaug.txt", "trainaug_id.txt")
CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@DATASETS.register
class VOC(FilePairs):
    """Photographs with 20 object classes and background; 1,464 train, 1,449 val and 2,913 trainval images.

    255 is ignored. The split "train_aug" is train and SBD without val, 10,582 images. Its names come from
    ImageSets/Segmentation/train_aug.txt (or trainaug.txt) where there is one, else they are all of SegmentationClassAug
    except val. Its masks are SegmentationClassAug/NAME.png; without that folder, SegmentationClass and then
    cls/NAME.mat of SBD.

    Args:
        root: the folder VOCdevkit/VOC2012; None for the default.
        split: "train", "val", "trainval", "test" (without public labels) or "train_aug".
        sbd: the folder benchmark_RELEASE/dataset of the official SBD download, for "train_aug".

    Raises:
        DataError: where files are missing.
    """

    folder = "VOCdevkit/VOC2012"
    classes = CLASSES
    palette = default_palette(21)

    def __init__(self, root: str | None = None, split: str = "train", *, sbd: str | None = None):
        choose_split(split, SPLITS, "VOC")
        self.root, self.split, self.sbd = resolve_root(root, self.folder), split, sbd
        self.label_table = LabelTable(self.classes, source="VOC")
        sbd_folder = None if sbd is None else Path(sbd).expanduser()
        is_augmented = split == "train_aug"
        names = augmented_names(self.root, sbd_folder) if is_augmented else split_list(self.root, split)
        masks = mask_files(self.root, sbd_folder if is_augmented else None, is_augmented=is_augmented)
        pairs: dict[str, str | None] = dict.fromkeys(names)
        if split != "test":
            pairs = {name: masks.get(name) for name in names}
            missing = [name for name, path in pairs.items() if path is None]
            if missing:
                raise DataError(
                    f"{self.root}: {len(missing)} of {len(names)} masks are missing: {some(missing)}; {LAYOUT}"
                )
        image_folder = self.root / "JPEGImages"
        images = stems(image_folder, ".jpg")
        missing = [name for name in names if name not in images]
        if missing:
            raise DataError(f"{image_folder}: {len(missing)} images are missing: {some(missing)}; {LAYOUT}")
        self.keep(names, [images[name] for name in names], [pairs[name] for name in names], self.root)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices and IGNORE."""
        path = self._masks[index]
        if path is not None and path.endswith(".mat"):
            return self.label_table.apply(read_sbd(path), path)
        return super().mask(index)


def stems(folder: Path, suffix: str) -> dict[str, str]:
    """Lists the files of one folder.

    Args:
        folder: it may be missing.
        suffix: of the files to list.

    Returns:
        {name without suffix, as `same_text` writes it: path}, sorted; {} where the folder is missing.
    """
    if not folder.is_dir():
        return {}
    paths = [path for path in sorted(folder.iterdir()) if path.name.endswith(suffix)]
    return {same_text(path.name.removesuffix(suffix)): str(path) for path in paths}


def split_list(root: Path, split: str) -> list[str]:
    """Returns the image names of a split.

    Args:
        root: VOCdevkit/VOC2012.
        split: name of the list in ImageSets/Segmentation. Its lines are names, or paths such as
            /JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png.

    Raises:
        DataError: where the list is missing or empty.
    """
    return read_names(root / "ImageSets" / "Segmentation" / f"{split}.txt", LAYOUT)


def augmented_names(root: Path, sbd: Path | None) -> list[str]:
    """Returns the image names of train_aug: from a list, or train and everything SBD labels, without val.

    Args:
        root: VOCdevkit/VOC2012.
        sbd: benchmark_RELEASE/dataset of SBD, None without it.

    Raises:
        DataError: where there is neither a list nor masks of SBD.
    """
    for name in AUGMENTED_LISTS:
        if (root / "ImageSets" / "Segmentation" / name).is_file():
            return split_list(root, name.removesuffix(".txt"))
    labelled = stems(root / "SegmentationClassAug", ".png") or ({} if sbd is None else stems(sbd / "cls", ".mat"))
    if not labelled:
        raise DataError(
            f"{root}: train_aug needs SegmentationClassAug/*.png and best ImageSets/Segmentation/train_aug.txt, or the "
            "official SBD download: sbd='.../benchmark_RELEASE/dataset', which holds cls/*.mat"
        )
    val = set(split_list(root, "val"))
    return [name for name in sorted({*labelled, *split_list(root, "train")}) if name not in val]


def mask_files(root: Path, sbd: Path | None, *, is_augmented: bool) -> dict[str, str]:
    """Finds the masks of all images.

    Args:
        root: VOCdevkit/VOC2012.
        sbd: benchmark_RELEASE/dataset of SBD, None without it.
        is_augmented: whether SegmentationClassAug counts.

    Returns:
        {image name: path of its mask}. VOC's own masks take precedence over SBD's, whose outlines are coarser;
        SegmentationClassAug over both.
    """
    masks = {} if sbd is None else stems(sbd / "cls", ".mat")
    masks |= stems(root / "SegmentationClass", ".png")
    return masks | stems(root / "SegmentationClassAug", ".png") if is_augmented else masks


def read_sbd(path: str) -> np.ndarray:
    """Reads a class mask of SBD.

    Args:
        path: cls/NAME.mat.

    Returns:
        uint8 [H,W], background 0 and classes 1..20; nothing is ignored at outlines.

    Raises:
        DataError: where the file holds something else.
    """
    try:
        truth = read_mat(path, "GTcls")
        return np.asarray(truth[0, 0]["Segmentation"], np.uint8)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no SBD label file ({shortened(error, 200)}); unpack the download again") from error
