"""The evaluation sets of later click methods: HQSeg-44K, DAVIS-585, TETRIS, and COCO_MVal by a threshold."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from segkit.data.interactive.davis585 import DAVIS585
from segkit.data.interactive.grabcut import COCOMVal
from segkit.data.interactive.hqseg import TRAIN, VAL, HQSeg44K, HQSeg44KClicks
from segkit.data.interactive.tetris import TETRIS, limited, objects_of, resize_labels
from segkit.data.loader import collate_eval
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask

RNG = np.random.default_rng(0)
FIXTURES = Path(__file__).parents[1] / "fixtures/clicks"


def write_colors(path: Path, *pixels: tuple[int, int, int], size=(6, 8)) -> None:
    """A mask whose first row begins with these colors, blue first; the rest is black."""
    mask = np.zeros((*size, 3), np.uint8)
    for x, color in enumerate(pixels):
        mask[0, x] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)


def test_coco_mval_by_clicksegs_threshold(tmp_path):
    write_image(tmp_path / "img/f.jpg")
    write_colors(tmp_path / "gt/f.png", (0, 255, 0), (128, 0, 0), (129, 0, 0), (255, 255, 255))
    assert COCOMVal(str(tmp_path)).mask(0)[0, :5].tolist() == [1, 1, 1, 1, 0]
    assert COCOMVal(str(tmp_path), above=128).mask(0)[0, :5].tolist() == [0, 0, 1, 1, 0]
    with pytest.raises(DataError, match="the object has no pixel"):
        write_colors(tmp_path / "gt/f.png", (0, 255, 0))
        COCOMVal(str(tmp_path), above=128).mask(0)


def test_hqseg_in_its_published_order(tmp_path):
    for number, (images, masks) in enumerate(VAL.values()):
        for name in ("b", "a"):
            write_image(tmp_path / images / f"{name}.jpg")
            write_colors(tmp_path / masks / f"{name}.png", *[(0, 0, 1)] * (number + 1))
    dataset = HQSeg44K(str(tmp_path))
    assert list(dataset.ids)[:3] == ["DIS5K-VD/a", "DIS5K-VD/b", "ThinObject5K-TE/a"] and len(dataset) == 8
    assert [int(dataset.mask(i).sum()) for i in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert dataset.sample(7, RNG)["mask"].dtype == np.int8 and dataset.path(7).endswith("HRSOD/images/b.jpg")
    assert list(HQSeg44K(str(tmp_path), sets=("COIFT",)).ids) == ["COIFT/a", "COIFT/b"]
    write_colors(tmp_path / VAL["COIFT"][1] / "a.png")
    with pytest.raises(DataError, match=r"COIFT/masks/a\.png: the object has no pixel"):
        dataset.mask(4)
    (tmp_path / VAL["COIFT"][1] / "a.png").unlink()
    with pytest.raises(DataError, match="1 of 2 images have no mask"):
        HQSeg44K(str(tmp_path))


def test_hqseg_for_training(tmp_path):
    for name in ("FSS", "DIS5K-TR"):
        images, masks = TRAIN[name]
        write_image(tmp_path / images / "a.jpg")
        write_colors(tmp_path / masks / "a.png", (0, 0, 1), (255, 255, 255))
    dataset = HQSeg44KClicks(str(tmp_path), sets=("DIS5K-TR", "FSS"))
    sample = dataset.sample(1, RNG)
    assert list(dataset.ids) == ["DIS5K-TR/a", "FSS/a"] and list(sample["objects"]) == [1]
    assert sample["layers"][0, :3, 0].tolist() == [1, 1, 0] and sample["layers"].sum() == 2


def test_davis585_from_zero_and_from_a_mask(tmp_path):
    for name in ("00010", "00005"):
        write_image(tmp_path / "bear" / f"{name}.jpg")
        for number in (1, 2):
            write_mask(tmp_path / "bear" / f"object{number}_{name}.png", rows(*[255] * number, 0))
            write_mask(tmp_path / "bear" / f"init_sp_object{number}_{name}.png", rows(0, 0, 200, 128))
    zero, begun = DAVIS585(str(tmp_path)), DAVIS585(str(tmp_path), start="sp")
    expected = [f"bear/object{number}_{name}" for number in (1, 2) for name in ("00005", "00010")]
    assert list(zero.ids) == list(begun.ids) == expected
    assert zero.path(1).endswith("bear/00010.jpg") and int(zero.mask(3)[0].sum()) == 2
    samples = [begun.sample(i, RNG) for i in (0, 3)]
    assert "start" not in zero.sample(0, RNG)
    assert samples[0]["start"][0, :5].tolist() == [0, 0, 1, 0, 0] and samples[0]["start"].dtype == np.uint8
    assert [start.shape for start in collate_eval(samples)["start"]] == [(6, 8)] * 2
    with pytest.raises(DataError, match=r"4 of 4 objects have no mask init_stm_objectK_NAME\.png"):
        DAVIS585(str(tmp_path), start="stm")
    (tmp_path / "bear/00010.jpg").unlink()
    with pytest.raises(DataError, match="2 of 4 masks have no image"):
        DAVIS585(str(tmp_path))
    for path in (tmp_path / "bear").glob("*object*"):
        path.unlink()
    write_mask(tmp_path / "bear/other.png", 0)
    with pytest.raises(DataError, match="no objects here"):
        DAVIS585(str(tmp_path))


def test_tetris_sizes_and_objects_are_published():
    stored, arrays = json.loads((FIXTURES / "tetris_resize.json").read_text()), np.load(FIXTURES / "tetris_resize.npz")
    labels = arrays["values"][arrays["mask"]]
    image = (np.random.RandomState(0).rand(300, 420, 3) * 255).astype(np.uint8)
    for longest, expected in stored["results"].items():
        size = limited((300, 420), int(longest))
        assert list(size) == expected["size"]
        resized = resize_labels(labels, size)
        assert np.array_equal(resized, arrays[f"values_{longest}"][arrays[f"mask_{longest}"]])
        found, counts = np.unique(resized[resized > 0], return_counts=True)
        assert (found.tolist(), counts.tolist()) == (expected["labels"], expected["pixels"])
        shrunk = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        assert int(shrunk.sum(dtype=np.int64)) == expected["image_sum"]
    assert limited((420, 300), 100) == (100, 71) and limited((10, 10), 4) == (4, 4)


def test_tetris_items(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    assert objects_of(np.uint8([[[1, 2, 3], [0, 0, 7]]])).tolist() == [[65536 + 512 + 3, 7]]
    assert objects_of(np.uint8([[[2]]])).tolist() == [[2 * 65536 + 2 * 256 + 2]]
    write_image(tmp_path / "images/cat.jpg", (6, 8))
    write_colors(tmp_path / "masks/cat.png", (0, 0, 7), (0, 0, 7), (1, 0, 0))
    dataset = TETRIS(str(tmp_path))
    assert list(dataset.ids) == ["cat_7", "cat_65536"] and dataset.mask(0)[0, :4].tolist() == [1, 1, 0, 0]
    sample = dataset.sample(1, RNG)
    assert sample["image"].shape == (6, 8, 3) and sample["mask"].sum() == 1 and sample["meta"]["size"] == (6, 8)
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[:, :4] = (0, 0, 7)
    cv2.imwrite(str(tmp_path / "masks/cat.png"), mask)
    small = TETRIS(str(tmp_path), longest=4).sample(0, RNG)
    assert small["image"].shape == (3, 4, 3) and small["mask"].tolist() == [[1, 1, 0, 0]] * 3
    (tmp_path / "masks/cat.png").unlink()
    with pytest.raises(DataError, match="1 of 1 images have no mask"):
        TETRIS(str(tmp_path))
