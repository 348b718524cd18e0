"""The samples of all annotation tools: each is known as its own format, and damaged values end in a DataError."""

import copy
import json
import math
import re
import shutil

import pytest

from segkit.data.formats.base import LabelReader
from segkit.data.formats.known import READERS
from segkit.files import DataError
from tests.data.labelled import copied, picture

SIZE = (40, 60)
IMAGES = {
    "labelme": "images/a.png", "cvat": "images/day/a.jpg", "labelstudio": "images/a.png",
    "supervisely": "ds0/img/a.jpg", "darwin": "images/a.png",
    "polygons": "leftImg8bit/train/bonn/bonn_000000_000019_leftImg8bit.png", "nifti": None, "dicom": None,
}  # fmt: skip
ODD = (None, True, math.nan, math.inf, -1, 10**400, 1e308, "", "x", "\0", [], [[]], {}, {"a": 1})


def sample(name, folder):
    copied(name, folder)
    if IMAGES[name]:
        picture(folder / IMAGES[name], SIZE)
    return folder


def reader_of(name) -> type[LabelReader]:
    return next(reader for reader in READERS if reader.format == name)


@pytest.mark.parametrize("name", IMAGES)
def test_a_sample_is_of_one_format(tmp_path, name):
    root = sample(name, tmp_path)
    ours = {*IMAGES, "rle_csv"}
    assert [reader.format for reader in READERS if reader.format in ours and reader.sniff(root)] == [name]
    reader = reader_of(name).open(root)
    assert len(reader) and all(reader.item(index).is_labelled for index in range(len(reader)))
    assert all(reader.is_labelled(index) for index in range(len(reader)))
    files = [reader.label_file(index) for index in range(len(reader))]
    assert all(file is None or (file.is_file() and root in file.parents) for file in files)


def places(value, path=()):
    """The path of every value in a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(children)[:40]:
        yield from places(child, (*path, key))


def replaced(value, path, odd):
    if not path:
        return odd
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], odd)
    return changed


@pytest.mark.parametrize("name", ["labelme", "labelstudio", "supervisely", "darwin", "polygons", "nifti"])
def test_damaged_json_is_refused_in_a_sentence(tmp_path, name):
    root = sample(name, tmp_path)
    reader = reader_of(name)
    refused = tried = 0
    for file in sorted(root.rglob("*.json")):
        whole = json.loads(file.read_text())
        for number, path in enumerate(places(whole)):
            for odd in (ODD[number % len(ODD)], *((ODD[(5 * number + 3) % len(ODD)],) if number % 2 else ())):
                file.write_text(json.dumps(replaced(whole, path, odd)))
                tried += 1
                try:
                    opened = reader.open(root)
                    for index in range(len(opened)):
                        opened.item(index)
                except DataError as error:
                    refused += 1
                    assert 20 < len(str(error)) < 2500 and str(tmp_path) in str(error)
                reader.sniff(root)
        file.write_text(json.dumps(whole))
    assert tried > 10 and refused > tried / 8


def test_damaged_xml_is_refused_in_a_sentence(tmp_path):
    root = sample("cvat", tmp_path)
    file = next(root.glob("*.xml"))
    whole = file.read_text()
    refused = 0
    values = list(re.finditer(r'="([^"]*)"', whole))
    odd_values = ("", "nan", "-1", "1e999", "x;y", "1,", "9" * 30)
    for number, match in enumerate(values):
        for odd in (odd_values[number % 7], odd_values[(number + 3) % 7]):
            file.write_text(whole[: match.start(1)] + odd + whole[match.end(1) :])
            try:
                opened = reader_of("cvat").open(root)
                for index in range(len(opened)):
                    opened.item(index)
            except DataError as error:
                refused += 1
                assert str(tmp_path) in str(error)
    assert len(values) > 50 and refused > 20


@pytest.mark.parametrize(("name", "steps"), [("nifti", 30), ("dicom", 8)])
def test_damaged_bytes_are_refused_in_a_sentence(tmp_path, name, steps):
    root = sample(name, tmp_path / "a")
    binary = sorted(path for path in root.rglob("*") if path.suffix in (".gz", ".dcm"))
    for file in binary:
        whole = file.read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // steps)):
            for damaged in (whole[:position], whole[:position] + b"\xff" + whole[position + 1 :]):
                file.write_bytes(damaged)
                try:
                    opened = reader_of(name).open(root)
                    for index in range(len(opened)):
                        opened.item(index)
                        opened.pixels(index, 2)
                except DataError as error:
                    assert str(tmp_path) in str(error)
        file.write_bytes(whole)
    shutil.rmtree(root)
