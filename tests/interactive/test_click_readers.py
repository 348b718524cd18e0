"""Readers of the official layouts for clicks, on small files of each."""

import json
import pickle
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from segkit.data.interactive.ade20k import ADE20KClicks
from segkit.data.interactive.folder import FolderClicks, FolderClicksEval
from segkit.data.interactive.lvis import LVISClicks, filled, without_covered
from segkit.data.interactive.open_images import OpenImagesClicks
from segkit.data.interactive.panoptic import COCOPanopticClicks
from segkit.data.interactive.voc import SBDClicks, SBDClicksEval, VOCClicks, VOCClicksEval, equal_greys
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask
from tests.data.test_voc import write_list
from tests.interactive.test_click_sets import box, drawn, of


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEGKIT_CACHE", str(folder))
    return folder


def rng(seed=0):
    return np.random.default_rng(seed)


def areas(sample):
    return {number: int(of(sample, number).sum()) for number in sample["objects"]}


# Pascal VOC


@pytest.fixture
def voc(tmp_path):
    for name in "abc":
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg")
    for name, labels in {"a": rows(1, 16, 2, 255, 0), "b": rows(3, 3, 0), "c": rows(255, 0)}.items():
        write_mask(tmp_path / "SegmentationObject" / f"{name}.png", labels, palette=True)
    write_list(tmp_path, "train", ["a"])
    write_list(tmp_path, "val", ["a", "b", "c"])
    return tmp_path


def test_voc_objects_by_palette_index(voc):
    sample = VOCClicks(str(voc)).sample(0, rng())
    assert list(areas(sample).values()) == [1, 1, 1]
    assert [int(np.flatnonzero(of(sample, n)[0])[0]) for n in sample["objects"]] == [0, 2, 1]  # values 1, 2, 16
    layer, value = sample["ignored"][0]
    assert np.argwhere(sample["layers"][..., layer] == value).tolist() == [[0, 3]]


def test_voc_evaluation_list_is_made_from_the_masks(voc, cache):
    dataset = VOCClicksEval(str(voc))
    assert list(dataset.ids) == ["a_1", "a_2", "a_16", "b_3"]
    assert dataset.sample(2, rng())["mask"][0, :5].tolist() == [0, 1, 0, -1, 0]
    assert len(list(cache.rglob("*.index"))) == 1
    assert list(VOCClicksEval(str(voc)).ids) == list(dataset.ids)


def test_equal_greys_merge_on_request(voc):
    same = equal_greys()
    assert [(i, same[i]) for i in range(60) if same[i] != i] == [(16, 1), (18, 3), (21, 6), (24, 9), (54, 39), (57, 42)]
    dataset = VOCClicksEval(str(voc), merge_greys=True)
    assert list(dataset.ids) == ["a_1", "a_2", "b_3"]
    assert dataset.mask(0)[0, :5].tolist() == [1, 1, 0, -1, 0]


def test_voc_files_that_are_missing(voc):
    (voc / "SegmentationObject" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 files are missing: b\.png"):
        VOCClicksEval(str(voc))
    with pytest.raises(DataError, match="no split 'tset'"):
        VOCClicks(str(voc), "tset")


# SBD


def write_inst(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = [("Segmentation", object), ("Categories", object)]
    truth = np.empty((1, 1), kind)
    truth[0, 0] = (np.asarray(labels, np.uint8), np.zeros((3, 1), np.uint8))
    savemat(path, {"GTinst": truth})


@pytest.fixture
def sbd(tmp_path):
    diagonal = np.zeros((30, 30), np.uint8)
    np.fill_diagonal(diagonal, 2)  # 30 of 900 pixels: a share of 1/30 of its box
    diagonal[:5, 10:15] = 1
    diagonal[20:, :5] = 3
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(f"{split}_1\n")
        write_image(tmp_path / "img" / f"{split}_1.jpg", (30, 30))
        write_inst(tmp_path / "inst" / f"{split}_1.mat", diagonal)
    return tmp_path


def test_sbd_training_drops_sparse_objects(sbd):
    sample = SBDClicks(str(sbd)).sample(0, rng())
    assert areas(sample) == {1: 25, 3: 50} and sample["ignored"] == []
    assert (sample["layers"] > 0).sum() == 75  # the sparse one is background
    assert sorted(SBDClicks(str(sbd), min_fill=0.01).sample(0, rng())["objects"]) == [1, 2, 3]


def test_sbd_evaluation_keeps_all_objects(sbd):
    dataset = SBDClicksEval(str(sbd))
    assert list(dataset.ids) == ["val_1_1", "val_1_2", "val_1_3"]
    mask = dataset.sample(1, rng())["mask"]
    assert mask.dtype == np.int8 and mask.sum() == 30 and np.array_equal(mask, np.eye(30))


def test_sbd_evaluation_by_the_published_list(sbd):
    path = sbd / "val_images_and_ids_list.pkl"
    path.write_bytes(pickle.dumps([("val_1", np.uint8(3)), ("val_1", 1)]))
    assert list(SBDClicksEval(str(sbd)).ids) == ["val_1_3", "val_1_1"]
    path.write_bytes(pickle.dumps([("other", 3)]))
    with pytest.raises(DataError, match="other: not of this split"):
        SBDClicksEval(str(sbd))
    path.write_bytes(pickle.dumps([("val_1", 9)]))
    with pytest.raises(DataError, match=r"val_1\.mat, object 9: the object has no pixel"):
        SBDClicksEval(str(sbd)).sample(0, rng())


def test_damaged_sbd_file(sbd):
    (sbd / "inst" / "train_1.mat").write_bytes(b"MATLAB 5.0 MAT-file, no more")
    with pytest.raises(DataError, match="no SBD instance file"):
        SBDClicks(str(sbd)).sample(0, rng())


# COCO panoptic


@pytest.fixture
def panoptic(tmp_path):
    """Things 7 and 70000, crowd 300, stuff 9."""
    ids = np.zeros((6, 8), np.int64)
    ids[:, :2], ids[:, 2:4], ids[:, 4], ids[:, 5:7] = 7, 70000, 300, 9
    picture = np.stack([ids >> 16, (ids >> 8) & 255, ids & 255], axis=2).astype(np.uint8)  # BGR
    folder = tmp_path / "annotations" / "panoptic_val2017"
    folder.mkdir(parents=True)
    segments = [
        {"id": 7, "category_id": 1, "iscrowd": 0},
        {"id": 70000, "category_id": 1, "iscrowd": 0},
        {"id": 300, "category_id": 1, "iscrowd": 1},
        {"id": 9, "category_id": 2, "iscrowd": 0},
    ]
    entries = [{"file_name": "a.png", "segments_info": segments}, {"file_name": "b.png", "segments_info": segments[2:]}]
    for entry in entries:
        cv2.imwrite(str(folder / entry["file_name"]), picture)
        write_image(tmp_path / "val2017" / entry["file_name"].replace("png", "jpg"))
    content = {"annotations": entries, "categories": [{"id": 1, "isthing": 1}, {"id": 2, "isthing": 0}]}
    folder.with_suffix(".json").write_text(json.dumps(content))
    return tmp_path


def test_panoptic_things_and_stuff(panoptic):
    dataset = COCOPanopticClicks(str(panoptic), "val2017")
    assert list(dataset.ids) == ["a"]  # b has a crowd and stuff alone
    sample = dataset.sample(0, rng())
    assert areas(sample) == {7: 12, 70000: 12} and sample["ignored"] == []
    assert np.array_equal(of(sample, 70000), drawn(2, 0, 4, 6)) and (sample["layers"] > 0).sum() == 24
    both = COCOPanopticClicks(str(panoptic), "val2017", stuff_prob=1.0)
    assert list(both.ids) == ["a", "b"] and areas(both.sample(1, rng())) == {9: 12}
    assert set(both.sample(0, rng())["objects"]) == {7, 70000, 9}
    some = COCOPanopticClicks(str(panoptic), "val2017", stuff_prob=0.3)
    kept = np.mean([9 in some.packed(0, rng(seed)).objects for seed in range(600)])
    assert abs(kept - 0.3) < 0.08  # 4 standard deviations


def test_panoptic_files_that_cannot_be_used(panoptic):
    (panoptic / "annotations" / "panoptic_val2017" / "a.png").unlink()
    with pytest.raises(DataError, match="1 of 1 PNGs are missing: a"):
        COCOPanopticClicks(str(panoptic), "val2017")
    (panoptic / "annotations" / "panoptic_val2017.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="no panoptic annotations"):
        COCOPanopticClicks(str(panoptic), "val2017")
    with pytest.raises(DataError, match=r"stuff_prob = 1\.5"):
        COCOPanopticClicks(str(panoptic), "val2017", stuff_prob=1.5)


# LVIS


def test_lvis_polygons_are_rounded_and_filled():
    mask = filled([[0.4, 0.4, 2.6, 0.4, 2.6, 1.4, 0.4, 1.4], [5, 5, 5, 5, 5, 5]], (6, 8))
    assert np.array_equal(mask, drawn(0, 0, 4, 2) | drawn(5, 5, 6, 6))  # outlines belong to it


def test_what_covers_too_much_is_left_out():
    large, half, inner = drawn(0, 0, 4, 4), drawn(0, 2, 4, 6), drawn(0, 0, 4, 3)
    labels, kept = without_covered([large, half, inner], [0, 1, 2])
    # half covers 8 of 16 pixels, not more than a half; 12 pixels of inner are covered whole
    assert kept == [0, 1] and np.bincount(labels.ravel()).tolist() == [24, 8, 16]
    _, kept = without_covered([large, half, inner], [2, 0])
    assert kept == [2]  # large would cover all of inner
    _, kept = without_covered([large, half, inner], [1, 0, 2])
    assert kept == [1, 0]
    assert without_covered([np.zeros((2, 2), bool)], [0])[1] == []


def test_lvis_layout(tmp_path):
    write_image(tmp_path / "train" / "images" / "000000000042.jpg")
    content = {
        "images": [{"id": 42, "height": 6, "width": 8, "coco_url": "http://x/train2017/000000000042.jpg"}],
        "annotations": [
            {"id": 5, "image_id": 42, "category_id": 1, "segmentation": box(0, 0, 2, 2)},
            {"id": 6, "image_id": 42, "category_id": 1, "segmentation": box(4, 0, 7, 5)},
        ],
        "categories": [{"id": 1, "name": "x"}],
    }
    for name in ("lvis_train.json", "lvis_v1_train.json"):
        (tmp_path / "train" / name).write_text(json.dumps(content))
        dataset = LVISClicks(str(tmp_path))
        assert list(dataset.ids) == ["000000000042"]
        assert areas(dataset.sample(0, rng())) == {5: 9, 6: 24}
        (tmp_path / "train" / name).unlink()
    with pytest.raises(DataError, match=r"lvis_train\.json"):
        LVISClicks(str(tmp_path))


def test_lvis_order_is_random(tmp_path):
    write_image(tmp_path / "train" / "images" / "1.jpg", (20, 20))
    shapes = [box(0, 0, 11, 11), box(8, 8, 19, 19)]
    content = {
        "images": [{"id": 1, "height": 20, "width": 20, "coco_url": "http://x/1.jpg"}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 1, "segmentation": s} for i, s in enumerate(shapes)],
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "train" / "lvis_train.json").write_text(json.dumps(content))
    dataset = LVISClicks(str(tmp_path))
    seen = {tuple(areas(dataset.sample(0, rng(seed))).items()) for seed in range(20)}
    assert {tuple(sorted(one)) for one in seen} == {((0, 144), (1, 128)), ((0, 128), (1, 144))}


# OpenImages and ADE20K


def test_open_images_take_one_mask_at_the_smaller_size(tmp_path):
    place = tmp_path / "val"
    write_image(place / "images" / "i.jpg", (12, 8))
    write_mask(place / "masks" / "m1.png", np.pad(np.full((2, 4), 255, np.uint8), ((0, 4), (0, 12))))  # 6 x 16
    write_mask(place / "masks" / "m0.png", np.zeros((12, 8), np.uint8))
    path = place / "val-annotations-object-segmentation_clean.pkl"
    with pytest.raises(DataError, match="segkit prepare openimages"):
        OpenImagesClicks(str(tmp_path), "val")
    path.write_bytes(pickle.dumps({"image_id_to_masks": {"i": ["m0.png", "m1.png"]}, "dataset_samples": ["i"]}))
    dataset = OpenImagesClicks(str(tmp_path), "val")
    samples = [dataset.sample(0, rng(seed)) for seed in range(12)]
    assert {s["image"].shape for s in samples} == {(12, 8, 3), (6, 8, 3)}
    for sample in samples:
        is_empty = sample["image"].shape[0] == 12
        assert sample["layers"].shape[:2] == sample["image"].shape[:2] == sample["meta"]["size"]
        assert areas(sample) == ({} if is_empty else {1: 4})
    path.write_bytes(pickle.dumps({"image_id_to_masks": {}, "dataset_samples": ["i"]}))
    with pytest.raises(DataError, match="expected image_id_to_masks"):
        OpenImagesClicks(str(tmp_path), "val")


def test_ade20k_layers_and_stuff_by_number(tmp_path):
    folder = tmp_path / "images" / "training" / "s" / "street"
    write_image(folder / "ADE_train_1.jpg")
    for name, blue in {"seg": rows(5, 9, 0), "parts_1": rows(0, 0, 2, 0)}.items():
        picture = np.zeros((6, 8, 3), np.uint8)
        picture[..., 0], picture[..., 1] = blue, 77
        cv2.imwrite(str(folder / f"ADE_train_1_{name}.png"), picture)
    layers = [
        {"mask_name": "ADE_train_1_seg.png", "instance_to_class": {}, "object_instances": [5], "stuff_instances": [9]},
        {
            "mask_name": "ADE_train_1_parts_1.png",
            "instance_to_class": {},
            "object_instances": [2],
            "stuff_instances": [],
        },
    ]
    entry = {"folder": PurePosixPath("images/training/s/street"), "layers": layers}
    path = tmp_path / "train-annotations-object-segmentation.pkl"
    path.write_bytes(pickle.dumps({"ADE_train_1": entry}))
    seen = [areas(ADE20KClicks(str(tmp_path)).sample(0, rng(seed))) for seed in range(10)]
    assert {tuple(one.items()) for one in seen} == {((5, 1),), ((2, 1),)}  # 9 is stuff
    seen = [ADE20KClicks(str(tmp_path), stuff_prob=1.0).sample(0, rng(seed))["objects"] for seed in range(10)]
    assert {tuple(one) for one in seen} == {(5, 9), (2,)}


# folders


def test_folder_with_a_mask_per_object(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write_image(tmp_path / "images" / "b_1.jpg")
    write_mask(tmp_path / "masks" / "a_2.png", rows(255, 255, 128, 0))
    write_mask(tmp_path / "masks" / "a_10.png", rows(0, 200, 127, 0))
    write_mask(tmp_path / "masks" / "b_1.png", rows(255, 0))
    write_mask(tmp_path / "masks" / "c_1.png", rows(255, 0))
    dataset = FolderClicks(str(tmp_path))
    assert dataset.ids == ["a", "b_1"] and "c_1.png" in dataset.notes[0]
    sample = dataset.sample(0, rng())
    assert areas(sample) == {1: 2, 2: 1} and sample["layers"].shape == (6, 8, 2)
    assert [int((sample["layers"][..., layer] == value).sum()) for layer, value in sample["ignored"]] == [1]
    single = FolderClicksEval(str(tmp_path))
    assert single.ids == ["a_2", "a_10", "b_1"]
    assert single.sample(0, rng())["mask"][0, :4].tolist() == [1, 1, -1, 0]
    assert single.sample(1, rng())["mask"][0, :4].tolist() == [0, 1, 0, 0]
    write_mask(tmp_path / "masks" / "b_1.png", 0)
    with pytest.raises(DataError, match=r"b_1\.png: the object has no pixel"):
        single.sample(2, rng())
    assert dataset.sample(1, rng())["objects"] == {}


def test_folder_with_instance_numbers(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write_mask(tmp_path / "masks" / "a.png", rows(3, 3, 1, 255, 0))
    dataset = FolderClicks(str(tmp_path), instances=True, void=255)
    assert areas(dataset.sample(0, rng())) == {1: 1, 2: 2} and len(dataset.packed(0, rng()).ignored) == 1
    single = FolderClicksEval(str(tmp_path), instances=True, void=255)
    assert single.ids == ["a:1", "a:3"]
    assert single.mask(1)[0, :5].tolist() == [1, 1, 0, -1, 0]


@pytest.mark.parametrize("kind", [FolderClicks, FolderClicksEval])
def test_images_without_a_mask_may_be_passed_over(kind, tmp_path):
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.jpg")
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="2 of 2 images have no mask"):
        kind(str(tmp_path), skip_unlabelled=True)
    write_mask(tmp_path / "masks" / "b.png", 255)
    with pytest.raises(DataError, match=r"1 of 2 images have no mask: .*a\.jpg.*skip_unlabelled=True"):
        kind(str(tmp_path))
    dataset = kind(str(tmp_path), skip_unlabelled=True)
    assert dataset.ids == ["b"] and dataset.path(0).endswith("b.jpg")
    assert dataset.notes == ("1 images without a mask are passed over",)


def test_folders_that_cannot_be_used(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="1 of 1 images have no mask"):
        FolderClicks(str(tmp_path))
    write_mask(tmp_path / "masks" / "a_1.png", np.full((6, 7), 255, np.uint8))
    with pytest.raises(DataError, match="mask of 7x6 pixels for an image of 8x6"):
        FolderClicks(str(tmp_path)).sample(0, rng())
    write_mask(tmp_path / "masks" / "a_2.png", 255)
    with pytest.raises(DataError, match="unlike the image's other masks"):
        FolderClicks(str(tmp_path)).sample(0, rng())
    np.save(tmp_path / "masks" / "a_1.npy", np.full((6, 8), -1))
    with pytest.raises(DataError, match="one name twice"):
        FolderClicks(str(tmp_path))
    (tmp_path / "masks" / "a_1.png").unlink()
    (tmp_path / "masks" / "a_2.png").unlink()
    with pytest.raises(DataError, match="label -1; instances are numbered from 1"):
        FolderClicks(str(tmp_path), instances=True).sample(0, rng())
