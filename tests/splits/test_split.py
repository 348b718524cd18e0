"""Split, Fold and Listed on data sets of every task, groups by every rule, and what does not fit."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.dataset import Dataset
from segkit.data.files.capture_time import capture_time
from segkit.data.instances.shapes import ShapesInstances
from segkit.data.interactive.folder import FolderClicks, FolderClicksEval
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.shapes import Shapes
from segkit.data.splits.grouping import group_names
from segkit.data.splits.split import Fold, Listed, Split
from segkit.engine.preflight import unscorable
from segkit.files import DataError

PARTS = ("train", "val", "test")


class Named(Dataset):
    """Items that are names alone, with the classes that each holds."""

    classes, palette = ("ground", "rare"), ((0, 0, 0), (255, 0, 0))

    def __init__(self, ids, rare=()):
        self.ids, self.rare = list(ids), set(rare)

    def mask(self, index):
        return np.array([[0, self.ids[index] in self.rare]], np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def parts_of(data, **options):
    return [Split(data, part, **options) for part in PARTS]


def test_parts_are_disjoint_whole_and_independent_of_the_order():
    data = Named([f"{i:02}" for i in range(30)])
    parts = parts_of(data)
    assert list(map(len, parts)) == [24, 3, 3]
    assert sorted(name for part in parts for name in part.ids) == data.ids
    turned = Named(data.ids[::-1])
    assert [sorted(part.ids) for part in parts_of(turned)] == [sorted(part.ids) for part in parts]
    assert set(Split(data, "val", seed=1).ids) != set(parts[1].ids)
    assert [len(Split(data, part, (0.9, 0.1))) for part in ("train", "val")] == [27, 3]
    assert parts[1].facts[-1] == "val: 3 of 30 images, seed 0"


def test_rare_classes_are_in_every_part_and_one_that_cannot_is_told():
    data = Named([f"{i:02}" for i in range(30)], rare=("03", "17", "20"))
    assert [len({*part.ids} & data.rare) for part in parts_of(data)] == [1, 1, 1]
    data.rare = {"17"}
    train, val, test = parts_of(data)
    assert "17" in train.ids
    (note,) = train.notes
    assert note.startswith("class 'rare' occurs in one image only (17), which is in 'train': it cannot be both trained")
    assert val.notes == () == test.notes


def test_folds_by_group_and_by_class():
    names = [f"{scene}_{i}" for scene in "abcdefg" for i in range(3 if scene < "d" else 2)]
    data = Named(names, rare=("a_0", "c_1", "e_0"))
    folds = [Fold(data, 3, k, only=True, by=r"^(\w)_", stratify=True) for k in range(3)]
    assert sorted(name for fold in folds for name in fold.ids) == sorted(names)
    assert not {name[0] for name in folds[0].ids} & {name[0] for name in folds[1].ids}
    assert all({*fold.ids} & data.rare for fold in folds)
    rest = Fold(data, 3, 1, by=r"^(\w)_", stratify=True)
    assert {*rest.ids} == {*names} - {*folds[1].ids}


def with_time(path, text):
    picture = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    exif = Image.Exif()
    if text:
        exif.get_ifd(0x8769)[0x9003] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif)
    return str(path)


def test_groups_by_folder_table_time_and_expression(tmp_path):
    clock = ["10:00:00", "10:00:59", "10:02:30", "10:01:58"]
    files = [with_time(tmp_path / f"p{i % 2}/s{i}/{i}.jpg", f"2026:01:02 {time}") for i, time in enumerate(clock)]
    data = Named(files)
    data.path = lambda index: files[index]
    assert group_names(data, None) == files
    assert [name[-2:] for name in group_names(data, "folder:2")] == ["p0", "p1", "p0", "p1"]
    # gaps of 59, 59 and 32 seconds
    assert group_names(data, "time") == ["scene 000000"] * 4
    assert [name[-1] for name in group_names(data, "time:59")] == ["0", "1", "2", "2"]
    assert group_names(data, r"p(\d)/s(\d)") == ["0|0", "1|1", "0|2", "1|3"]
    assert group_names(data, r"p\d") == ["p0", "p1", "p0", "p1"]
    table = tmp_path / "t.csv"
    table.write_text("image;age;patient\n0.jpg;1;x\np1/s1/1.jpg;2;y\n2;3;x\n3;3;y\n", encoding="utf-8-sig")
    assert group_names(data, f"{table}:patient") == ["x", "y", "x", "y"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_time_of_capture_in_every_kind_of_file(tmp_path, suffix):
    """12:30:15 on the second of January 2026 is 1767357015 seconds after 1970; the time of the exposure goes first."""
    exif = Image.Exif()
    exif[0x0132] = "2020:01:01 00:00:00"
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (4, 4)).save(path, exif=exif)
    assert capture_time(str(path)) == 1577836800
    if suffix == "tif":
        return  # Pillow writes no directory of the camera's tags into a TIFF
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 12:30:15"
    Image.new("RGB", (4, 4)).save(path, exif=exif)
    assert capture_time(str(path)) == 1767357015
    content = path.read_bytes()
    path.write_bytes(content.replace(b"2026:01:02", b"0000:00:00"))  # a camera whose clock was not set
    assert capture_time(str(path)) is None
    for length in (12, 40, 100):
        path.write_bytes(content[:length])
        assert capture_time(str(path)) is None


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("folder", r"by = 'folder:1': all 3 images lie in"),
        ("folder:x", r"'folder:x': the level is 1"),
        ("folder:99", r"has no 99 folders above it"),
        ("time", r"by = 'time': 1 of 3 images state no time of capture \(EXIF\): .*2\.jpg; group by folder"),
        ("time:-1", r"'time:-1': the gap between two scenes"),
        ("patient", r"by = 'patient': this regular expression matches no id \(ids are such as a, b, c\)"),
        ("floder", r"did you mean 'folder'"),
        ("a", r"matches 1 of 3 ids, but not \(ids are such as b, c\)"),
        ("(a", r"by = '\(a': no regular expression"),
        ("T.csv:patent", r"T\.csv: has no column 'patent' .*did you mean 'patient'"),
        ("T.csv:patient", r"T\.csv: 1 of 3 images have no 'patient': c; add their lines"),
        ("T.csv:twice", r"T\.csv: 'a' is of '1' and of '2'"),
        ("T.csv", r"name a column as well"),
        ("U.csv:x", r"U\.csv"),
    ],
)
def test_rules_that_do_not_fit(tmp_path, by, message):
    files = [with_time(tmp_path / f"{i}.jpg", "2026:01:02 10:00:00" if i < 2 else "") for i in range(3)]
    (tmp_path / "T.csv").write_text("image,patient,twice\na,x,1\nb,y,1\na,x,2\n")
    data = Named("abc")
    data.path = lambda index: files[index]
    with pytest.raises(DataError, match=message):
        group_names(data, f"{tmp_path}/{by}" if by[1:].startswith(".csv") else by)


def test_more_parts_than_groups():
    data = Named(["a1", "a2", "b1", "b2"])
    with pytest.raises(DataError, match=r"Split: 2 groups by '\[ab\]' for 3 parts .*take 2 parts at most"):
        Split(data, by="[ab]")
    with pytest.raises(DataError, match=r"Fold: 2 groups by '\[ab\]' for 3 parts"):
        Fold(data, 3, by="[ab]")
    with pytest.raises(DataError, match=r"Split.ratios = \[0.8, 0.1\]: the sum is 0.9, not 1"):
        Split(data, ratios=[0.8, 0.1])
    with pytest.raises(DataError, match=r"Split.part = 'test': ratios = \[0.8, 0.2\] give the parts train, val"):
        Split(data, "test", [0.8, 0.2])


def test_instances_keep_their_annotations():
    """Every class of drawn objects is in every part, and the truth is that of the part's images alone."""
    data = ShapesInstances("train", 20, size=(32, 32))
    parts = parts_of(data, ratios=(0.6, 0.2, 0.2))
    assert list(map(len, parts)) == [12, 4, 4]
    for part in parts:
        truth = part.annotations
        assert [image["id"] for image in truth["images"]] == part.ids and part.sizes.shape == (len(part), 2)
        assert {entry["image_id"] for entry in truth["annotations"]} <= {*part.ids}
        assert {entry["category_id"] for entry in truth["annotations"]} == {1, 2, 3, 4, 5}
    assert unscorable(parts[1], [dict(type="CocoAP")]) == []
    whole = Split(Shapes("train", 9, size=(32, 32), instances=False), "val")
    (text,) = unscorable(whole, [dict(type="CocoAP")])
    assert text.startswith("Shapes has no annotations in COCO form")
    assert unscorable(whole, [dict(type="Confusion")]) == []


def click_folder(root, count=5):
    for i in range(count):
        for folder, end in (("images", ""), ("masks", "_1"), ("masks", "_2")):
            path = root / folder / f"{i}{end}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (6, 6, 3) if folder == "images" else (6, 6)
            array = np.zeros(shape, np.uint8)
            array[:3] = 255
            Image.fromarray(array).save(path)
    return str(root)


def test_objects_of_one_image_stay_together(tmp_path):
    root = click_folder(tmp_path / "set")
    rng = np.random.default_rng(0)
    train, score = FolderClicks(root), FolderClicksEval(root)
    part = Split(train, "val", (0.6, 0.4))
    assert len(part.packed(0, rng).objects) == 2 and len(part.sample(0, rng)["objects"]) == 2
    scored = Split(score, "val", (0.6, 0.4))
    assert len(score) == 10 and len(scored) == 4  # two images of two objects each
    assert len({scored.path(index) for index in range(4)}) == 2 and scored.ignore == -1
    with pytest.raises(DataError, match="FolderClicksEval has no objects to click on"):
        scored.packed(0, rng)


def test_a_list_chooses_items_of_any_set(tmp_path):
    root = click_folder(tmp_path / "set")
    (tmp_path / "val.txt").write_text("# two images\n3\nimages/1.png\n")
    listed = Listed(FolderClicksEval(root), str(tmp_path / "val.txt"))
    assert listed.ids == ["3_1", "3_2", "1_1", "1_2"]
    (tmp_path / "ids.txt").write_text("4_2\n0_1\n")
    assert Listed(FolderClicksEval(root), str(tmp_path / "ids.txt")).ids == ["4_2", "0_1"]
    (tmp_path / "bad.txt").write_text("3\n9\n")
    with pytest.raises(DataError, match=r"bad\.txt: 1 of 2 names have no image in FolderClicksEval: line 2 '9'"):
        Listed(FolderClicksEval(root), str(tmp_path / "bad.txt"))
    with pytest.raises(DataError, match=r"none\.txt"):
        Listed(FolderClicksEval(root), str(tmp_path / "none.txt"))


def test_a_split_of_a_folder_reads_its_files(tmp_path):
    root = click_folder(tmp_path / "set", 10)
    data = Folder(root, ["ground", "thing"], mask_suffix="_1", label_map={255: 1})
    train, val, test = parts_of(data)
    assert list(map(len, (train, val, test))) == [8, 1, 1]
    index = data.ids.index(val.ids[0])
    assert np.array_equal(val.mask(0), data.mask(index)) and val.mask_path(0) == data.mask_path(index)
    assert val.sample(0, np.random.default_rng(0))["meta"]["id"] == val.ids[0]
