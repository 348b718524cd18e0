"""Pascal VOC 2012 in its official layout, augmented by SBD in each of the forms it is handed around in."""

import numpy as np
import pytest
from scipy.io import savemat

from segkit.data.semantic.voc import VOC
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask


def write_list(root, split, names):
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names) + "\n")


@pytest.fixture
def root(tmp_path):
    """Images a..e: a in train, b in val, c and d labelled by SBD alone, e in test; SBD labels b too."""
    for name in "abcde":
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg")
    for name in "ab":
        write_mask(tmp_path / "SegmentationClass" / f"{name}.png", rows(0, 20, 255), palette=True)
    for split, names in {"train": "a", "val": "b", "trainval": "ab", "test": "e"}.items():
        write_list(tmp_path, split, names)
    return tmp_path


def test_official_splits_keep_palette_indices(root):
    assert [VOC(str(root), split).ids for split in ("train", "val", "trainval")] == [["a"], ["b"], ["a", "b"]]
    assert VOC(str(root)).mask(0)[0, :3].tolist() == [0, 20, 255]
    test = VOC(str(root), "test")
    assert test.ids == ["e"] and not test.has_mask(0)
    assert VOC.classes[15] == "person" and VOC.palette[15] == (192, 128, 128)


def test_train_aug_without_a_list_is_everything_but_val(root):
    for name in "abcd":
        write_mask(root / "SegmentationClassAug" / f"{name}.png", rows(0, 7))
    voc = VOC(str(root), "train_aug")
    assert voc.ids == ["a", "c", "d"]
    assert voc.mask(0)[0, :2].tolist() == [0, 7]
    # the official splits still read the official masks
    assert VOC(str(root), "val").mask(0)[0, 1] == 20


@pytest.mark.parametrize("name", ["train_aug", "trainaug"])
@pytest.mark.parametrize("line", ["{}", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"])
def test_train_aug_from_a_list(root, name, line):
    for stem in "abcd":
        write_mask(root / "SegmentationClassAug" / f"{stem}.png", 1)
    write_list(root, name, [line.format(stem) for stem in "da"])
    assert VOC(str(root), "train_aug").ids == ["d", "a"]


def test_train_aug_from_the_official_sbd(root, tmp_path):
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    for name in "abc":
        truth = np.zeros((1, 1), dtype=[("Segmentation", object)])
        truth[0, 0]["Segmentation"] = rows(0, 12)
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": truth})
    voc = VOC(str(root), "train_aug", sbd=str(sbd))
    assert voc.ids == ["a", "c"]
    assert voc.mask(0)[0, 1] == 20, "VOC's own mask goes first"
    assert voc.mask(1)[0, :2].tolist() == [0, 12] and voc.mask(1).dtype == np.uint8
    (sbd / "cls" / "c.mat").write_bytes(b"no mat file, but long enough to be looked at" * 8)
    with pytest.raises(DataError, match=r"c\.mat: no SBD label file"):
        VOC(str(root), "train_aug", sbd=str(sbd)).mask(1)


def test_errors(root):
    with pytest.raises(DataError, match="train_aug needs SegmentationClassAug"):
        VOC(str(root), "train_aug")
    with pytest.raises(DataError, match="no split 'trian'"):
        VOC(str(root), "trian")
    write_list(root, "train", "az")
    with pytest.raises(DataError, match="1 of 2 masks are missing: z"):
        VOC(str(root))
    write_mask(root / "SegmentationClass" / "z.png", 0)
    with pytest.raises(DataError, match="1 images are missing: z"):
        VOC(str(root))
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: No such file"):
        VOC(str(root), "val")
