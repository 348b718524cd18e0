"""Folder: pairing, splits, mappings and everything a user's own folder can get wrong."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from segkit.data.files.labels import LabelError
from segkit.data.semantic.folder import Folder
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.schema import check
from tests.data.layouts import rows, write_image, write_mask

RNG = np.random.default_rng(0)
TWO = ["ground", "cell"]
NAMES = ("Folder", "Labelled", "LargeImages")


def make(root: Path, names: tuple[str, ...] = ("a", "b"), labels: object = None, end: str = "") -> Path:
    for name in names:
        write_image(root / "images" / f"{name}.jpg")
        write_mask(root / "masks" / f"{name}{end}.png", rows(0, 1, 255) if labels is None else labels)
    return root


def test_pairs_by_name(tmp_path):
    make(tmp_path)
    write_image(tmp_path / "images" / "deep" / "c.PNG")
    write_mask(tmp_path / "masks" / "deep" / "c.png", rows(1))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / ".hidden.jpg").write_text("no image")
    folder = Folder(str(tmp_path), TWO)
    assert folder.ids == ["a", "b", "deep/c"] and len(folder) == 3
    sample = folder.sample(0, RNG)
    assert sample["image"].shape == (6, 8, 3) and sample["image"].dtype == np.uint8
    assert sample["mask"][0].tolist() == [0, 1, 255, 255, 255, 255, 255, 255]
    assert sample["meta"]["path"].endswith("a.jpg") and sample["meta"]["size"] == (6, 8)
    assert folder.mask_path(2).endswith("deep/c.png") and len(folder.palette) == 2 and folder.notes == ()


@pytest.mark.parametrize("suffix", ["_mask", "_mask.png"])
def test_mask_suffix(tmp_path, suffix):
    make(tmp_path, end="_mask")
    assert Folder(str(tmp_path), TWO, mask_suffix=suffix).mask(1)[0, 1] == 1


def test_splits_by_folder_list_and_either_order(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / "one" / "images" / split / f"{split}.jpg")
        write_mask(tmp_path / "one" / "masks" / split / f"{split}.png", 1)
        write_image(tmp_path / "two" / split / "images" / f"{split}.jpg")
        write_mask(tmp_path / "two" / split / "masks" / f"{split}.png", 1)
    for root in ("one", "two"):
        assert Folder(str(tmp_path / root), TWO, split="val").ids == ["val"]
    make(tmp_path / "three", ("a", "b", "c"))
    (tmp_path / "three" / "train.txt").write_text("c\na.jpg\n\n")
    assert Folder(str(tmp_path / "three"), TWO, split="train").ids == ["c", "a"]
    assert Folder(str(tmp_path / "three"), TWO, split="train.txt").ids == ["c", "a"]
    with pytest.raises(DataError, match=r"split 'test': found none of .*test\.txt"):
        Folder(str(tmp_path / "three"), TWO, split="test")
    (tmp_path / "three" / "val.txt").write_text("a\nz\n")
    with pytest.raises(DataError, match=r"val\.txt: 1 of 2 names have no image in .*images: line 2 'z'"):
        Folder(str(tmp_path / "three"), TWO, split="val")
    (tmp_path / "three" / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.txt: the list is empty"):
        Folder(str(tmp_path / "three"), TWO, split="empty")


def test_image_without_mask_is_named(tmp_path):
    make(tmp_path, ("a", "b", "c"))
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images have no mask in .*masks: .*b\.jpg.*skip_unlabelled=True"):
        Folder(str(tmp_path), TWO)
    assert Folder(str(tmp_path), TWO, skip_unlabelled=True).ids == ["a", "c"]


def test_mask_without_image_is_a_note(tmp_path):
    make(tmp_path)
    write_mask(tmp_path / "masks" / "lonely.png", 0)
    (note,) = Folder(str(tmp_path), TWO).notes
    assert "1 masks have no image" in note and "lonely.png" in note


def test_images_alone(tmp_path):
    make(tmp_path)
    folder = Folder(str(tmp_path), TWO, masks=None)
    assert not folder.has_mask(0) and "mask" not in folder.sample(0, RNG)
    with pytest.raises(DataError, match="has no mask"):
        folder.mask(0)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(DataError, match="images: no such folder; Folder expects"):
        Folder(str(tmp_path), TWO)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="no images"):
        Folder(str(tmp_path), TWO)


def test_one_name_twice(tmp_path):
    make(tmp_path)
    write_image(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="one name twice"):
        Folder(str(tmp_path), TWO)


def test_class_list_shorter_than_labels(tmp_path):
    folder = Folder(str(make(tmp_path, labels=rows(0, 1, 2))), TWO)
    with pytest.raises(LabelError, match=r"a\.png: label 2 \(first at x=2, y=0\) beyond the 2 classes"):
        folder.sample(0, RNG)


def test_label_map_by_number_and_name(tmp_path):
    make(tmp_path, labels=rows(0, 255, 7, 9))
    folder = Folder(str(tmp_path), TWO, label_map={255: "cell", 7: 0, 9: "ignore"})
    assert folder.mask(0)[0, :4].tolist() == [0, 1, 0, 255]


def test_reduce_zero_label_and_ignore(tmp_path):
    make(tmp_path, labels=rows(0, 1, 2, 99))
    folder = Folder(str(tmp_path), TWO, reduce_zero_label=True, ignore=[99])
    assert folder.mask(0)[0, :4].tolist() == [255, 0, 1, 255]


@pytest.mark.parametrize("dataset", [*(dict(type=name, root="a") for name in NAMES), dict(type="Shards", urls="a.tar")])
def test_configs_take_colors_as_text_and_as_numbers(dataset):
    dataset |= dict(classes=TWO, palette=["#000000", (255, 0, 0)])
    check({"val": dict(dataset=dataset)}, needed=())
    with pytest.raises(ConfigError, match=r"val\.dataset\.palette\.0 = 7: must be a list, each a whole number or text"):
        check({"val": dict(dataset=dataset | dict(palette=[7, (255, 0, 0)]))}, needed=())


def test_sixteen_bit_and_palette_masks(tmp_path):
    make(tmp_path)
    write_mask(tmp_path / "masks" / "a.png", rows(0, 1, 1).astype(np.uint16) * 1000)
    write_mask(tmp_path / "masks" / "b.png", rows(1, 0, 1), palette=True)
    folder = Folder(str(tmp_path), TWO, label_map={1000: 1})
    assert folder.mask(0)[0, :3].tolist() == [0, 1, 1] and folder.mask(1)[0, :3].tolist() == [1, 0, 1]


def test_color_coded_masks(tmp_path):
    make(tmp_path)
    colors = np.zeros((6, 8, 3), np.uint8)
    colors[0, 0], colors[0, 1] = (255, 0, 0), (255, 255, 255)
    for name in "ab":
        write_mask(tmp_path / "masks" / f"{name}.png", colors)
    palette = [(0, 0, 0), (255, 0, 0)]
    for folder in (
        Folder(str(tmp_path), TWO, palette=palette, color_masks=True, label_map={"#ffffff": "ignore"}),
        Folder(str(tmp_path), TWO, label_map={(0, 0, 0): 0, (255, 0, 0): "cell", "255,255,255": None}),
    ):
        assert folder.mask(0)[0, :3].tolist() == [1, 255, 0]
    with pytest.raises(LabelError, match=r"a\.png: the color \(255, 255, 255\) at x=1, y=0"):
        Folder(str(tmp_path), TWO, palette=palette, color_masks=True).mask(0)
    with pytest.raises(DataError, match="color-coded mask"):
        Folder(str(tmp_path), TWO, palette=palette).mask(0)
    with pytest.raises(DataError, match="name the colors"):
        Folder(str(tmp_path), TWO, color_masks=True)


def test_soft_edges_within_a_tolerance(tmp_path):
    make(tmp_path)
    colors = np.zeros((6, 8, 3), np.uint8)
    # 10 and 30 from red; 20 from black in one channel
    colors[0, :4] = (255, 0, 0), (245, 0, 5), (225, 10, 0), (20, 0, 0)
    for name in "ab":
        write_mask(tmp_path / "masks" / f"{name}.png", colors)
    palette = [(0, 0, 0), (255, 0, 0)]
    wide = Folder(str(tmp_path), TWO, palette=palette, color_masks=True, tolerance=30)
    assert wide.mask(0)[0, :5].tolist() == [1, 1, 1, 0, 0]
    assert wide._colors.nearest(colors)[2] == 3
    assert len(pickle.dumps(wide)) < 1 << 20 and pickle.loads(pickle.dumps(wide)).mask(0)[0, 1] == 1
    with pytest.raises(LabelError, match=r"the color \(225, 10, 0\) at x=2, y=0 belongs to no class.*tolerance=N"):
        Folder(str(tmp_path), TWO, palette=palette, color_masks=True, tolerance=29).mask(0)
    with pytest.raises(DataError, match="tolerance = 5: counts for color-coded masks alone"):
        Folder(str(tmp_path), TWO, tolerance=5)


def test_channels(tmp_path):
    make(tmp_path, ("a",))
    (tmp_path / "images" / "a.jpg").unlink()
    np.save(tmp_path / "images" / "a.npy", np.full((6, 8, 5), 0.5))
    sample = Folder(str(tmp_path), TWO, channels=5).sample(0, RNG)
    assert sample["image"].shape == (6, 8, 5) and sample["image"].dtype == np.float32
    with pytest.raises(DataError, match=r"a\.npy.*set channels=5"):
        Folder(str(tmp_path), TWO).sample(0, RNG)


def test_mask_of_another_size(tmp_path):
    make(tmp_path)
    write_mask(tmp_path / "masks" / "a.png", np.zeros((8, 6), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: mask of 6x8 pixels for an image of 8x6.*turned by 90 degrees"):
        Folder(str(tmp_path), TWO).sample(0, RNG)


def test_palette_is_checked(tmp_path):
    make(tmp_path)
    with pytest.raises(DataError, match="1 colors for 2 classes"):
        Folder(str(tmp_path), TWO, palette=[(0, 0, 0)])
    with pytest.raises(DataError, match=r"palette\[1\]"):
        Folder(str(tmp_path), TWO, palette=[(0, 0, 0), (0, 0, 300)])
