"""Transforms that switch during a training, and those that mix two images: exact places, by hand."""

import numpy as np
import pytest

from segkit.data.dataset import Dataset
from segkit.data.loader import TrainItems, train_loader
from segkit.data.samplers import InOrder
from segkit.data.transforms.base import Transform
from segkit.data.transforms.crops import CenterCrop
from segkit.data.transforms.geometry import valid_size
from segkit.data.transforms.grid_distortion import GridDistortion, _shifts
from segkit.data.transforms.mixing import CutMix
from segkit.data.transforms.rand_augment import COLORS, MOVES, RandAugment, equalize, motion
from segkit.data.transforms.schedule import HardThenSoft, of_step, switches
from segkit.data.transforms.sizes import Flip
from segkit.registry import ConfigError
from segkit.types import Meta, Sample
from tests.data.samples import rng


class Gray(Dataset):
    """Image and mask i hold the value i everywhere."""

    ids = [str(i) for i in range(6)]
    classes = tuple("abcdef")

    def image(self, index: int) -> np.ndarray:
        return np.full((8, 8, 3), index, np.uint8)

    def mask(self, index: int) -> np.ndarray:
        return np.full((8, 8), index, np.uint8)


class Add(Transform):
    """Adds a number to the image."""

    def __init__(self, number: int):
        self.number = number

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return Sample({**sample, "image": sample["image"] + np.uint8(self.number + rng.integers(2))})


def items(*, steps: int, images: int, **own) -> TrainItems:
    made = TrainItems(Gray(), [HardThenSoft([Add(100)], [Add(10)], **own), Add(0)], seed=3)
    made.images_per_step, made.total_steps = images, steps
    return made


@pytest.mark.parametrize(("own", "expected"), [(dict(share=0.7), 7), (dict(share=0.99), 9), (dict(step=4), 4)])
def test_the_switch_falls_between_two_steps(own, expected):
    """10 steps of 3 images: .7 of them are 7 steps, positions 0 to 20."""
    made = items(steps=10, images=3, **own)
    is_hard = [made[position, 0]["image"].max() >= 100 for position in range(30)]
    assert is_hard == [True] * 3 * expected + [False] * (30 - 3 * expected)
    assert switches(made.transforms, 10) == [expected]


def test_the_stream_is_equal_for_any_workers_and_where_it_is_taken_up():
    def stream(workers: int, start: int = 0, count: int = 6) -> list[np.ndarray]:
        loader = train_loader(
            items(steps=6, images=2, share=0.5), InOrder(Gray()), batch_size=2, workers=workers, start=start
        )
        return [next(loader)["image"].numpy() for _ in range(count)]

    alone, shared, resumed = stream(0), stream(2), stream(1, start=2, count=4)
    for one, other in ((alone, shared), (alone[2:], resumed)):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert [batch.min() >= 100 for batch in alone] == [True, True, True, False, False, False]


def test_two_processes_switch_at_the_same_step():
    """4 images per step, 2 of each process: the switch after 2 steps comes at position 8, batch 2 of each."""
    made = items(steps=4, images=4, share=0.5)
    for rank in (0, 1):
        loader = train_loader(made, InOrder(Gray()), batch_size=2, workers=0, rank=rank, world_size=2)
        assert [int(next(loader)["image"].min()) >= 100 for _ in range(4)] == [True, True, False, False]


def test_stages_may_follow_one_another():
    inner = HardThenSoft([Add(2)], [Add(3)], share=0.5)
    transforms = [HardThenSoft([Add(1)], [inner], share=0.25), Add(4)]
    numbers = [[t.number for t in of_step(transforms, step, 8)] for step in range(8)]
    assert numbers == [[1, 4]] * 2 + [[2, 4]] * 2 + [[3, 4]] * 4
    assert switches(transforms, 8) == [2, 4]
    with pytest.raises(ConfigError, match=r"HardThenSoft: must stand in train\.transforms itself"):
        inner(Gray().sample(0, rng(0)), rng(0))


def sample(value: int, size: tuple[int, int] = (10, 20), **more) -> Sample:
    image, mask = np.full((*size, 3), value, np.uint8), np.full(size, value, np.uint8)
    return Sample(image=image, mask=mask, meta=Meta(id="", path="", size=size), **more)


class Fixed:
    """Draws what a test says."""

    def __init__(self, beta: float, *centre: int):
        self.share, self.centre = beta, list(centre)

    def beta(self, a: float, b: float) -> float:
        return self.share

    def integers(self, high: int) -> int:
        return self.centre.pop(0)


def test_cutmix_by_hand():
    """lambda .75: sides of half the image, 5 x 10, so 2 x 2 + 2 x 5 pixels around the centre (8, 4), cut at borders."""
    own, other = sample(1), sample(2)
    mixed = CutMix().mix(own, other, Fixed(0.75, 8, 4))
    expected = np.ones((10, 20), np.uint8)
    expected[6:10, 0:9] = 2
    assert np.array_equal(mixed["mask"], expected) and np.array_equal(mixed["image"][..., 1], expected)
    assert own["mask"].max() == 1 and other["mask"].min() == 2
    small = CutMix().mix(own, sample(2, (7, 3)), Fixed(0.75, 8, 4))
    expected[:], expected[6:7, 0:3] = 1, 2
    assert np.array_equal(small["mask"], expected)
    assert CutMix().mix(own, other, Fixed(1.0, 8, 4))["mask"].max() == 1


def test_cutmix_takes_partners_that_earlier_transforms_have_changed():
    made = TrainItems(Gray(), [CenterCrop(size=4), CutMix(p=1.0), Flip(p=0.0)], seed=1)
    found = [made[position, 0] for position in range(40)]
    assert all(one["mask"].shape == (4, 4) and np.array_equal(one["mask"], one["image"][..., 0]) for one in found)
    assert {value for one in found for value in np.unique(one["mask"])} == set(range(6))
    assert all(np.array_equal(one["mask"], made[i, 0]["mask"]) for i, one in enumerate(found))


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (sample(1, boxes=np.zeros((0, 4), np.float32)), sample(2), "the sample holds boxes; remove it"),
        (sample(1), Sample({k: v for k, v in sample(2).items() if k != "mask"}), "only one of two images has a mask"),
        (sample(1), Sample({**sample(2), "image": np.zeros((10, 20, 4), np.uint8)}), "other numbers of channels"),
    ],
)
def test_cutmix_refuses_what_cannot_be_mixed(own, other, message):
    with pytest.raises(ConfigError, match=message):
        CutMix().mix(own, other, rng(0))


def test_cutmix_alone_has_no_partner():
    with pytest.raises(ConfigError, match=r"CutMix: must stand in train\.transforms itself"):
        CutMix()(sample(1), rng(0))


def test_grid_distortion_by_hand():
    """Cells of 1 and 3 parts: the first half of 8 pixels is shown on 2 of them, the second on 6."""
    shown = _shifts(8, np.array([1.0, 3.0])) + np.arange(8) + 0.5
    assert shown == pytest.approx([1, 3, 4 + 1 / 3, 5, 5 + 2 / 3, 6 + 1 / 3, 7, 7.5])
    same = GridDistortion(limit=0.0, p=1.0)(sample(5), rng(0))
    assert np.array_equal(same["image"], sample(5)["image"])
    ramp = sample(0)
    ramp["image"] = np.repeat(np.arange(20, dtype=np.uint8)[None, :, None] * 10, 10, 0).repeat(3, 2)
    ramp["mask"] = ramp["image"][..., 0].copy()
    moved = GridDistortion(p=1.0)(ramp, rng(2))
    assert np.abs(moved["image"][..., 0].astype(int) - moved["mask"]).max() <= 5 + 1  # nearest against bilinear
    assert not np.array_equal(moved["mask"], ramp["mask"])


def test_colors_of_rand_augment_by_hand():
    image = np.array([[[0, 0, 0], [60, 60, 60], [120, 60, 0], [240, 240, 240]]], np.uint8)
    found = {name: function(image, 0.5)[0] for name, function in COLORS.items()}
    assert found["brightness"].tolist() == [[0] * 3, [87] * 3, [174, 87, 0], [255] * 3]
    assert found["color"].tolist() == [[0] * 3, [60] * 3, [147, 60, 0], [240] * 3]
    assert found["solarize"].tolist() == [[0] * 3, [60] * 3, [120, 60, 0], [15] * 3]
    assert found["posterize"].tolist() == [[0] * 3, [60] * 3, [120, 60, 0], [240] * 3]
    assert COLORS["posterize"](image, -1.0)[0].tolist() == [[0] * 3, [48] * 3, [112, 48, 0], [240] * 3]
    assert found["auto_contrast"].tolist() == [[0] * 3, [64] * 3, [128, 64, 0], [255] * 3]
    # mean 90, 30 below it becomes 43.5 below it
    assert found["contrast"][1].tolist() == [46] * 3 or found["contrast"][1].tolist() == [47] * 3
    # levels 0, 60, 120, 240 of 4, 4, 1 and 3 values: (8 - 4) / 8, (9 - 4) / 8 and all
    assert equalize(image, 0.0)[0].tolist() == [[0] * 3, [128] * 3, [159, 128, 0], [255] * 3]
    for name, function in COLORS.items():
        same = function(image, 0.0)
        assert same.dtype == np.uint8 and (name in ("auto_contrast", "equalize") or np.array_equal(same, image)), name


def test_motions_of_rand_augment_by_hand():
    """Of 10 x 20 pixels, at full strength: where the centre and a corner go."""
    points = np.array([[10.0, 5.0, 1.0], [20.0, 10.0, 1.0]]).T
    found = {name: (motion(name, (10, 20), 1.0) @ points).T.tolist() for name in MOVES}
    assert found["shear_x"] == [[10, 5], [21.5, 10]]
    assert found["shear_y"] == [[10, 5], [20, 13]]
    assert found["shift_x"] == [[19, 5], [29, 10]]
    assert found["shift_y"] == [[10, 9.5], [20, 14.5]]
    assert found["rotate"][0] == pytest.approx([10, 5])
    assert found["rotate"][1] == pytest.approx([10 + 10 * 3**0.5 / 2 + 2.5, 5 - 5 + 5 * 3**0.5 / 2])


def test_rand_augment_moves_labels_with_their_pixels():
    own = sample(0, (40, 40))
    own["image"][12:28, 12:28], own["mask"][12:28, 12:28] = 200, 1
    for name in (*MOVES, *COLORS):
        changed = RandAugment(fill=0, ignore=0).apply(name, own, 0.4)
        if name in MOVES:
            assert ((changed["image"][..., 0] > 100) != (changed["mask"] == 1)).mean() < 0.02, name
            assert not np.array_equal(changed["mask"], own["mask"])
        else:
            assert changed["mask"] is own["mask"] and valid_size(changed) == (40, 40)
    drawn = [RandAugment()(own, rng(seed))["image"].tobytes() for seed in range(30)]
    assert len(set(drawn)) > 15 and drawn[3] == RandAugment()(own, rng(3))["image"].tobytes()
