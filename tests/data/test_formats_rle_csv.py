"""Kaggle's tables of run lengths, in the forms that the competitions document."""

import numpy as np
import pytest

from segkit.data.files.run_lengths import KAGGLE, RELATIVE
from segkit.data.formats.rle_csv import RleCsvReader
from segkit.files import DataError
from tests.data.labelled import drawn, picture

SIZE = (4, 5)


def written(tmp_path, text, *images, name="train.csv"):
    for image in images or ("a.png",):
        picture(tmp_path / "train" / image, SIZE)
    (tmp_path / name).write_text(text)
    return tmp_path


def test_a_row_for_each_object(tmp_path):
    """Codes run down the columns from 1: 3 2 are rows 2 and 3 of the first column."""
    text = "\ufeffImageId,EncodedPixels\na.png,3 2 8 1\na.png,20 1\nb.png,\nc.png, -1\n"
    root = written(tmp_path, text, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "sample_submission.csv").write_text("ImageId,EncodedPixels\na.png,1 1\n")
    assert RleCsvReader.sniff(root) == "a table with the columns ImageId and EncodedPixels"
    reader = RleCsvReader.open(root)
    assert reader.classes == ("object",) and len(reader) == 4 and reader.notes == ("1 images have no labels",)
    first, second = reader.item(0).shapes
    assert np.argwhere(drawn(first, SIZE)).tolist() == [[2, 0], [3, 0], [3, 1]]
    assert np.argwhere(drawn(second, SIZE)).tolist() == [[3, 4]]
    assert [(reader.item(i).is_labelled, len(reader.item(i).shapes)) for i in (1, 2, 3)] == [
        (True, 0), (True, 0), (False, 0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "ImageId,EncodedPixels,ClassId\na.png,1 2,10\na.png,5 1,2\nb.png,,\n",
        "ImageId_ClassId,EncodedPixels\na.png_10,1 2\na.png_2,5 1\nb.png_2,\n",
        'id,label,rle,note\na,10,1 2,"x, y"\na,2,5 1,\nb,2,,\n',
    ],
)
def test_classes(tmp_path, text):
    reader = RleCsvReader.open(written(tmp_path, text, "a.png", "b.png"))
    assert reader.classes == ("2", "10")
    assert [(shape.label, int(drawn(shape, SIZE).sum())) for shape in reader.item(0).shapes] == [("10", 2), ("2", 1)]
    assert reader.item(1).is_labelled and not reader.item(1).shapes


def test_relative_codes_are_seen(tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[1:3, 1:4] = True
    assert RELATIVE.encode(mask) == "5 2 2 2 2 2"
    reader = RleCsvReader.open(written(tmp_path, f"ImageId,EncodedPixels\na.png,{RELATIVE.encode(mask)}\n"))
    assert (drawn(reader.item(0).shapes[0], SIZE) == mask).all()
    assert "counted from the end of the run before" in reader.notes[0]
    reader = RleCsvReader.open(written(tmp_path, f"ImageId,EncodedPixels\na.png,{KAGGLE.encode(mask)}\n"))
    assert (drawn(reader.item(0).shapes[0], SIZE) == mask).all() and not reader.notes


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 2 3", "line 2: 3 numbers, an odd count"),
        ("1 99", "ends with pixel 99, beyond the image of 5x4"),
        ("1 nan", "'nan' is no whole number"),
        ("0 1", "begins before the image"),
        ("1 99999999999999999999", "is no whole number"),
    ],
)
def test_wrong_codes_are_named(tmp_path, code, words):
    with pytest.raises(DataError, match=rf"train\.csv, line 2: .*{words.removeprefix('line 2: ')}"):
        RleCsvReader.open(written(tmp_path, f"ImageId,EncodedPixels\na.png,{code}\n")).item(0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ImageId,EncodedPixels\na.png,1 1,2\n", "line 2: 3 cells where the head has 2"),
        ("ImageId,EncodedPixels\n,1 1\n", "line 2: the column ImageId names no image"),
        ("ImageId,ClassId,EncodedPixels\na.png,,1 1\n", "line 2: the label '' is no name"),
        ("picture,code\na.png,1 1\n", "no CSV file whose head has a column of images"),
        ("ImageId,EncodedPixels\n../../secret.png,1 1\n", "no labelled image below"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, words):
    root = written(tmp_path / "set" / "inner", text)
    picture(tmp_path / "secret.png", SIZE)
    with pytest.raises(DataError, match=words):
        RleCsvReader.open(root)
