"""Understanding Clouds from Satellite Images (Kaggle, 2019): four overlapping kinds of clouds.

https://www.kaggle.com/c/understanding_cloud_organization
"""

from typing import ClassVar

from segkit.constraints.named import AnySize, NonNegativeInt, PositiveInt
from segkit.data.dataset import resolve_root
from segkit.data.files.rle_table import TableLayout
from segkit.data.semantic.run_length_set import RunLengthSet
from segkit.data.transforms.sizes import as_size
from segkit.registry import DATASETS
from segkit.types import Color

TREE = "expected train.csv, train_images/NAME.jpg and test_images/NAME.jpg below root"


@DATASETS.register
class Clouds(RunLengthSet):
    """Understanding clouds: images of 2100x1400, and masks of Fish, Flower, Gravel and Sugar, which overlap.

    train.csv has a row NAME.jpg_CLASS for each image and class. The competition scores at 525x350 pixels, where it also
    wants the codes of submissions.

    Args:
        root: the folder; None for the default.
        split: "train" (labelled images without those of the fold), "val" (those of the fold), "all" (both), or "test"
            (test_images, without labels).
        fold: number of the fold of "val".
        folds: how many folds the labelled images are dealt to.
        scored_size: (height, width) at which predictions are made, and to which the masks of samples are resized; None
            for the images' own size, as training needs it.

    Raises:
        DataError: a file is missing, or train.csv is wrong.
    """

    folder = "clouds"
    classes = ("Fish", "Flower", "Gravel", "Sugar")
    palette: tuple[Color, ...] = ((0, 114, 178), (213, 94, 0), (240, 228, 66), (0, 158, 115))
    layout: ClassVar[TableLayout] = TableLayout(("Image_Label", "EncodedPixels"), by_class=True)
    suffixes = (".jpg",)
    keeps_suffix = True

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        fold: NonNegativeInt = 0,
        folds: PositiveInt = 5,
        scored_size: AnySize | None = None,
    ):
        self.root, self.split, self.fold, self.folds = resolve_root(root, self.folder), split, fold, folds
        self.scored_size = None if scored_size is None else as_size(scored_size, "Clouds.scored_size")
        images, tests = self.root / "train_images", self.root / "test_images"
        self.read_split(split, self.root / "train.csv", images, tests, fold=fold, folds=folds, tree=TREE)
