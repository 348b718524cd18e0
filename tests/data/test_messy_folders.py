"""Folders as people have them: lists and names from other systems, links in circles, masks of other values."""

import unicodedata

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.data.interactive.folder import FolderClicks, FolderClicksEval
from segkit.data.interactive.grabcut import GrabCut
from segkit.data.preflight import check_dataset
from segkit.data.semantic.camvid import CamVid
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.voc import VOC
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask

TWO = ["ground", "cell"]
ACCENT = "caf\u00e9"


def rng():
    return np.random.default_rng(0)


def pair_of(root, names, masks="masks"):
    for name in names:
        write_image(root / "images" / f"{name}.png")
        write_mask(root / masks / f"{name}.png", rows(0, 1))
    return root


@pytest.mark.parametrize(
    "content",
    [
        "a\r\nb/c\r\n".encode("utf-8-sig"),
        b"a.png\nb/c.png\n",
        b"a.png\r\nb\\c.png\r\n",
        b"./a\n\n  b/c  \n",
        b"a\rb/c\r",
        "a\r\nb/c\r\n".encode("utf-16"),
        b"# made by hand\na  # the first\nb/c\n",
        b"images/a.png masks/a.png\nimages/b/c.png\tmasks/b/c.png\n",
        b"a.png,a.png\nb/c.png, masks/b/c.png\n",
        b'"/home/other/set/images/a.png"\nD:\\set\\images\\b\\c.png;D:\\set\\masks\\b\\c.png\n',
        b"a\nc.png\n",
    ],
    ids=[
        "byte order mark",
        "suffixes",
        "backslashes",
        "spaces and ./",
        "old Mac",
        "UTF-16",
        "comments",
        "two columns",
        "commas",
        "foreign paths",
        "name alone",
    ],
)
def test_lines_of_a_list(tmp_path, content):
    (pair_of(tmp_path, ["a", "b/c", "d"]) / "train.txt").write_bytes(content)
    assert Folder(str(tmp_path), TWO, split="train").ids == ["a", "b/c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n".encode("utf-16-le"), r"train\.txt: no text .*zero bytes and no byte order mark.*save it as UTF-8"),
        ("a\nb\n".encode("utf-16")[:-1], r"train\.txt: no text in UTF-16 \(byte 8\); save it as UTF-8"),
        (b"a\nStra\xdfe\n", r"train\.txt: no text in UTF-8 \(byte 6\); save it as UTF-8"),
        (b"# a\n\nb\n", r"1 of 1 names have no image in .*images: line 3 'b'; a line is the path of an image, with"),
        (b"a masks/b.png\n", r"1 of 1 lines name in the second column .* no one mask in .*masks: line 1 'masks/b.png'"),
        (b"\xef\xbb\xbf\n", r"train\.txt: the list is empty"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, content, message):
    (pair_of(tmp_path, ["a"]) / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Folder(str(tmp_path), TWO, split="train")


def test_the_second_column_of_a_list_chooses_the_mask(tmp_path):
    root = pair_of(tmp_path, ["a", "b"])
    write_mask(root / "masks" / "other" / "a.png", rows(1, 1))
    (root / "train.txt").write_text("a other/a.png\nb\n")
    data = Folder(str(root), TWO, split="train")
    assert data.mask_path(0).endswith("other/a.png") and data.mask(0).min() == 1
    assert data.mask_path(1).endswith("masks/b.png")
    (root / "val.txt").write_text("b c.png\n")
    with pytest.raises(DataError, match=r"val\.txt: 1 of 1 .* no one mask .*: line 1 'c\.png'"):
        Folder(str(root), TWO, split="val")


def test_lines_that_mean_several_images_or_one_twice(tmp_path):
    root = pair_of(tmp_path, ["x/a", "y/a", "b", "my image, 1"])
    (root / "train.txt").write_text("b\na\n")
    with pytest.raises(DataError, match=r"1 of 2 names mean several .*: line 2 'a' \(x/a, y/a\); write the folder"):
        Folder(str(root), TWO, split="train")
    (root / "val.txt").write_text("/far/away/y/a.jpg\nb\nmy image, 1\nb.png\n")
    data = Folder(str(root), TWO, split="val")
    assert data.ids == ["y/a", "b", "my image, 1"]
    assert data.notes[0].endswith("val.txt: 1 lines name an image that another line has named")


@pytest.mark.parametrize("forms", [("NFC", "NFD", "NFC"), ("NFD", "NFC", "NFD"), ("NFC", "NFC", "NFD")])
def test_accents_of_images_masks_and_lists_may_differ_in_form(tmp_path, forms):
    image, mask, line = (unicodedata.normalize(form, ACCENT) for form in forms)
    write_image(tmp_path / "images" / image / f"{image}.png")
    write_mask(tmp_path / "masks" / mask / f"{mask}_{mask}.png", rows(0, 1))
    (tmp_path / "train.txt").write_text(f"{line}/{line}\n", encoding="utf-8")
    data = Folder(str(tmp_path), TWO, split="train", mask_suffix=f"_{line}")
    assert data.ids == [f"{ACCENT}/{ACCENT}"] and data.sample(0, rng())["mask"].max() == 1
    (tmp_path / "clicks").mkdir()
    write_image(tmp_path / "clicks" / "images" / f"{image}.png")
    write_mask(tmp_path / "clicks" / "masks" / f"{mask}_1.png", rows(0, 255))
    assert len(FolderClicks(str(tmp_path / "clicks")).sample(0, rng())["objects"]) == 1
    for name, text in (("JPEGImages", image), ("SegmentationClass", mask)):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / f"{text}{'.jpg' if name == 'JPEGImages' else '.png'}")
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text(f"JPEGImages\\{line}.jpg\n", encoding="utf-8")
    assert VOC(str(tmp_path), "train").ids == [ACCENT]


def test_links_in_circles_list_each_file_once(tmp_path):
    """A link to the folder itself, to its parent, to a folder beside, two links to one folder outside."""
    pair_of(tmp_path / "set", ["a", "b/c"])
    other = tmp_path / "other"
    for folder in ("images", "masks"):
        inside = tmp_path / "set" / folder
        (inside / "self").symlink_to(inside)
        (inside / "b" / "up").symlink_to(inside)
        (inside / "again").symlink_to(inside / "b")
        (other / folder).mkdir(parents=True)
        (inside / "one").symlink_to(other / folder)
        (inside / "two").symlink_to(other / folder)
        (other / folder / "back").symlink_to(inside)
    write_image(other / "images" / "d.png")
    write_mask(other / "masks" / "d.png", rows(0, 1))
    assert Folder(str(tmp_path / "set"), TWO).ids == ["a", "b/c", "one/d"]
    (tmp_path / "linked").symlink_to(tmp_path / "set")
    assert Folder(str(tmp_path / "linked"), TWO).ids == ["a", "b/c", "one/d"]


@pytest.mark.parametrize("reader", ["VOC", "CamVid", "Folder"])
def test_advice_on_color_coded_masks_can_be_followed(tmp_path, reader):
    red = np.zeros((6, 8, 3), np.uint8)
    red[2:4] = (0, 0, 128)
    places = dict(
        VOC=("JPEGImages/a.jpg", "SegmentationClass/a.png"),
        CamVid=("train/a.png", "trainannot/a.png"),
        Folder=("images/a.png", "masks/a.png"),
    )[reader]
    for path in places:
        write_image(tmp_path / path)
        cv2.imwrite(str(tmp_path / path), red)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    data = dict(
        VOC=lambda: VOC(str(tmp_path), "train"),
        CamVid=lambda: CamVid(str(tmp_path), "train"),
        Folder=lambda: Folder(str(tmp_path), TWO),
    )[reader]()
    advice = "; set color_masks=True" if reader == "Folder" else f"{reader} has one number per pixel: .*type='Folder'"
    with pytest.raises(DataError, match=f"a color-coded mask .*{advice}"):
        data.mask(0)


def test_advice_on_labels_can_be_followed(tmp_path):
    """A set without label_map is not told to set it."""
    write_image(tmp_path / "train" / "a.png")
    write_mask(tmp_path / "trainannot" / "a.png", rows(0, 11))
    (error,) = check_dataset(CamVid(str(tmp_path), "train"), 11).errors
    assert "type='Folder' and its label_map" in error and "needs label_map" not in error
    pair_of(tmp_path, ["a"])
    write_mask(tmp_path / "masks" / "a.png", rows(0, 255))
    assert "needs label_map={255: 1}" in check_dataset(Folder(str(tmp_path), TWO), 2).errors[0]


def clicks(root, *masks):
    for number, mask in enumerate(masks):
        write_image(root / "images" / f"{number}.jpg")
        write_mask(root / "masks" / f"{number}.png", mask)
    return str(root)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 128, 200), (0, 3, 129)])
def test_objects_of_click_masks(tmp_path, values):
    """One pixel of the brightest value is the object: above 128, or 1 in masks of 0 and 1."""
    root = clicks(tmp_path, rows(*values, 0))
    sample = FolderClicks(root).sample(0, rng())
    (item,) = sample["objects"].values()
    assert (sample["layers"][:, :, item.layer] == item.value).sum() == 1
    mask = FolderClicksEval(root).sample(0, rng())["mask"]
    assert (mask == 1).sum() == 1 and mask[0, len(values) - 1] == 1
    assert (mask == -1).sum() == (128 in values)


@pytest.mark.parametrize("values", [(0, 2), (0, 1, 2), (0, 1, 128), (0, 7, 100)])
def test_click_masks_of_other_values_are_refused(tmp_path, values):
    root = clicks(tmp_path, rows(*values))
    found = ", ".join(str(value) for value in values if value not in (0, 128))
    for data in (FolderClicks(root), FolderClicksEval(root)):
        with pytest.raises(DataError, match=rf"0\.png: .*it holds {found} beside 0; set instances=True"):
            data.sample(0, rng())
    assert len(FolderClicks(root, instances=True, void=128).sample(0, rng())["objects"]) == len(found.split(", "))


def test_color_coded_click_masks_are_refused(tmp_path):
    root = clicks(tmp_path, rows(0, 1))
    red = np.zeros((6, 8, 3), np.uint8)
    red[2:4] = (0, 0, 255)
    cv2.imwrite(f"{root}/masks/0.png", red)
    with pytest.raises(DataError, match=r"0\.png: a color-coded mask whose first channel shows no object"):
        FolderClicks(root).sample(0, rng())


def test_official_click_masks_of_0_and_1(tmp_path):
    write_image(tmp_path / "data_GT" / "a.jpg")
    write_mask(tmp_path / "boundary_GT" / "a.png", rows(0, 1, 1, 0))
    assert (GrabCut(str(tmp_path)).sample(0, rng())["mask"] == 1).sum() == 2
    write_mask(tmp_path / "boundary_GT" / "a.png", rows(0, 2))
    with pytest.raises(DataError, match=r"a\.png: no pixel is brighter than 128.*save the mask as 0 and 255"):
        GrabCut(str(tmp_path)).sample(0, rng())


def test_the_check_counts_objects_to_click_on(tmp_path):
    one, none = rows(0, 255), rows(0, 0)
    report = check_dataset(FolderClicks(clicks(tmp_path / "good", one, one, one, one)), 2)
    assert report.is_ok and not report.warnings and "objects: 4 in 4 images" in report.lines
    report = check_dataset(FolderClicks(clicks(tmp_path / "some", one, none, none)), 2)
    assert report.is_ok and "2 of 3 images read have no object" in report.warnings[0]
    assert "masks/1.png" in report.warnings[0]
    (error,) = check_dataset(FolderClicks(clicks(tmp_path / "none", none, rows(0, 128))), 2).errors
    assert "2 of 2 images read have no object" in error and "nothing to click on" in error
    (error,) = check_dataset(FolderClicks(clicks(tmp_path / "other", rows(0, 2), one)), 2).errors
    assert "it holds 2 beside 0" in error


CONFIG = """
_base_ = ["segkit:_base_/models/unet_r34.py", "segkit:_base_/datasets/folder.py"]
root, classes, num_classes, crop_size = "{root}", ["ground", "cell"], 2, (32, 32)
{more}
optimizer = dict(type="AdamW", lr=1e-3)
loop = dict(steps=1)
"""


def check(tmp_path, capsys, root, more=""):
    """The lines that `segkit train CONFIG --check` prints, on either stream."""
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(root=root, more=more))
    code = main(["train", str(path), "--check"])
    out = capsys.readouterr()
    return code, (out.out + out.err).splitlines()


@pytest.mark.parametrize("how", ["one list", "a link to the folder", "a link to a file"])
def test_images_in_train_and_in_val_are_counted(tmp_path, capsys, how):
    root = tmp_path / "set"
    for folder in ("images", "masks"):
        for name in ("a", "b", "c"):
            make = write_image if folder == "images" else lambda path: write_mask(path, rows(0, 1))
            make(root / folder / "train" / f"{name}.png")
    shared = 3
    if how == "one list":
        (root / "val.txt").write_text("train/a\ntrain/b\ntrain/c\n")
    elif how == "a link to the folder":
        for folder in ("images", "masks"):
            (root / folder / "val").symlink_to(root / folder / "train")
    else:
        shared = 1
        write_image(root / "images/val/d.png")
        write_mask(root / "masks/val/d.png", rows(0, 1))
        for folder in ("images", "masks"):
            (root / folder / "val" / "e.png").symlink_to(root / folder / "train" / "c.png")
    code, lines = check(tmp_path, capsys, root)
    (line,) = [line for line in lines if "also in train" in line]
    total = 2 if how == "a link to a file" else 3
    assert code == 0 and line.startswith(f"val: warning: {shared} of {total} images are also in train (")


def test_images_of_their_own_are_not_warned_of(tmp_path, capsys):
    for part, axis in (("train", 0), ("val", 1)):
        path = tmp_path / "set/images" / part / "a.png"
        write_image(path)
        stripes = np.where(np.indices(cv2.imread(str(path)).shape)[axis] % 2, 90, 150)
        cv2.imwrite(str(path), stripes.astype(np.uint8))
        write_mask(tmp_path / "set/masks" / part / "a.png", rows(0, 1))
    code, lines = check(tmp_path, capsys, tmp_path / "set")
    assert code == 0 and not any("warning" in line for line in lines)
