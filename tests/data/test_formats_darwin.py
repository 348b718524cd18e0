"""V7 Darwin: a file that its package wrote, the documented form of masks, and files that are wrong."""

import json

import numpy as np
import pytest

from segkit.data.formats.darwin import DarwinReader
from segkit.files import DataError
from tests.data.labelled import copied, drawn, picture

SIZE = (40, 60)


def ring(x, y, side):
    return [dict(x=x, y=y), dict(x=x + side, y=y), dict(x=x + side, y=y + side), dict(x=x, y=y + side)]


def polygon(*paths, name="cat", **keys):
    box = dict(bounding_box=dict(x=0, y=0, w=1, h=1))
    return dict(id="p", name=name, polygon=dict(paths=list(paths))) | box | keys


def layer(code, mapping, **keys):
    content = dict(dense_rle=code, mask_annotation_ids_mapping=mapping, total_pixels=2400)
    return dict(id="r", name="__raster_layer__", raster_layer=content) | keys


def written(tmp_path, *annotations, slot=None, **item):
    picture(tmp_path / "images" / "a.png", SIZE)
    slot = dict(type="image", slot_name="0", width=60, height=40) | (slot or {})
    head = dict(name="a.png", path="/", slots=[slot]) | item
    (tmp_path / "a.json").write_text(json.dumps(dict(version="2.0", item=head, annotations=list(annotations))))
    return tmp_path


def test_a_file_of_the_package(tmp_path):
    copied("darwin", tmp_path)
    picture(tmp_path / "images" / "day" / "a.png", SIZE)
    picture(tmp_path / "images" / "night" / "a.png", SIZE)
    assert DarwinReader.sniff(tmp_path) == "1 of 1 files *.json looked at hold an 'item' of Darwin 2.0"
    reader = DarwinReader.open(tmp_path)
    assert reader.images[0] == tmp_path / "images" / "day" / "a.png" and reader.item(0).size == SIZE
    assert reader.classes == ("cat", "dog") and reader.lost == {"tags": 1}
    cat, dog = reader.item(0).shapes
    assert cat.outlines[0].tolist() == [[2.5, 3], [20, 3], [20, 18], [2.5, 18]]
    assert cat.holes[0].tolist() == [[6, 6], [12, 6], [12, 12], [6, 12]]
    assert dog.box == (30, 20, 50, 35)


def test_masks(tmp_path):
    """Values along the rows: 5 pixels of nothing, 3 of the first mask, 2 of the second."""
    rows = [dict(id="one", name="cat", mask={}, slot_names=["0"]), dict(id="two", name="dog", mask={})]
    code = [0, 5, 1, 3, 2, 2, 0, 2390]
    reader = DarwinReader.open(written(tmp_path, *rows, layer(code, dict(one=1, two=2))))
    cat, dog = reader.item(0).shapes
    assert np.argwhere(drawn(cat, SIZE)).tolist() == [[0, 5], [0, 6], [0, 7]]
    assert np.argwhere(drawn(dog, SIZE)).tolist() == [[0, 8], [0, 9]] and reader.classes == ("cat", "dog")


def test_paths(tmp_path):
    """Two pieces, one with a hole; and a hole with an island, which is a mask."""
    far, near, hole, island = ring(30, 2, 6), ring(2, 2, 20), ring(5, 5, 10), ring(8, 8, 4)
    reader = DarwinReader.open(written(tmp_path, polygon(far, near, hole), polygon(near, hole, island)))
    pieces, nested = reader.item(0).shapes
    assert len(pieces.outlines) == 2 and [hole.tolist() for hole in pieces.holes] == [
        [[5, 5], [15, 5], [15, 15], [5, 15]]
    ]  # fmt: skip
    assert drawn(pieces, SIZE).sum() == 36 + 400 - 100 and drawn(nested, SIZE).sum() == 400 - 100 + 16
    assert drawn(nested, SIZE)[9, 9] and not drawn(nested, SIZE)[6, 6]


def test_other_forms(tmp_path):
    ellipse = dict(center=dict(x=30, y=20), radius=dict(x=10, y=5), angle=np.pi / 2)
    rows = [dict(name="ball", ellipse=ellipse), polygon(ring(1, 1, 5)[:2]), dict(name="cat", keypoint=dict(x=1, y=1)),
            polygon(ring(1, 1, 5), slot_names=["1"]), polygon(ring(1, 1, 5), frames={}), dict(name="a", eye={}),
            polygon(ring(1, 1, 5), attributes=["big"])]  # fmt: skip
    reader = DarwinReader.open(written(tmp_path, *rows))
    ball, cat = reader.item(0).shapes
    assert drawn(ball, SIZE).sum() == pytest.approx(np.pi * 50, rel=0.03) and drawn(ball, SIZE)[11, 30]
    assert cat.label == "cat" and reader.lost == {
        "outlines of fewer than 3 corners": 1, "points": 1, "objects of further slots": 1, "objects of videos": 1,
        "objects of other forms": 1, "attributes": 1,
    }  # fmt: skip


def test_items_that_are_no_images(tmp_path):
    written(tmp_path, polygon(ring(1, 1, 5)))
    (tmp_path / "video.json").write_text((tmp_path / "a.json").read_text().replace('"type": "image"', '"type": "pdf"'))
    (tmp_path / "old.json").write_text('{"dataset": "a", "image": {}, "annotations": []}')
    picture(tmp_path / "images" / "b.png", SIZE)
    reader = DarwinReader.open(tmp_path)
    assert len(reader) == 2 and reader.lost == {"items that are no images": 1}
    assert "1 files *.json hold no labels of Darwin 2.0: old.json" in reader.notes
    assert not reader.item(1).is_labelled


# videos -------------------------------------------------------------------------------------------------------------
def track(name="Hand", ranges=((0, 4),), hidden=(), **forms):
    """An annotation of a video with the keys of the documentation; forms by f0=..., f3=..."""
    frames = {number[1:]: dict(form, keyframe=number != "f1") for number, form in forms.items()}
    spans = dict(ranges=[*map(list, ranges)], hidden_areas=[*map(list, hidden)]) if ranges is not None else {}
    more = dict(annotators=[], reviewers=[], interpolate_algorithm="linear-1.1", interpolated=True, slot_names=["0"])
    return dict(id="t", name=name, frames=frames) | more | spans


def form(x, y=1, side=10):
    return dict(polygon=dict(paths=[ring(x, y, side)]), bounding_box=dict(x=x, y=y, w=side, h=side))


def video(tmp_path, *tracks, frames=range(5), folder="clip", name="clip.mp4", start="", **slot):
    for number in frames:
        picture(tmp_path / folder / f"{start}{number:07d}.png", SIZE)
    slot = dict(type="video", slot_name="0", width=60, height=40, fps=1, frame_count=5) | slot
    sources = [dict(file_name=name, url="https://example.org/clip")]
    item = dict(name=name, path="/", slots=[slot | dict(source_files=sources)])
    (tmp_path / f"{name}.json").write_text(json.dumps(dict(version="2.0", item=item, annotations=list(tracks))))
    return tmp_path


def places(reader):
    """The left sides of the outlines of each frame."""
    return [[shape.outlines[0][0, 0].item() for shape in reader.item(i).shapes] for i in range(len(reader))]


def test_frames_have_their_own_form_or_hold_the_last_one(tmp_path):
    """The last number of a range is the first frame without the object."""
    moving = track(f0=form(2), f1=form(4), f3=form(20))
    late = track("Foot", ((1, 5),), ((3, 4),), f2=form(30))
    point = track("Hand", f0=dict(keypoint=dict(x=1, y=1)))
    reader = DarwinReader.open(video(tmp_path, moving, late, point))
    assert [path.name for path in reader.images] == [f"{number:07d}.png" for number in range(5)]
    assert places(reader) == [[2], [4], [4, 30], [20], [30]]
    assert reader.classes == ("Foot", "Hand") and reader.item(3).is_labelled and reader.item(0).size == SIZE
    assert reader.lost == {
        "objects of frames without a form of their own, held since the last one": 2 + 3, "points": 4,
    }  # fmt: skip
    assert reader.label_file(2) == tmp_path / "clip.mp4.json" and reader.notes == ()


def test_ranges_may_be_missing_or_open(tmp_path):
    old = track(ranges=None, f0=form(2), f3=form(20)) | dict(segments=[[0, 2], [3, None]])
    listed = track("Foot", None, f1=form(30))
    assert places(DarwinReader.open(video(tmp_path, old, listed))) == [[2], [2, 30], [], [20], [20]]


def test_masks_of_videos(tmp_path):
    masks = track("cat", None, f0=dict(mask={}), f1=dict(mask={})) | dict(id="m")
    content = dict(dense_rle=[0, 5, 1, 3, 0, 2392], mask_annotation_ids_mapping=dict(m=1), total_pixels=2400)
    layers = track("__raster_layer__", None, f0=dict(raster_layer=content)) | dict(ranges=[[0, 2]])
    reader = DarwinReader.open(video(tmp_path, masks, layers))
    drawn_at = [[drawn(shape, SIZE).sum() for shape in reader.item(number).shapes] for number in range(3)]
    assert drawn_at == [[3], [3], []]


def test_where_frames_lie(tmp_path):
    """Beside an image, and with frames of another video in a folder of their own."""
    written(tmp_path, polygon(ring(1, 1, 5)))
    video(tmp_path, track(f0=form(2)), frames=range(2))
    video(tmp_path, track(f0=form(6), f4=form(7)), frames=(0, 1), name="b.mp4", folder="all", start="b_", frame_count=9)
    video(tmp_path, track(f0=form(6)), frames=(), name="gone.mp4")
    video(tmp_path, track(f0=form(8)), frames=(0,), name="b1.mp4", folder="all", start="b1_")
    reader = DarwinReader.open(tmp_path)
    assert {f"{path.parent.name}/{path.name}": place for path, place in zip(reader.images, places(reader))} == {
        "images/a.png": [1], "clip/0000000.png": [2], "clip/0000001.png": [2], "all/b_0000000.png": [6],
        "all/b_0000001.png": [6], "all/b1_0000000.png": [8],
    }  # fmt: skip
    assert "b.mp4.json: 1 labelled frames have no image: 4" in reader.notes
    assert any("gone/0000000.png (a frame of gone.mp4.json)" in note for note in reader.notes)


@pytest.mark.parametrize(
    ("tracks", "keys", "words"),
    [
        ([track(ranges=[[0]], f0=form(1))], {}, r"annotation 1, ranges: \[\[0\]\]; must be a list of pairs"),
        ([track(ranges=[[0, "x"]], f0=form(1))], {}, "an end = 'x' must be a finite number"),
        ([track(fx=form(1))], {}, "a frame = 'x' must be a finite number"),
        ([dict(name="a", frames=[1])], {}, r"frames: \[1\] where an object"),
        ([track(f0=form(float("nan")))], {}, r"frame 0, annotation 1 \('Hand'\): a corner is not finite"),
        ([], dict(frames=range(1, 6)), "has the number 5, and clip has 5 frames, which are counted from 0"),
        ([], dict(frame_count="x"), "frame_count = 'x' must be"),
        ([], dict(frames=()), r"the labels name clip/0000000.png \(a frame of clip.mp4.json\); copy the images there"),
    ],
)
def test_wrong_videos_are_named(tmp_path, tracks, keys, words):
    with pytest.raises(DataError, match=words):
        DarwinReader.open(video(tmp_path, *tracks, **keys)).item(0)


def test_two_images_of_one_frame_are_named(tmp_path):
    video(tmp_path, track(f0=form(2)), folder="one")
    with pytest.raises(DataError, match=r"may both be frame 0 of clip; put the frames into a folder clip"):
        DarwinReader.open(video(tmp_path, track(f0=form(2)), folder="two"))


MASK = dict(id="one", name="cat", mask={})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([polygon(ring(1, float("nan"), 3))], r" 1 \('cat'\): a corner is not finite"),
        ([polygon([dict(x=1, y="a"), dict(x=1, y=2), dict(x=3, y=4)])], "a corner is not finite"),
        ([polygon([[1, 2], [3, 4], [5, 6]])], r"a path, entry 1: \[1, 2\] where an object"),
        ([polygon(name=None)], "the label None"),
        ([dict(name="cat", polygon=dict(paths=3))], "polygon.paths is 3"),
        ([dict(name="cat", bounding_box=dict(x=1, y=1, w=None, h=2))], "bounding_box.w = None must be"),
        ([MASK], "no raster layer holds the mask of 'one'"),
        ([MASK, layer([0, 2399], dict(one=1))], "raster layer.*its runs add up to 2399 pixels"),
        ([MASK, layer([0, 10**12], dict(one=1))], "no possible number of pixels"),
        ([MASK, layer([0, -1, 0, 2401], dict(one=1))], "no possible number of pixels"),
        ([MASK, layer([0, 1, 2], dict(one=1))], "no list of pairs"),
        ([MASK, layer([0, 10**30], dict(one=1))], "dense_rle does not fill"),
        ([MASK, layer([0, 2400], [1])], "mask_annotation_ids_mapping: .*object with keys"),
    ],
)
def test_wrong_objects_are_named(tmp_path, rows, words):
    with pytest.raises(DataError, match=rf"a\.json, annotation.*{words}"):
        DarwinReader.open(written(tmp_path, *rows)).item(0)


def test_wrong_items_are_named(tmp_path):
    for keys, words in (
        (dict(slots=[]), "item.slots is empty"),
        (dict(name="a"), "item.name = 'a' is no image file"),
        (dict(slot=dict(width=-5)), "height 40 and width -5 are no size"),
        (dict(name="../../etc/a.png", path=".."), None),
    ):
        if words is None:  # found by its name below the folder, and nowhere else
            assert DarwinReader.open(written(tmp_path, **keys)).images == [tmp_path / "images" / "a.png"]
            continue
        with pytest.raises(DataError, match=words):
            DarwinReader.open(written(tmp_path, **keys))
