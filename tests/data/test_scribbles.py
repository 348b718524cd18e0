"""Label maps of few labelled pixels: XML polylines, rules that make them of full maps, the data set, the command."""

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.data.prepare.scribbles import (
    Rule,
    draw_scribbles,
    few_labels,
    prepare_few_labels,
    prepare_scribbles,
    read_scribbles,
)
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.partial_labels import PartialLabels
from segkit.files import DataError
from tests.data.layouts import write_image, write_mask

XML = """<annotation><filename>a</filename>
<polygon><tag>cat</tag><point><X>2</X><Y>3</Y></point><point><X>12</X><Y>3</Y></point></polygon>
<polygon><point><x>5</x><y>10</y></point><tag>dog</tag></polygon>
</annotation>"""
CLASSES = ("sky", "cat", "dog")


def test_polylines_are_read_and_drawn(tmp_path):
    (tmp_path / "a.xml").write_text(XML)
    lines = read_scribbles(tmp_path / "a.xml", CLASSES)
    assert [(value, points.tolist()) for value, points in lines] == [(1, [[2, 3], [12, 3]]), (2, [[5, 10]])]
    labels = draw_scribbles(lines, (14, 16))
    assert labels.dtype == np.uint8 and set(np.unique(labels)) == {1, 2, 255}
    assert (labels[3, 2:13] == 1).all() and (labels[2:5, 6] == 1).all()  # three pixels wide
    assert (labels[[0, 1, 5], 6] == 255).all()
    assert labels[10, 5] == 2 and (labels[9:12, 5] == 2).all() and labels[12, 5] == 255  # a dot of three


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (XML.replace("cat", "cow"), "a scribble of class 'cow', which is none of sky, cat, dog"),
        (XML.replace("<X>2</X>", "<X>two</X>"), "a point without the numbers"),
        (XML.replace("<Y>3</Y>", "", 1), "a point without the numbers"),
        (XML.replace("<X>2</X>", "<X>1e30</X>"), "outside of any image"),
        (XML.replace("<X>2</X>", "<X>nan</X>"), "outside of any image"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "no usable XML"),
        ("<a>", "no usable XML"),
    ],
)
def test_wrong_xml_is_named(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_scribbles(tmp_path / "a.xml", CLASSES)


def full_map():
    """Three classes: one large, one in two parts, one of four pixels, and pixels without a class."""
    labels = np.zeros((64, 96), np.uint8)
    labels[5:25, 5:40], labels[40:60, 60:90] = 1, 1
    labels[30:32, 50:52] = 2
    labels[:, 94:] = 255
    return labels


@pytest.mark.parametrize("kind", ["scribbles", "points", "blocks"])
def test_all_labels_are_those_of_the_full_map(kind):
    labels = full_map()
    made = few_labels(labels, Rule(kind, count=4), np.random.default_rng(0))
    assert made.dtype == np.uint8 and made.shape == labels.shape
    used = made != 255
    assert 0 < used.sum() < labels.size / 2 and (made[used] == labels[used]).all()
    again = few_labels(labels, Rule(kind, count=4), np.random.default_rng(0))
    other = few_labels(labels, Rule(kind, count=4), np.random.default_rng(1))
    assert np.array_equal(made, again) and not np.array_equal(made, other)


def test_marks_are_as_many_as_asked_for_and_go_to_the_largest_parts_first():
    labels = full_map()
    one = few_labels(labels, Rule("points", count=1), np.random.default_rng(0))
    assert (one[5:25, 5:40] == 1).any() and not (one[40:60, 60:90] == 1).any()  # 700 pixels against 600
    assert not (one == 2).any()  # four pixels are no object to mark
    for count in (1, 2, 3):
        made = few_labels(labels, Rule("points", count=count), np.random.default_rng(0))
        both = made[:30, :50], made[30:, 50:]
        parts = [cv2.connectedComponents((area == 1).astype(np.uint8))[0] - 1 for area in both]
        assert parts == [(count + 1) // 2, count // 2]
        assert 0 < (made == 1).sum() <= 9 * count


def test_scribbles_are_lines():
    made = few_labels(full_map(), Rule("scribbles", count=1), np.random.default_rng(0))
    rows, columns = np.nonzero(made == 1)
    assert max(np.ptp(rows), np.ptp(columns)) >= 8 and len(rows) > 20


def test_blocks_cover_their_share():
    labels = np.zeros((128, 160), np.uint8)
    made = few_labels(labels, Rule("blocks", share=0.5), np.random.default_rng(0))
    assert (made == 0).sum() == 10 * 32 * 32
    assert (few_labels(labels, Rule("blocks", share=0.01), np.random.default_rng(0)) == 0).sum() == 32 * 32


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png", (64, 96))
        write_mask(tmp_path / "masks" / f"{name}.png", full_map())
    return Folder(str(tmp_path), CLASSES)


def test_files_are_made_once_and_do_not_depend_on_other_images(folder, tmp_path):
    assert prepare_few_labels(folder, tmp_path / "few", Rule()) == (2, 0)
    content = (tmp_path / "few" / "b.png").read_bytes()
    assert prepare_few_labels(folder, tmp_path / "few", Rule()) == (0, 2)
    (tmp_path / "few" / "b.png").unlink()
    assert prepare_few_labels(folder, tmp_path / "few", Rule()) == (1, 1)
    assert (tmp_path / "few" / "b.png").read_bytes() == content
    partial = PartialLabels(folder, str(tmp_path / "few"))
    assert partial.classes == CLASSES and partial.ids == folder.ids
    sample = partial.sample(0, np.random.default_rng(0))
    assert 0 < (sample["mask"] != 255).sum() < 64 * 96 / 2


def test_scribbles_of_xml_files(folder, tmp_path):
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").write_text(XML)
    with pytest.raises(DataError, match=r"1 of 2 images have no NAME.xml: b"):
        prepare_scribbles(folder, tmp_path / "xml", tmp_path / "few")
    (tmp_path / "xml" / "b.xml").write_text(XML)
    assert prepare_scribbles(folder, tmp_path / "xml", tmp_path / "few") == (2, 0)
    assert PartialLabels(folder, str(tmp_path / "few")).mask(0)[3, 5] == 1


def test_partial_labels_name_what_is_missing_or_wrong(folder, tmp_path):
    with pytest.raises(DataError, match=r"2 of 2 label maps NAME\.png are missing: a, b; make them"):
        PartialLabels(folder, str(tmp_path / "few"))
    for name in ("a", "b"):
        write_mask(tmp_path / "few" / f"{name}.png", np.full((64, 96), 7, np.uint8))
    with pytest.raises(DataError, match=r"a\.png: holds the label 7, and there are 3 classes"):
        PartialLabels(folder, str(tmp_path / "few")).mask(0)


def test_the_command(folder, tmp_path, capsys):
    config = tmp_path / "c.py"
    config.write_text(
        f"train = dict(batch_size=1, dataset=dict(type='PartialLabels', masks='{tmp_path}/few', "
        f"dataset=dict(type='Folder', root='{tmp_path}', classes={CLASSES})))\n"
        "model = dict(num_classes=3, backbone=dict(type='Timm', name='resnet18'), head=dict(type='FCNHead'))\n"
        "losses = [dict(type='CrossEntropy')]\noptimizer = dict(type='SGD', lr=0.1)\n"
        "schedule = dict(type='Constant')\nloop = dict(steps=1)\nrunner = dict(type='Semantic')\n"
    )
    command = ["prepare", "scribbles", "--config", str(config), "--jobs", "1"]
    assert main([*command, "--kind", "points", "--count", "2"]) == 0
    assert f"2 files written, 0 kept: {tmp_path}/few" in capsys.readouterr().out
    assert main([*command, "--out", str(tmp_path / "blocks"), "--kind", "blocks", "--share", "0.2"]) == 0
    assert (tmp_path / "blocks" / "b.png").is_file()
    assert main([*command, "--count", "0"]) == 2
    assert main([*command, "--section", "test"]) == 2
    assert main(["prepare", "scribbles", "--config", str(tmp_path / "gone.py")]) == 2
