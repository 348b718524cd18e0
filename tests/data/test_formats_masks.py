"""Folders of masks: where they lie, what they are called, and what their values mean."""

import cv2
import numpy as np
import pytest
from PIL import Image

from segkit.data.formats.legend import legend_text, read_legend
from segkit.data.formats.masks import MasksReader, MasksWriter
from segkit.data.formats.object_numbers import shapes_of
from segkit.data.formats.voc_writer import VocWriter
from segkit.data.instances.labelled import LabelledInstances
from segkit.data.semantic.labelled import Labelled
from segkit.files import DataError
from tests.data.labelled import drawn
from tests.data.layouts import rows, write_image, write_mask
from tests.data.messy import soft_color_masks

LAYOUTS = {
    "two folders": ("images/{}.jpg", "masks/{}.png"),
    "a suffix": ("im/{}.jpg", "gt/{}_L.png"),
    "a suffix beside": ("{}.jpg", "{}_mask.png"),
    "two suffixes": ("leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_gtFine_labelIds.png"),
    "a prefix": ("photos/{}.jpg", "labels/mask_{}.png"),
    "an image suffix": ("imgs/{}_rgb.jpg", "annotations/{}.png"),
    "beside, of one name": ("{}.jpg", "{}.png"),
    "one unknown folder": ("pictures 2021/{}.jpg", "ground truth/{}.bmp"),
    "penn fudan": ("PNGImages/{}.png", "PedMasks/{}_mask.png"),
    "unicode": ("Bilder ü/{}.jpg", "Masken_masks/{}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    image, mask = LAYOUTS[layout]
    for number, name in enumerate(("img_001", "img_002", "img_10")):
        write_image(tmp_path / image.format(name))
        write_mask(tmp_path / mask.format(name), rows(0, number, 1))
    assert MasksReader.sniff(tmp_path)
    reader = MasksReader.open(tmp_path)
    assert [path.name for path in reader.images] == [
        (tmp_path / image.format(name)).name for name in ("img_001", "img_002", "img_10")
    ]
    assert [int(reader.item(i).label_map[0, 1]) for i in range(3)] == [0, 1, 2]
    assert len(reader.notes) == 1 and reader.item(0).size == (6, 8)


SPLITS = {
    "folders in folders": ("images/{}/{}.jpg", "masks/{}/{}.png"),
    "folders around": ("{}/images/{}.jpg", "{}/masks/{}.png"),
    "camvid": ("{}/{}.png", "{}annot/{}.png"),
    "words in names": ("{}_images/{}.jpg", "{}_labels/{}.png"),
    "roboflow": ("{}/{}.jpg", "{}/{}_mask.png"),
}


@pytest.mark.parametrize("layout", SPLITS)
def test_splits_by_folders(tmp_path, layout):
    image, mask = SPLITS[layout]
    for split, names in (("train", "ab"), ("valid" if layout == "roboflow" else "val", "a")):
        for name in names:
            write_image(tmp_path / image.format(split, name))
            write_mask(tmp_path / mask.format(split, name), rows(0, 1))
    reader = MasksReader.open(tmp_path)
    assert {split: len(items) for split, items in reader.splits.items()} == {"train": 2, "val": 1}


def test_splits_by_lists(tmp_path):
    for name in "abc":
        write_image(tmp_path / "images" / f"{name}.jpg")
        write_mask(tmp_path / "masks" / f"{name}.png", rows(0, 1))
    (tmp_path / "train.txt").write_text("images/a.jpg masks/a.png\nb\n")
    (tmp_path / "val.txt").write_text("c.jpg\n")
    assert MasksReader.open(tmp_path).splits == {"train": [0, 1], "val": [2]}


def one(tmp_path, mask, name="a", **options):
    write_image(tmp_path / "images" / f"{name}.jpg")
    write_mask(tmp_path / "masks" / f"{name}.png", mask, **options)
    return tmp_path


@pytest.mark.parametrize(
    ("mask", "classes", "labels"),
    [
        (rows(0, 255, 0), ("background", "object"), [0, 1, 0]),
        (rows(0, 1, 0), ("background", "object"), [0, 1, 0]),
        (rows(0, 7, 0), ("background", "object"), [0, 1, 0]),
        (rows(0, 3, 255), ("background", "class 1", "class 2", "class 3"), [0, 3, 255]),
        (rows(0, 85, 170, 255), ("background", "value 85", "value 170", "value 255"), [0, 1, 2, 3]),
        (rows(0, 1, 0) > 0, ("background", "object"), [0, 1, 0]),
    ],
    ids=["0 and 255", "0 and 1", "one value", "indices and ignored", "greys", "one bit"],
)
def test_numbers(tmp_path, mask, classes, labels):
    reader = MasksReader.open(one(tmp_path, mask))
    assert reader.classes == classes and reader.item(0).label_map[0, : len(labels)].tolist() == labels
    assert not reader.lost


def test_palettes_count_by_their_indices(tmp_path):
    reader = MasksReader.open(one(tmp_path, rows(0, 2, 1), palette=True))
    assert reader.item(0).label_map[0, :3].tolist() == [0, 2, 1]


def test_soft_edges_between_0_and_255(tmp_path):
    disk = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 20, 255, -1)
    soft = cv2.resize(
        cv2.resize(disk, (61, 61), interpolation=cv2.INTER_LINEAR), (64, 64), interpolation=cv2.INTER_LINEAR
    )
    write_image(tmp_path / "images" / "a.jpg", (64, 64))
    write_mask(tmp_path / "masks" / "a.png", soft)
    reader = MasksReader.open(tmp_path)
    assert reader.classes == ("background", "object")
    assert (reader.item(0).label_map == (soft >= 128)).all()
    ((words, count),) = reader.lost.items()
    assert "soft edges" in words and count == ((soft > 0) & (soft < 255)).sum()


def test_colors_without_a_legend(tmp_path):
    colors = np.zeros((6, 8, 3), np.uint8)
    colors[0, 0], colors[0, 1] = (255, 0, 0), (0, 0, 255)
    reader = MasksReader.open(one(tmp_path, colors))
    assert reader.classes == ("background", "#0000ff", "#ff0000")
    assert reader.item(0).label_map[0, :3].tolist() == [2, 1, 0]
    assert "class_dict.csv" in reader.notes[0]


def test_colors_with_soft_edges(tmp_path):
    colors = np.zeros((200, 200, 3), np.uint8)
    colors[50:150, 50:150] = (200, 0, 0)
    colors[:20] = (0, 0, 250)
    soft = cv2.GaussianBlur(colors, (9, 9), 2)
    write_image(tmp_path / "images" / "a.jpg", (200, 200))
    write_mask(tmp_path / "masks" / "a.png", soft)
    reader = MasksReader.open(tmp_path)
    assert reader.classes == ("background", "#0000fa", "#c80000")
    label_map = reader.item(0).label_map
    apart = np.abs(soft[:, :, None].astype(int) - np.array([(0, 0, 0), (0, 0, 250), (200, 0, 0)])).max(axis=3)
    expected = np.where(apart.min(axis=2) > 48, 255, apart.argmin(axis=2))
    assert (label_map == expected).all() and (label_map[100, 60:140] == 2).all()
    is_exact = apart.min(axis=2) == 0
    assert sorted(reader.lost.values()) == sorted(
        [int((expected == 255).sum()), int((~is_exact & (expected < 255)).sum())]
    )


LEGENDS = {
    "class_dict.csv": "name, r, g, b\nSky,128,128,128\nRoad,128, 64,128\nVoid,0,0,0\n",
    "label_colors.txt": "128 128 128\tSky\n128 64 128\tRoad\n0 0 0\tVoid\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nSky:128,128,128::\nRoad:128,64,128:lane:\nVoid:0,0,0::\n",
    "label_map.json": '{"Sky": [128, 128, 128], "Road": [128, 64, 128], "Void": [0, 0, 0]}',
}


@pytest.mark.parametrize("name", LEGENDS)
def test_legends_of_colors(tmp_path, name):
    colors = np.full((6, 8, 3), 128, np.uint8)
    colors[0, 0], colors[0, 1] = (128, 64, 128), (0, 0, 0)
    (one(tmp_path, colors) / name).write_text(LEGENDS[name])
    reader = MasksReader.open(tmp_path)
    assert reader.classes == ("Sky", "Road") and reader.item(0).label_map[0, :3].tolist() == [1, 255, 0]
    assert name in reader.notes[0] and not reader.lost
    colors[0, 2] = (1, 0, 0)
    write_mask(tmp_path / "masks" / "a.png", colors)
    soft = MasksReader.open(tmp_path)
    assert soft.item(0).label_map[0, :3].tolist() == [1, 255, 255] and sum(soft.lost.values()) == 1


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("classes.txt", "ground\ncell\nnucleus\n", [0, 2, 1]),
        ("_classes.csv", "Pixel Value, Class\n0, ground\n1, cell\n2, nucleus\n", [0, 2, 1]),
        ("label_map.json", '{"0": "ground", "1": "cell", "2": "nucleus"}', [0, 2, 1]),
        ("labels.json", '["ground", "cell", "nucleus"]', [0, 2, 1]),
    ],
)
def test_legends_of_numbers(tmp_path, name, text, labels):
    (one(tmp_path, rows(0, 2, 1)) / name).write_text(text)
    reader = MasksReader.open(tmp_path)
    assert reader.classes == ("ground", "cell", "nucleus")
    assert reader.item(0).label_map[0, :3].tolist() == labels
    write_mask(tmp_path / "masks" / "a.png", rows(0, 9))
    with pytest.raises(DataError, match=r"masks/a\.png: value 9 at x=1, y=0 is no class; those are 0, 1, 2"):
        MasksReader.open(tmp_path).item(0)


def test_two_names_of_masks_of_0_and_255(tmp_path):
    (one(tmp_path, rows(0, 255, 0)) / "classes.txt").write_text("ground\ncell\n")
    reader = MasksReader.open(tmp_path)
    assert reader.classes == ("ground", "cell") and reader.item(0).label_map[0, :3].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("class_dict.csv", "a,1,2\n", "line 1: 'a,1,2' has 2 numbers"),
        ("class_dict.csv", "a,1,2,3\nb,1,2,3\n", "the color 1, 2, 3 stands twice"),
        ("class_dict.csv", "a,1,2,3\na,1,2,4\n", "the class a stands twice"),
        ("class_dict.csv", "a,1,2,3\nb,4\n", "some classes have a color, a number or none"),
        ("class_dict.csv", "a,1,2,300\n", "300 is no value of a mask"),
        ("classes.json", '{"a": [1, 2]}', "must be a number, or a color"),
        ("classes.json", "3", "must be a list of names"),
        ("classes.txt", "# nothing\n", "it names no class"),
    ],
)
def test_wrong_legends(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_legend(tmp_path / name)


def test_jpeg_masks_are_cut_like_other_soft_edges(tmp_path):
    disk = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 20, 255, -1)
    write_image(tmp_path / "images" / "a.png", (64, 64))
    (tmp_path / "masks").mkdir()
    Image.fromarray(disk).save(tmp_path / "masks" / "a.jpg", quality=80)
    reader = MasksReader.open(tmp_path)
    assert (reader.item(0).label_map == disk // 255).mean() > 0.99 and reader.lost


def test_images_without_a_mask_and_masks_without_an_image(tmp_path):
    one(tmp_path, rows(0, 1))
    write_image(tmp_path / "images" / "bare.jpg")
    write_mask(tmp_path / "masks" / "left.png", rows(0, 1))
    reader = MasksReader.open(tmp_path)
    assert [reader.item(i).is_labelled for i in range(2)] == [True, False]
    assert "1 masks have no image" in reader.notes[1] and "1 images have no mask" in reader.notes[2]


def test_masks_of_too_many_values(tmp_path):
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    with pytest.raises(DataError, match="48 different values in the masks, too many for classes; name the classes"):
        MasksReader.open(one(tmp_path, mask))


def test_few_blended_colors_are_soft_edges_and_thin_classes_are_not(tmp_path):
    """Of two classes with blurred edges 13 colors occur; a pole of one pixel has a color of its own all the same."""
    found = soft_color_masks(tmp_path / "soft")
    reader = MasksReader.open(found.root)
    assert reader.classes == ("background", "#e69f00")
    for number, path in enumerate(reader.images):
        drawn, true = reader.item(number).label_map, found.masks[path.stem]
        # blends far from both colors are ignored; the corners of a disc of pixels are rounded
        is_kept = drawn != 255
        assert (drawn != true)[is_kept].mean() < 0.01 and is_kept.mean() > 0.96
    colors = np.zeros((40, 40, 3), np.uint8)
    colors[20:] = 128, 64, 128
    for column, color in ((5, (192, 192, 128)), (9, (60, 40, 222)), (14, (64, 0, 128))):
        colors[:30, column] = color
    for folder in ("images", "masks"):
        (tmp_path / "thin" / folder).mkdir(parents=True)
        Image.fromarray(colors).save(tmp_path / "thin" / folder / "a.png")
    assert len(MasksReader.open(tmp_path / "thin").classes) == 5


def numbered(folder, counts, gap_in=None):
    """Images and masks of so many squares each, numbered from 1; one number is left out of one mask."""
    for image, count in enumerate(counts):
        mask = np.zeros((40, 60), np.uint16)
        for number in range(1, count + 1):
            mask[8 * (number % 4) : 8 * (number % 4) + 6, 8 * (number // 4) : 8 * (number // 4) + 6] = number
        if image == gap_in:
            mask[mask == 1] = 0
        write_image(folder / "images" / f"{image}.jpg", (40, 60))
        write_mask(folder / "masks" / f"{image}.png", mask.astype(np.uint8 if max(counts) < 256 else np.uint16))
    return folder


def test_numbers_of_objects_are_no_classes(tmp_path):
    reader = MasksReader.open(numbered(tmp_path / "cells", (1, 2, 5, 0, 3, 2, 4, 1, 2)))
    assert reader.classes == ("object",) and reader.notes[0].startswith("values number the objects of an image")
    assert [len(reader.item(n).shapes) for n in range(len(reader))] == [1, 2, 5, 0, 3, 2, 4, 1, 2]
    first = reader.item(2).shapes[0]
    assert first.label == "object" and drawn(first, (40, 60)).sum() == 36
    assert Labelled(str(tmp_path / "cells")).classes == ("background", "object")
    sample = LabelledInstances(str(tmp_path / "cells"), boxes_only=False).sample(2, np.random.default_rng(0))
    assert sample["boxes"].tolist()[0] == [0, 8, 6, 14] and len(sample["masks"]) == 5
    (tmp_path / "cells" / "classes.txt").write_text("sky\nroad\ncar\ntree\nsign\npole\n")
    assert MasksReader.open(tmp_path / "cells").classes[1] == "road"  # a legend makes them classes


def test_where_numbers_are_classes(tmp_path):
    """A gap in one image, few images, equal counts, or numbers in many places."""
    counts = (1, 2, 5, 3, 2, 4, 1, 2)
    assert len(MasksReader.open(numbered(tmp_path / "gap", counts, gap_in=2)).classes) == 6
    assert len(MasksReader.open(numbered(tmp_path / "few", counts[:5])).classes) == 6
    assert len(MasksReader.open(numbered(tmp_path / "equal", (3,) * 9)).classes) == 4
    numbered(tmp_path / "spread", counts)
    for image in range(len(counts)):
        path = tmp_path / "spread" / "masks" / f"{image}.png"
        mask = np.array(Image.open(path))
        mask[:, 40:] = np.where(np.arange(40)[:, None] % 4 < 2, mask.max(), 0)
        write_mask(path, mask)
    assert len(MasksReader.open(tmp_path / "spread").classes) == 6


def test_ignored_pixels_beside_objects_and_numbers_of_16_bits():
    mask = np.array([[0, 1, 1, 255], [2, 2, 0, 255]], np.uint8)
    shapes = shapes_of(mask)
    assert [(s.label, s.crowd, int(drawn(s, (2, 4)).sum())) for s in shapes] == [
        ("object", False, 2),
        ("object", False, 2),
        ("", True, 2),
    ]
    assert len(shapes_of(mask.astype(np.uint16) + (mask == 2) * np.uint16(254))) == 3  # 1, 255 and 256 are objects


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("classes.txt", "background\nlane 1\nlane 2\n", ("background", "lane 1", "lane 2")),
        ("classes.txt", "lane 1\nlane 2\n", ("lane 1", "lane 2")),
        ("classes.txt", "0\n1\n12\n", ("0", "1", "12")),
        ("classes.txt", 'a, b\nsay "x"\nwall (brick)\nc:d\n', ("a, b", 'say "x"', "wall (brick)", "c:d")),
        ("labelmap.txt", "# label:color_rgb:parts:actions\na, b:1,2,3::\nx:y 4:5,6,7:p:q\n", ("a, b", "x:y 4")),
        ("classes.txt", "road 0\ncar 1\n", ("road", "car")),
        ("classes.txt", "road,\n'car',\n", ("road", "car")),
    ],
)
def test_names_in_legends_stay_whole(tmp_path, name, text, names):
    """Names with commas, quotes, colons and numbers came back as parts of themselves."""
    (tmp_path / name).write_text(text)
    assert read_legend(tmp_path / name).names == names


@pytest.mark.parametrize(
    "names, text",
    [
        (("background", "road sign", "car, red"), "background\nroad sign\ncar, red\n"),  # as they are, where it can be
        (("road", "#1", "//b"), 'road\n"#1"\n"//b"\n'),
        (("type 1", "kind 0"), '"type 1"\n"kind 0"\n'),  # else numbers, which would exchange the classes
        (("car, red", "lane 3"), 'car, red\n"lane 3"\n'),
        (("#aabbcc", "road 1 2 3"), '"#aabbcc"\n"road 1 2 3"\n'),  # else colors
        (("a: 1", '"b"', "'c'"), '"a: 1"\n\'"b"\'\n"\'c\'"\n'),
        (("name", "class 1"), '"name"\n"class 1"\n'),  # else a line of headings
        ((" a", "b"), '" a"\nb\n'),
        (("1", "2", "x"), "1\n2\nx\n"),
        (("x", "#'\""), "x\n'#'\"'\n"),
        ((), ""),
        (("a", "a", "#"), 'a\na\n"#"\n'),
    ],
)
def test_a_legend_that_is_written_is_read_back(tmp_path, names, text):
    path = tmp_path / "classes.txt"
    assert legend_text(names, path) == text
    path.write_text(text)
    if len(set(names)) < len(names):
        with pytest.raises(DataError, match="the class a stands twice"):
            read_legend(path)
    elif names:
        found = read_legend(path)
        assert found.names == names and found.values == tuple(range(len(names)))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\u2028b"])
def test_a_class_that_no_line_can_hold(tmp_path, name):
    with pytest.raises(DataError, match=r"classes\.txt: the class .* cannot stand in a line; rename the class"):
        legend_text(("road", name), tmp_path / "classes.txt")


def test_classes_named_by_their_colors_are_written_and_read(tmp_path):
    names = ("background", "#ff0000", "//a")  # masks of colors without a legend have classes of such names
    MasksWriter(tmp_path / "masks", names).close()
    assert read_legend(tmp_path / "masks" / "classes.txt").names == names
    VocWriter(tmp_path / "voc", names).close()
    assert read_legend(tmp_path / "voc" / "labelmap.txt").names == (*names, "void")
