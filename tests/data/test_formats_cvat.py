"""CVAT's XML: files that CVAT's library wrote, the documented form, and files that are wrong."""

import numpy as np
import pytest

from segkit.data.formats.cvat import CvatReader
from segkit.files import DataError
from tests.data.labelled import FIXTURES, copied, drawn, picture

SIZE = (40, 60)
META = """<meta><task><labels>
<label><name>cat</name><color>#ff0000</color></label><label><name>body</name><type>skeleton</type></label>
<label><name>nose</name><parent>body</parent></label></labels></task></meta>"""


def written(tmp_path, inner, name="annotations.xml", image="a.png", meta=META, head=""):
    """A folder with an image and the XML of its labels."""
    picture(tmp_path / image, SIZE)
    body = f'<image id="0" name="{image}" subset="Train" width="60" height="40">{inner}</image>'
    text = f'<?xml version="1.0" encoding="utf-8"?>{head}<annotations><version>1.1</version>{meta}{body}</annotations>'
    (tmp_path / name).write_text(text)
    return tmp_path


def test_files_of_cvats_library(tmp_path):
    copied("cvat", tmp_path)
    for name in "ab":
        picture(tmp_path / "images" / "day" / f"{name}.jpg", SIZE)
    assert CvatReader.sniff(tmp_path) == "1 of 1 files *.xml looked at hold CVAT's annotations"
    reader = CvatReader.open(tmp_path)
    assert reader.classes == ("cat", "dog", "train") and len(reader) == 2 and not reader.splits
    assert reader.lost == {"lines": 1, "points": 1, "marks of being occluded": 1} and reader.item(0).in_order
    assert reader.notes == ("1 images without an object count as images of background",)
    dog, train, mask, cat = reader.item(0).shapes  # by z_order 0, 0, 1, 2
    assert dog.label == "dog" and dog.box == (30, 20, 50, 35)
    assert [outline.tolist() for outline in train.outlines] == [
        [[22, 2], [30, 2], [30, 8]], [[32, 2], [40, 2], [40, 8]]
    ]  # fmt: skip
    assert (drawn(mask, SIZE) == np.load(FIXTURES / "cvat" / "mask.npy")).all() and mask.label == "cat"
    assert cat.outlines[0].tolist() == [[2.5, 3.5], [20.25, 4], [18, 15.5], [3, 14]]
    second = reader.item(1)
    assert second.is_labelled and second.shapes == () and second.size == SIZE


def test_the_documented_form(tmp_path):
    """A mask in a frame of its own, a turned box, an ellipse, and what has no inside."""
    written(tmp_path, """
      <mask label="cat" rle="1, 2, 2, 1" left="10" top="20" width="3" height="2" z_order="0"/>
      <box label="dog" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90.0"><attribute name="age">3</attribute></box>
      <ellipse label="cat" cx="40" cy="20" rx="10" ry="5" rotation="90"/>
      <skeleton label="body"><points label="nose" points="1,1"/></skeleton><cuboid label="cat" xtl1="1"/>
      <tag label="cat"/><polygon label="cat" points="1,1;2,2"/>""")  # fmt: skip
    reader = CvatReader.open(tmp_path)
    mask, box, ellipse = reader.item(0).shapes
    # rows of 3: 0 1 1 / 0 0 1
    assert np.argwhere(drawn(mask, SIZE)).tolist() == [[20, 11], [20, 12], [21, 12]]
    # turned by a right angle around (15, 12): the corner (10, 10) goes to (17, 7)
    assert box.outlines[0] == pytest.approx(np.array([[17, 7], [17, 17], [13, 17], [13, 7]]))
    inside = drawn(ellipse, SIZE)
    assert inside.sum() == pytest.approx(np.pi * 50, rel=0.03) and inside[11, 40] and not inside[20, 48]
    assert reader.classes == ("cat", "body", "dog") and reader.splits == {"train": [0]}
    assert reader.lost == {
        "skeletons": 1, "cuboids": 1, "tags": 1, "outlines of fewer than 3 corners": 1, "attributes": 1
    }  # fmt: skip


def test_several_files_and_an_image_in_two_of_them(tmp_path):
    written(tmp_path, '<box label="cat" xtl="1" ytl="1" xbr="2" ybr="2"/>', "job1.xml")
    written(tmp_path, '<box label="bird" xtl="1" ytl="1" xbr="2" ybr="2"/>', "job2.xml", "b.png", meta="")
    (tmp_path / "other.xml").write_text("<annotation/>")
    reader = CvatReader.open(tmp_path)
    assert [path.name for path in reader.images] == ["a.png", "b.png"] and reader.classes == ("cat", "body", "bird")
    written(tmp_path, "", "job3.xml")
    with pytest.raises(DataError, match=r"job3.xml, image 1 and .*job1.xml, image 1 both label .*a\.png; remove one"):
        CvatReader.open(tmp_path)


TRACKS = """<annotations><version>1.1</version><meta/>
<track id="0" label="cat"><polygon frame="0" outside="0" occluded="0" points="1,1;9,1;9,9"/>
<polygon frame="1" outside="0" points="2,1;9,1;9,9"/><polygon frame="2" outside="1" points="2,1;9,1;9,9"/></track>
<track id="1" label="dog">
<box frame="1" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/><points frame="1" points="1,1"/></track>
</annotations>"""


def test_tracks_of_a_video(tmp_path):
    (tmp_path / "annotations.xml").write_text(TRACKS)
    with pytest.raises(DataError, match=r"tracks of a video, and 0 images .*frame 0; put .* as frame_000000.png, or"):
        CvatReader.open(tmp_path)
    for number in range(3):
        picture(tmp_path / "images" / f"frame_{number:06d}.PNG", SIZE)
    reader = CvatReader.open(tmp_path)
    assert reader.classes == ("cat", "dog") and reader.lost == {"points": 1}
    assert [[shape.label for shape in reader.item(index).shapes] for index in range(3)] == [["cat"], ["cat", "dog"], []]
    assert reader.item(1).shapes[0].outlines[0][0].tolist() == [2, 1] and reader.item(2).size == SIZE
    assert reader.item(1).shapes[1].box == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("element", "words"),
    [
        ('<polygon label="cat" points="1,1;2,nan;3,3"/>', r"polygon 1 \('cat'\): a corner is not finite"),
        ('<polygon label="cat" points="1,1;2;3,3"/>', r"corner 2 is \[2.0\]"),
        ('<polygon label="cat" points="1,1;b,2;3,3"/>', "must be 'x,y;x,y;...'"),
        ('<polygon points="1,1;2,2;3,3"/>', "the label None is no name"),
        ('<polygon label="cat" z_order="top" points="1,1;2,2;3,3"/>', "z_order = 'top' must be"),
        ('<box label="cat" xtl="1" ytl="1" xbr="inf" ybr="3"/>', "xbr = 'inf' must be a finite number"),
        ('<box label="cat" xtl="1" ytl="1" xbr="3"/>', "ybr = None"),
        ('<ellipse label="cat" cx="1" cy="1" rx="-3" ry="1"/>', "radii"),
        ('<mask label="cat" rle="1,2" left="0" top="0" width="2" height="2"/>', "add up to 3 in a frame of 2x2"),
        ('<mask label="cat" rle="-1,5" left="0" top="0" width="2" height="2"/>', "must fill the frame"),
        ('<mask label="cat" rle="1,x" left="0" top="0" width="2" height="2"/>', "rle='1,x' must be whole numbers"),
        ('<mask label="cat" rle="4" left="0.5" top="0" width="2" height="2"/>', "left = '0.5' must be a whole number"),
        ('<mask label="cat" rle="90000000" left="0" top="0" width="9000" height="10000"/>', "of an image of 60x40"),
    ],
)
def test_wrong_objects_are_named(tmp_path, element, words):
    written(tmp_path, element)
    with pytest.raises(DataError, match=f"annotations.xml, image 1 .*{words}"):
        CvatReader.open(tmp_path).item(0)


@pytest.mark.parametrize(
    ("head", "inner"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]>', ""),
        ('<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>', "&c;"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>', "&x;"),
        ("", "<g>" * 10_000),
        ("", "<polygon"),
    ],
)
def test_hostile_xml_is_refused(tmp_path, head, inner):
    written(tmp_path, inner, head=head)
    with pytest.raises(DataError, match=r"annotations\.xml: no usable XML"):
        CvatReader.open(tmp_path)
    assert CvatReader.sniff(tmp_path)  # it looks at the begin alone


def test_a_name_that_leads_out_is_not_followed(tmp_path):
    folder = written(tmp_path / "set", "")
    text = (folder / "annotations.xml").read_text().replace('name="a.png"', 'name="../secret.png"')
    (folder / "annotations.xml").write_text(text)
    picture(tmp_path / "secret.png", SIZE)
    with pytest.raises(DataError, match=r"no labelled image .*\.\./secret\.png"):
        CvatReader.open(folder)
