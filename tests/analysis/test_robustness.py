"""Corruptions of images, the data set that holds them, and the table that is made of their scores."""

import json
import math

import numpy as np
import pytest

from segkit.analysis.robustness import DEFAULT, SIXTEEN, cell, table_of
from segkit.cli.robustness import against, csv_of, names_of, strengths_of, text_of
from segkit.data.dataset import Dataset
from segkit.data.splits.corrupted import DEGREES, NAMES, NEED_RGB, RECOLORING, Corrupted, corrupted
from segkit.data.transforms.corruptions import along_line, blurred, enlarged
from segkit.data.transforms.weather import plasma
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.runners.robustness import Cells, Suite, read_cells, section_of
from segkit.types import Meta, Sample
from segkit.viz.page.analysis import robustness_section

SIZE = (48, 64)


def photograph() -> np.ndarray:
    """Colors that change across the image, with a bright square."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    image = np.stack([80 + x, 60 + 2 * y, 120 + 0 * x], 2)
    image[10:20, 10:24] = (230, 200, 190)
    return image.astype(np.uint8)


class Photographs(Dataset):
    """Three images that are alike, with the square as class 1."""

    classes, palette, ids = ("ground", "square"), ((0, 0, 0), (255, 0, 0)), ("a", "b", "c")

    def path(self, index: int) -> str:
        return f"{self.ids[index]}.png"

    def image(self, index: int) -> np.ndarray:
        return photograph()

    def mask(self, index: int) -> np.ndarray:
        return (photograph()[..., 0] == 230).astype(np.uint8)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        meta = Meta(id=self.ids[index], path=self.path(index), size=SIZE)
        return Sample(image=self.image(index), mask=self.mask(index), meta=meta)


def test_the_list_is_that_of_segmentation():
    assert (
        len(SIXTEEN) == 16
        and set(SIXTEEN) < set(RECOLORING)
        and set(DEFAULT) - set(SIXTEEN)
        == {
            "scale_down",
            "scale_up",
            "rotation",
        }
    )


@pytest.mark.parametrize("name", RECOLORING)
def test_every_corruption_keeps_shape_and_type_and_grows(name):
    image = photograph()
    before = image.copy()
    drops = []
    for strength in range(1, 6):
        found = corrupted(image, name, strength, np.random.default_rng(0))
        assert found.shape == image.shape and found.dtype == np.uint8
        again = corrupted(image, name, strength, np.random.default_rng(0))
        assert np.array_equal(found, again)
        drops.append(float(np.abs(found.astype(int) - image).mean()))
    assert np.array_equal(image, before)
    # pale and strong colors are two directions; the others move away from the image step by step
    assert min(drops) > 0.4 and (drops[4] > drops[0] or name in ("saturate", "spatter", "glass_blur")), drops
    floats = corrupted(image.astype(np.float32), name, 3, np.random.default_rng(0))
    # what is not rounded differs by half a level, JPEG by what it decodes
    assert floats.dtype == np.float32
    assert np.abs(floats - corrupted(image, name, 3, np.random.default_rng(0))).max() <= 0.51
    grey = image[..., :1]
    if name in NEED_RGB:
        with pytest.raises(ConfigError, match="needs RGB images"):
            corrupted(grey, name, 3, np.random.default_rng(0))
    else:
        assert corrupted(grey, name, 3, np.random.default_rng(0)).shape == grey.shape


def test_strengths_of_noise_are_those_published():
    grey, rng = np.full((200, 200, 3), 0.5, np.float32), np.random.default_rng(0)
    for strength, deviation in enumerate((0.08, 0.12, 0.18, 0.26, 0.38), 1):
        assert RECOLORING["gaussian_noise"](grey, strength, rng).std() == pytest.approx(deviation, rel=0.02)
    for strength, photons in enumerate((60, 25, 12, 5, 3), 1):
        noisy = RECOLORING["shot_noise"](grey, strength, rng)
        assert noisy.var() == pytest.approx(0.5 / photons, rel=0.05) and noisy.mean() == pytest.approx(0.5, rel=0.02)
    for strength, share in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1):
        assert (RECOLORING["impulse_noise"](grey, strength, rng) != 0.5).mean() == pytest.approx(share, rel=0.1)
    for strength, share in enumerate((0.15, 0.2, 0.35, 0.45, 0.6), 1):
        assert RECOLORING["speckle_noise"](grey, strength, rng).std() == pytest.approx(share / 2, rel=0.02)
    image = photograph().astype(np.float32) / 255
    for strength, factor in enumerate((0.4, 0.3, 0.2, 0.1, 0.05), 1):
        found = RECOLORING["contrast"](image, strength, rng)
        np.testing.assert_allclose(found.std((0, 1)), factor * image.std((0, 1)), rtol=1e-3)
        np.testing.assert_allclose(found.mean((0, 1)), image.mean((0, 1)), rtol=1e-4)
        bright = np.clip(RECOLORING["brightness"](image, strength, rng), 0, 1)
        np.testing.assert_allclose(bright.max(2), np.minimum(image.max(2) + 0.1 * strength, 1), atol=1e-5)


def test_blurs_by_hand():
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1
    sharp = along_line(point, 4, 3.0, 0.0)[..., 0]
    weights = np.exp(-0.5 * (np.arange(9) / 3.0) ** 2)
    # along a horizontal line, to one side
    row = sharp[20] / weights[0] * weights.sum()
    places = np.flatnonzero(row > 1e-6)
    assert len(places) == 9 and 20 in (places[0], places[-1]) and sharp.sum() == pytest.approx(1, abs=1e-5)
    assert np.sort(row[places]) == pytest.approx(np.sort(weights), rel=1e-4)
    upright = along_line(point, 4, 3.0, 90.0)[..., 0]
    assert (upright[:, 20] > 1e-6).sum() == 9 and upright.sum() == pytest.approx(1, abs=1e-5)
    spread = blurred(point, 2.0)[..., 0]
    assert (spread * (np.arange(41) - 20) ** 2).sum() == pytest.approx(4, rel=0.02)  # the variance of one axis
    ramp = np.tile(np.arange(40, dtype=np.float32), (40, 1))[..., None]
    assert enlarged(ramp, 1.0).tolist() == ramp.tolist()
    assert enlarged(ramp, 2.0)[..., 0].min() == 10 and enlarged(ramp, 2.0)[..., 0].max() == 29


def test_fractal_noise():
    found = plasma((30, 50), 2.0, np.random.default_rng(0))
    again = plasma((30, 50), 2.0, np.random.default_rng(0))
    assert found.shape == (30, 50) and np.array_equal(found, again) and 0 <= found.min() < found.max() <= 1
    steps = [np.abs(np.diff(plasma((64, 64), decay, np.random.default_rng(0)), axis=1)).mean() for decay in (1.4, 3.0)]
    assert steps[0] > 2 * steps[1]  # the larger the decay, the smoother


def test_a_data_set_of_corrupted_images():
    whole = Photographs()
    found = Corrupted(whole, "gaussian_noise", 2)
    again = Corrupted(whole, "gaussian_noise", 2)
    rng = np.random.default_rng(5)
    first, second = (found.sample(index, rng)["image"] for index in (0, 1))
    assert len(found) == 3 and found.ids == ["a", "b", "c"] and found.classes == whole.classes
    # the same image in every run and by every way, other noise for another image or seed
    assert np.array_equal(first, again.image(0)) and np.array_equal(first, found.image(0))
    assert (first != second).any() and (Corrupted(whole, "gaussian_noise", 2, seed=1).image(0) != first).any()
    assert np.array_equal(found.sample(0, rng)["mask"], whole.mask(0)) and found.content(0) is None


@pytest.mark.parametrize("strength", [1, 5])
def test_labels_turn_with_their_images(strength):
    found = Corrupted(Photographs(), "rotation", strength)
    turned = [found.sample(index, np.random.default_rng(0)) for index in range(3)]
    for index, sample in enumerate(turned):
        square = sample["mask"] == 1
        assert (sample["image"][..., 0][square] > 150).mean() > 0.9
        assert (sample["mask"] == 255).any() and np.array_equal(found.mask(index), sample["mask"])
        y, x = np.argwhere(square).mean(0) + 0.5
        # the centre of the square, by hand: turned about the image's centre to either side
        angle, dy, dx = math.radians(DEGREES[strength - 1]), 15 - 24, 17 - 32
        places = [
            (24 + dy * math.cos(a) - dx * math.sin(a), 32 + dx * math.cos(a) + dy * math.sin(a))
            for a in (angle, -angle)
        ]
        assert min(math.hypot(y - v, x - u) for v, u in places) < 0.6


def test_sections_of_cells():
    section = dict(dataset=dict(type="CamVid"), transforms=[dict(type="Pad", size=8)], batch_size=2)
    found = section_of(section, "fog", 4, Suite(("fog",), (4,), images=5, seed=3), 20)
    assert found["dataset"]["type"] == "Corrupted" and found["dataset"]["strength"] == 4
    assert found["dataset"]["dataset"] == dict(type="Part", dataset=dict(type="CamVid"), share=0.25, seed=3)
    scaled = section_of(section, "scale_down", 5, Suite(("scale_down",), (5,)), 20)
    assert scaled["dataset"] == dict(type="CamVid") and scaled["transforms"][:1] == section["transforms"]
    assert scaled["transforms"][1] == dict(type="RandomScale", low=0.25, high=0.25, area=True)
    assert section_of(section, "clean", 0, Suite((), ()), 20) == section


def test_the_table_by_hand():
    cells = {"clean": 80.0, "fog/1": 70.0, "fog/3": 50.0, "jpeg/1": 78.0, "jpeg/3": 74.0, "rotation/1": 60.0}
    other = {"clean": 90.0, "fog/1": 80.0, "fog/3": 60.0, "jpeg/1": 85.0, "jpeg/3": 85.0}
    found = table_of(
        cells, ("fog", "jpeg", "rotation"), (1, 3), score="mIoU", reference=other, reference_name="b.json", images=7
    )
    fog, jpeg, turned = found.rows
    assert (fog.mean, fog.drop, fog.family) == (60, 20, "weather") and (jpeg.mean, jpeg.drop) == (76, 4)
    # errors: fog 30 + 50 of 20 + 40; beyond the clean ones 10 + 30 of 10 + 30
    assert fog.error == pytest.approx(100 * 80 / 60) and fog.relative == pytest.approx(100)
    assert jpeg.error == pytest.approx(100 * 48 / 30) and jpeg.relative == pytest.approx(100 * 8 / 10)
    assert math.isnan(turned.scores[1]) and turned.mean == 60 and math.isnan(turned.error)
    means = found.means()
    assert means["mPC"] == 68 and means["rPC"] == 85  # the rotation is not among the sixteen
    assert means["mCE"] == pytest.approx((400 / 3 + 160) / 2) and means["relative_mCE"] == pytest.approx(90)
    clicks = table_of({"clean": 2.0, "fog/1": 5.0}, ("fog",), (1,), score="NoC@90", lower_is_better=True)
    assert clicks.rows[0].drop == 3 and "mCE" not in clicks.means()
    page = robustness_section(found)
    assert "b.json" in page and "mPC" in page and "<svg" in page
    assert csv_of(found).splitlines()[:3] == [
        "family,corruption,1,3,mean,drop,error %,relative %",
        ",clean,,,80.00,0.00",
        "weather,fog,70.00,50.00,60.00,20.00,133.33,100.00",
    ]
    assert "mPC 68.00  rPC 85.00" in text_of(found) and json.dumps(found.as_json())
    again = against(
        table_of(cells, ("fog",), (1, 3), score="mIoU"), cells, {k: {"mIoU": v} for k, v in other.items()}, "b"
    )
    assert again.rows[0] == fog
    with pytest.raises(ConfigError, match="no mIoU of the clean images"):
        against(found, cells, {"fog/1": {"mIoU": 3.0}}, "b.json")


def test_cells_are_kept_and_only_of_one_run(tmp_path):
    path = tmp_path / "robustness.json"
    cells = Cells(path, {"weights": 7, "images": 0})
    cells.add("clean", {"mIoU": 50.0})
    cells.add(cell("fog", 3), {"mIoU": 40.0})
    again = Cells(path, {"weights": 7, "images": 0})
    assert again.of("mIoU") == {"clean": 50.0, "fog/3": 40.0} and math.isnan(again.of("AP")["clean"])
    with pytest.raises(ConfigError, match=r"another run \(weights: 7 there, 8 here\)"):
        Cells(path, {"weights": 8, "images": 0})
    assert Cells(path, {"weights": 8, "images": 0}, overwrite=True).scores == {}
    content = json.loads(path.read_text())
    content["cells"]["fog/3"]["mIoU"] = "40"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="'fog/3' are no numbers"):
        read_cells(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="holds no scores of corrupted images"):
        read_cells(path)


def test_words_of_the_command():
    assert names_of(["weather", "fog", "jpeg"]) == ("fog", "frost", "snow", "spatter", "jpeg")
    assert strengths_of([5, 1, 5]) == (1, 5) and set(names_of(["noise", "blur", "digital", "further"])) < set(NAMES)
    with pytest.raises(ConfigError, match="did you mean 'frost'"):
        names_of(["frosty"])
    with pytest.raises(ConfigError, match="--strengths 0 2: must be of 1 to 5"):
        strengths_of([0, 2])
