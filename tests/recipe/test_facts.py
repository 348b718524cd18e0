"""What a recipe is chosen from, measured on masks and objects whose numbers are counted by hand."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from segkit.data.dataset import Dataset
from segkit.data.instances.labelled import LabelledInstances
from segkit.data.interactive.labelled import LabelledClicks
from segkit.data.semantic.labelled import Labelled
from segkit.files import DataError
from segkit.recipe.facts import DataFacts, RegionSides, measure, names_sides, spread


@dataclass
class Stored(Dataset):
    """Images and masks in memory."""

    images: list
    masks: list

    classes = ("ground", "tree", "car")

    def __post_init__(self):
        self.ids = [str(number) for number in range(len(self.masks))]

    def image(self, index):
        return self.images[index]

    def mask(self, index):
        return self.masks[index]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def field() -> np.ndarray:
    """40x60: ground with a tree of 10x10, one of 6x6 that touches it by a corner, and two cars of 4x4; 100 ignored."""
    mask = np.zeros((40, 60), np.uint8)
    mask[0:10, 0:10] = 1
    mask[10:16, 10:16] = 1
    mask[30:34, 0:4] = mask[30:34, 10:14] = 2
    mask[35, 50:52] = 2  # a slip of the brush
    mask[20:30, 40:50] = 255
    return mask


def test_regions_of_a_mask():
    height, width, rows = RegionSides(255)(field())
    sides = dict(map(tuple, rows))
    assert (height, width) == (40, 60)
    assert sides[1] == pytest.approx(136**0.5, abs=0.01)  # one tree, since corners connect
    assert sides[2] == 4.0  # two pixels are no car
    assert sides[0] == pytest.approx((2400 - 136 - 34 - 100) ** 0.5, abs=0.01)


def test_regions_of_overlapping_classes():
    masks = np.zeros((8, 8, 2), np.uint8)
    masks[:4, :, 0] = 1
    masks[:, :, 1] = 1
    assert RegionSides(255)(masks) == [8, 8, [[0, 5.66], [1, 8.0]]]


def test_facts_of_a_semantic_set():
    color = np.zeros((40, 60, 3), np.uint8)
    color[..., 1] = 9
    train = Stored([color, color[:20]], [field(), np.zeros((20, 60), np.uint8)])
    facts = measure("semantic", {"train": train, "val": Stored([color], [field()])})
    assert facts.images == {"train": 2, "val": 1}
    assert facts.sizes == ((40, 60), (20, 60)) and facts.typical_size == (30, 60)
    total = 2300 + 1200
    assert facts.pixel_share == pytest.approx(((2130 + 1200) / total, 136 / total, 34 / total))
    assert facts.image_share == (1.0, 0.5, 0.5)
    assert facts.class_sides[1:] == (11.66, 4.0) and facts.smallest_side == 4.0
    assert (facts.channels, facts.is_grey, facts.reading) == (3, False, ())


def test_what_is_left_of_the_background_is_no_object():
    facts = DataFacts("semantic", {"train": 1}, ((9, 9),), ("background", "cell"), class_sides=(3.0, 12.0))
    assert facts.smallest_side == 12.0
    assert (
        DataFacts("semantic", {"train": 1}, ((9, 9),), ("cell", "nucleus"), class_sides=(3.0, 0.0)).smallest_side == 3.0
    )
    assert (
        DataFacts("clicks", {"train": 1}, ((9, 9),), ("background", "object"), class_sides=(8.0,)).smallest_side == 8.0
    )


def test_grey_images_and_other_channels():
    grey = np.full((20, 60, 3), 7, np.uint8)
    facts = measure("semantic", {"train": Stored([grey], [np.zeros((20, 60), np.uint8)])})
    assert facts.is_grey
    five = np.random.default_rng(0).random((20, 60, 5), np.float32)
    facts = measure("semantic", {"train": Stored([five], [np.zeros((20, 60), np.uint8)])})
    assert (facts.channels, facts.is_grey) == (5, False)


def test_a_label_beyond_the_classes_is_named():
    with pytest.raises(DataError, match="label 7, and classes are"):
        measure("semantic", {"train": Stored([field()[..., None]], [np.full((4, 4), 7, np.uint8)])})


def test_large_sets_are_measured_by_evenly_spread_images(monkeypatch):
    monkeypatch.setattr("segkit.recipe.facts.MOST_MASKS", 3)
    masks = [np.full((10, 10 + number), number % 2, np.uint8) for number in range(9)]
    images = [np.zeros((*mask.shape, 3), np.uint8) for mask in masks]
    facts = measure("semantic", {"train": Stored(images, masks)})
    assert facts.sizes == ((10, 10), (10, 14), (10, 18)) and facts.images == {"train": 9}
    assert facts.image_share == (1.0, 0.0, 0.0)


def test_spread():
    assert spread(3, 5) == [0, 1, 2]
    assert spread(101, 5) == [0, 25, 50, 75, 100]


def trees(folder, *, has_outlines: bool):
    """Two images of 12 bits in 16 with squares of 30 and 10 pixels."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, side in enumerate((30, 10), 1):
        pixels = np.linspace(0, 4000, 64 * 48).reshape(48, 64).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        corners = [[5, 5, 5 + side, 5, 5 + side, 5 + side, 5, 5 + side]] if has_outlines else []
        box, area = [5, 5, side, side], side * side
        rows.append(
            dict(id=number, image_id=number, category_id=1, bbox=box, area=area, iscrowd=0, segmentation=corners)
        )
    images = [dict(id=number, file_name=f"{number}.png", height=48, width=64) for number in (1, 2)]
    content = dict(images=images, annotations=rows, categories=[dict(id=1, name="tree")])
    (folder / "labels.json").write_text(json.dumps(content))
    return str(folder)


def test_facts_of_objects_of_boxes_and_of_clicks(tmp_path):
    outlined = trees(tmp_path / "outlined", has_outlines=True)
    objects = measure("instances", {"train": LabelledInstances(outlined, boxes_only=False, scale=(0, 4095))})
    assert objects.sizes == ((48, 64),) * 2 and objects.has_masks and objects.classes == ("tree",)
    assert objects.class_sides == (20.0,)  # of 30 and 10
    boxed = trees(tmp_path / "boxed", has_outlines=False)
    assert not measure("instances", {"train": LabelledInstances(boxed, scale=(0, 4095))}).has_masks
    clicks = measure("clicks", {"train": LabelledClicks(outlined, scale=(0, 4095))})
    assert clicks.class_sides == (20.0,) and clicks.sizes == ((48, 64),) * 2


def test_what_the_files_need_is_found(tmp_path):
    facts = measure("semantic", {"train": Labelled(trees(tmp_path / "outlined", has_outlines=True))})
    assert [(item.key, item.value) for item in facts.reading] == [("scale", (0, 4095))]
    assert facts.is_grey and facts.classes == ("background", "tree")


@pytest.mark.parametrize(
    ("name", "says"), [("left lung", True), ("lung_right", True), ("LeftHand", True), ("cleft", False), ("road", False)]
)
def test_names_of_sides(name, says):
    assert bool(names_sides([name])) == says
