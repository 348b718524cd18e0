"""Tables of run-length codes, the sets that read them, and the depths of salt: what they hold, and what is refused."""

import re

import cv2
import numpy as np
import pytest

from segkit.data.files.rle_table import Code, TableLayout
from segkit.data.files.run_lengths import RELATIVE
from segkit.data.preflight import check_dataset
from segkit.data.semantic.clouds import Clouds
from segkit.data.semantic.pneumothorax import Pneumothorax
from segkit.data.semantic.run_length_set import deal
from segkit.data.semantic.salt import Salt
from segkit.data.statistics import class_statistics
from segkit.files import DataError
from segkit.registry import ConfigError
from tests.competitions import made

KINDS = TableLayout(("Image_Label", "EncodedPixels"), by_class=True)
ONE = TableLayout(("ImageId", "EncodedPixels"), run_lengths=RELATIVE, empty="-1", several=True)


def table(tmp_path, text: str):
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


def test_tables_there_and_back(tmp_path):
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[1, 1:3, 2] = 1
    rows = KINDS.rows("a_1.jpg", masks, ("Fish", "Sugar"))
    assert rows == [("a_1.jpg_Fish", ""), ("a_1.jpg_Sugar", "10 2")]
    text = KINDS.text(rows)
    assert text == "Image_Label,EncodedPixels\na_1.jpg_Fish,\na_1.jpg_Sugar,10 2\n"
    content = KINDS.read(table(tmp_path, text), ("Fish", "Sugar"))
    assert content.codes == {"a_1.jpg": {"Fish": [Code("", 2)], "Sugar": [Code("10 2", 3)]}}
    np.testing.assert_array_equal(KINDS.decode(content.codes["a_1.jpg"]["Sugar"], (4, 4), "t"), masks[1])
    assert ONE.rows("a", masks[:1], ("x",)) == [("a", "-1")] and ONE.rows("a", masks[1:], ("x",)) == [("a", "9 2")]
    # a blank in the head, quoted cells, a column more, blank lines
    file = table(tmp_path, 'n,ImageId, EncodedPixels\n1,a,"9 2"\n\n2,a,0 1\n3,b,-1\n')
    content = ONE.read(file, ("x",))
    assert content.codes == {"a": {"x": [Code("9 2", 2), Code("0 1", 4)]}, "b": {"x": [Code("", 5)]}}
    assert ONE.decode(content.codes["a"]["x"], (4, 4), "t").sum() == 3


@pytest.mark.parametrize(
    ("layout", "text", "match"),
    [
        (KINDS, "Image,EncodedPixels\n", "line 1: there is no column 'Image_Label'"),
        (KINDS, "Image_Label,EncodedPixels\na_Fsh,\n", "line 2: 'a_Fsh' names the class 'Fsh', which is unknown"),
        (KINDS, "Image_Label,EncodedPixels\na_Fish,\n", "line 2: 'a' has no row for the class 'Sugar'"),
        (
            KINDS,
            "Image_Label,EncodedPixels\na_Fish,1 1\na_Fish,2 1\n",
            "lines 2 and 3: 'a_Fish' stands twice with diff",
        ),
        (KINDS, "Image_Label,EncodedPixels\n_Fish,\n", "line 2: '_Fish' names no image"),
        (KINDS, "Image_Label,EncodedPixels\na_Fish\n", "line 2: 1 cells where the head has 2"),
        (KINDS, 'Image_Label,EncodedPixels\n"a_Fish,1 1\n', "line 2: no valid CSV"),
        (KINDS, "", "line 1: there is no column"),
        (ONE, "ImageId,EncodedPixels\na,1 1\na,1 1\n", "lines 2 and 3: 'a' stands twice with one code"),
        (ONE, "ImageId,EncodedPixels\na,-1\na,1 1\n", "lines 2 and 3: 'a' is empty in one row and not in the other"),
        (ONE, "ImageId,EncodedPixels\na,-1\na,-1\n", "lines 2 and 3: 'a' stands twice with one code"),
    ],
)
def test_tables_that_are_refused(tmp_path, layout, text, match):
    classes = ("Fish", "Sugar") if layout is KINDS else ("x",)
    with pytest.raises(DataError, match=rf"t\.csv, {match}"):
        layout.read(table(tmp_path, text), classes)


def test_a_long_code_is_read(tmp_path):
    import csv

    before = csv.field_size_limit()
    long = "1 1 " * 50_000
    content = ONE.read(table(tmp_path, f"ImageId,EncodedPixels\na,{long}\n"), ("x",))
    assert content.codes["a"]["x"][0].text == long.strip() and csv.field_size_limit() == before


def test_clouds(tmp_path):
    masks = made.clouds(tmp_path)
    dataset = Clouds(str(tmp_path), "all")
    assert list(dataset.ids) == sorted(masks)
    for index, name in enumerate(dataset.ids):
        sample = dataset.sample(index, np.random.default_rng(0))
        assert sample["image"].shape == (40, 60, 3) and sample["meta"]["size"] == (40, 60)
        np.testing.assert_array_equal(sample["mask"], masks[name].transpose(1, 2, 0))
        np.testing.assert_array_equal(dataset.mask(index), sample["mask"])
    # every fourth pixel as OpenCV's exact nearest neighbor takes it, the image untouched
    scored = Clouds(str(tmp_path), "all", scored_size=(10, 15)).sample(3, np.random.default_rng(0))
    assert scored["image"].shape == (40, 60, 3) and scored["meta"]["size"] == (10, 15)
    small = cv2.resize(masks["003a.jpg"].transpose(1, 2, 0), (15, 10), interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(scored["mask"], small)
    assert len(Clouds(str(tmp_path), "test")) == 3 and not Clouds(str(tmp_path), "test").has_mask(0)


def test_folds_share_no_image_and_have_each_kind(tmp_path):
    made.siim(tmp_path, count=20)
    parts = [Pneumothorax(str(tmp_path), "val", fold=fold, folds=5) for fold in range(5)]
    assert sorted(name for part in parts for name in part.ids) == sorted(Pneumothorax(str(tmp_path), "all").ids)
    for fold, part in enumerate(parts):  # 5 of 20 have a region
        assert len(part) == 4 and part.facts == ("images that hold each class: pneumothorax 1 of 4",)
        train = Pneumothorax(str(tmp_path), "train", fold=fold, folds=5)
        assert not set(train.ids) & set(part.ids) and len(train) == 16
    content = Pneumothorax.layout.read(tmp_path / "train-rle.csv", ("pneumothorax",))
    assert deal(content, 5) == deal(content, 5)


def test_pneumothorax_as_png(tmp_path):
    masks = made.siim(tmp_path)
    (tmp_path / "dicom-images-train/extra.png").write_bytes((next(tmp_path.rglob("1.2.1.png"))).read_bytes())
    dataset = Pneumothorax(str(tmp_path), "all")
    assert dataset.notes[0].startswith("1 images have no row in") and "extra" in dataset.notes[0]
    for index, name in enumerate(dataset.ids):
        np.testing.assert_array_equal(dataset.mask(index)[:, :, 0], masks[name])
    # two rows are one mask
    assert "lines 2, 3 (1.2.0)" in dataset.mask_path(list(dataset.ids).index("1.2.0"))


def test_one_name_in_two_folders_is_refused(tmp_path):
    made.siim(tmp_path)
    (tmp_path / "dicom-images-train/more").mkdir()
    (tmp_path / "dicom-images-train/more/1.2.1.png").write_bytes((next(tmp_path.rglob("1.2.1.png"))).read_bytes())
    with pytest.raises(DataError, match=r"1\.2\.1\.png and .*1\.2\.1\.png: one name twice"):
        Pneumothorax(str(tmp_path))


def test_salt_and_its_depths(tmp_path):
    masks = made.salt(tmp_path)
    dataset = Salt(str(tmp_path), "all")
    for index, name in enumerate(dataset.ids):
        sample = dataset.sample(index, np.random.default_rng(0))
        np.testing.assert_array_equal(sample["mask"][:, :, 0], masks[name])
        grey = cv2.imread(str(tmp_path / f"train/images/{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert sample["image"].dtype == np.float32
        np.testing.assert_array_equal(sample["image"][:, :, :2], grey[:, :, None].repeat(2, 2))
        depth = np.rint(sample["image"][:, :, 2] * 1000 / 255)
        np.testing.assert_array_equal(depth, np.full((101, 101), 100 + 150 * index))
    assert Salt(str(tmp_path), "test").image(1)[0, 0, 2] == pytest.approx(501 * 0.255)
    assert Salt(str(tmp_path), "all", depth=False).image(0).dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,depth\n", "line 1: the head must be id,z"),
        ("id,z\n0000s,deep\n", "line 2: '0000s,deep' is no id and depth"),
        ("id,z\n0000s,nan\n", "line 2: depth nan must lie from 0 to 1000"),
        ("id,z\n0000s,5\n0000s,6\n", "line 3: '0000s' stands twice"),
        ("id,z\n0000s,5\n", "has no depth of '0001s' \\(5 images lack theirs\\)"),
    ],
)
def test_depths_that_are_refused(tmp_path, text, match):
    made.salt(tmp_path)
    (tmp_path / "depths.csv").write_text(text)
    with pytest.raises(DataError, match=rf"depths\.csv.*{match}"):
        Salt(str(tmp_path), "all")


def test_sets_that_are_refused(tmp_path):
    made.clouds(tmp_path)
    file = tmp_path / "train.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, *(f"zzz.jpg_{cls}," for cls in made.CLOUDS)]))
    folder = re.escape(str(tmp_path / "train_images"))
    with pytest.raises(DataError, match=rf"train\.csv, line 26: there is no image 'zzz\.jpg' in {folder}; copy"):
        Clouds(str(tmp_path))
    file.write_text("\n".join([*lines[:1], "000a.jpg_Fish,2395 9", *lines[2:]]))
    broken = Clouds(str(tmp_path), "all")
    with pytest.raises(DataError, match=r"train\.csv, line 2: run 1 \('2395 9'\) ends with pixel 2403, beyond"):
        broken.mask(0)
    report = check_dataset(broken, 4)
    assert [line for line in report.errors if "line 2: run 1" in line] and not report.is_ok
    file.unlink()
    with pytest.raises(DataError, match=r"train\.csv"):
        Clouds(str(tmp_path))
    with pytest.raises(DataError, match=r"expected train\.csv, train_images/NAME\.jpg"):
        Clouds(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"Clouds\.split = 'valid': must be one of train, val, all, test"):
        Clouds(str(tmp_path), "valid")
    with pytest.raises(ConfigError, match=r"Clouds\.fold = 5: must be from 0 to 4 of 5 folds"):
        Clouds(str(tmp_path), fold=5)


def test_the_report_and_the_statistics_of_overlapping_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    masks = made.clouds(tmp_path)
    dataset = Clouds(str(tmp_path), "all")
    report = check_dataset(dataset, 4)
    assert report.is_ok and report.warnings == ["classes in none of the 6 masks read: Sugar"]
    both = sum(int((of_class.sum(0) > 1).sum()) for of_class in masks.values())
    text = "\n".join(report.lines)
    assert f"4 classes that may overlap, {100 * both / (6 * 2400):.2g} % of the pixels are of several" in text
    assert "Fish 16 % in 6 images" in text and "Gravel 0.44 % in 1 images" in text
    (tmp_path / "train.csv").write_text(
        "Image_Label,EncodedPixels\n" + "".join(f"000a.jpg_{c},\n" for c in made.CLOUDS)
    )
    report = check_dataset(Clouds(str(tmp_path), "all"), 4)
    assert report.is_ok and any("none of 1 masks read has a pixel" in text for text in report.warnings)
    statistics = class_statistics(dataset)
    assert statistics.pixels.tolist() == [6 * 16 * 24, 3 * 24 * 30, 64, 0] and statistics.images.tolist() == [
        6,
        3,
        1,
        0,
    ]
    assert [present.tolist() for present in statistics.present[:2]] == [[0], [0, 1]]
