"""Counts of classes and weights from them, by hand; the cache reads again exactly when labels may have changed."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from segkit import dist
from segkit.config import Config
from segkit.criterion import build_criterion
from segkit.data.dataset import Dataset
from segkit.data.files import mask_scan
from segkit.data.files.mask_scan import as_json, cache_folder, key
from segkit.data.semantic.camvid import CamVid
from segkit.data.statistics import (
    LAWS,
    CountClasses,
    asks_for_statistics,
    class_statistics,
    count_labels,
    resolve_class_weights,
)
from segkit.files import DataError
from segkit.registry import ConfigError
from tests.data.made import Made

MASKS = [
    np.array([[0, 0, 0, 1], [0, 0, 255, 1]], np.uint8),  # 5 of class 0, 2 of class 1, 1 ignored
    np.array([[0, 0], [0, 2]], np.uint8),  # 3 of class 0, 1 of class 2
    None,
    np.full((2, 2), 255, np.uint8),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def passes(monkeypatch) -> list:
    """Grows by one at each pass over the masks."""
    found, measure = [], mask_scan._measure_all
    monkeypatch.setattr(mask_scan, "_measure_all", lambda *args: found.append(1) or measure(*args))
    return found


def test_counts_by_hand():
    s = class_statistics(Made(MASKS, 4))
    assert s.pixels.tolist() == [8, 2, 1, 0]
    assert s.images.tolist() == [2, 1, 1, 0]
    assert s.pixels_of_images.tolist() == [12, 8, 4, 0]
    assert (s.ignored, s.images_with_ignored, s.num_images) == (5, 2, 3)
    assert [labels.tolist() for labels in s.present] == [[0, 1], [0, 2], [], []]
    assert s.pixel_frequency() == pytest.approx([8 / 11, 2 / 11, 1 / 11, 0])
    assert s.image_frequency() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0])


def test_weights_of_every_law_by_hand():
    s = class_statistics(Made(MASKS, 4))
    # 1/8, 1/2, 1/1 sum to 13/8 over the three classes that occur
    assert s.weights("inverse") == pytest.approx([3 / 13, 12 / 13, 24 / 13, 0], rel=1e-5)
    # frequencies 8/12, 2/8, 1/4 with median 1/4
    assert s.weights("median_frequency") == pytest.approx([3 / 8, 1, 1, 0], rel=1e-5)
    assert s.weights("enet") == pytest.approx([1 / math.log(1.02 + f) for f in (8 / 11, 2 / 11, 1 / 11, 0)], rel=1e-5)
    raw = [1e-4 / (1 - 0.9999**n) for n in (8, 2, 1)]
    assert s.weights("effective_number") == pytest.approx([*(3 * w / sum(raw) for w in raw), 0], rel=1e-5)
    raw = [1e-4 / (1 - 0.9999**n) for n in (2, 1, 1)]
    assert s.weights("effective_number_images") == pytest.approx([*(3 * w / sum(raw) for w in raw), 0], rel=1e-5)


def test_many_classes_and_signed_masks():
    mask = np.array([[300, 299, -1], [300, 0, -1]], np.int16)
    assert count_labels(mask, 301, -1)[[0, 299, 300]].tolist() == [1, 1, 2]
    assert count_labels(mask, 301, -1).sum() == 4
    # with more than 255 classes and ignore 255, label 255 is no class
    assert count_labels(np.array([[255, 256]], np.int16), 300, 255).nonzero()[0].tolist() == [256]


@pytest.mark.parametrize(
    "mask, told",
    [
        (np.array([[0, 3]], np.uint8), "label 3, and classes are 0..2 and 255 is ignored"),
        (np.array([[0, -2]], np.int16), "label -2"),
        (np.zeros((2, 2), np.float32), "float32 values"),
    ],
)
def test_labels_that_are_no_class_are_named_with_their_file(mask, told):
    with pytest.raises(DataError, match=f"^1: .*{told}"):
        class_statistics(Made([np.zeros((2, 2), np.uint8), mask]))


def test_data_sets_without_class_masks_or_classes_say_so():
    class Boxes(Dataset):
        classes, ids = ("a",), ["0"]

    with pytest.raises(DataError, match="Boxes gives no class masks"):
        class_statistics(Boxes())
    with pytest.raises(DataError, match="names no classes"):
        class_statistics(Made([], 0))


def test_worker_processes_change_nothing(tmp_path):
    rng = np.random.default_rng(0)
    data = Made([rng.integers(0, 3, (9, 7)).astype(np.uint8) for _ in range(7)], folder=tmp_path)
    class_statistics(data)
    (file,) = cache_folder().iterdir()
    alone = file.read_bytes()
    file.unlink()
    class_statistics(data, workers=2)
    assert file.read_bytes() == alone


def test_the_cache_is_read_until_a_file_or_an_argument_changes(tmp_path, passes):
    masks = [np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)]
    assert class_statistics(Made(masks, folder=tmp_path)).pixels.tolist() == [4, 4, 0]
    for i in range(2):  # made anew, the files are rewritten: their times are put back
        os.utime(tmp_path / f"{i}.npy", ns=(0, 0))
    data = Made.__new__(Made)
    data.__dict__ = Made(masks).__dict__ | {"place": tmp_path, "_cache": None}
    class_statistics(data)
    assert len(passes) == 2
    class_statistics(data)
    assert len(passes) == 2
    np.save(tmp_path / "1.npy", np.full((2, 2), 2, np.uint8))
    assert class_statistics(data).pixels.tolist() == [4, 0, 4]
    assert len(passes) == 3
    data.label_map = {1: 2}
    class_statistics(data)
    assert len(passes) == 4
    class_statistics(data, refresh=True)
    assert len(passes) == 5


def test_a_broken_cache_file_is_written_again(passes):
    data = Made(MASKS)
    class_statistics(data)
    (file,) = cache_folder().iterdir()
    for broken in ('{"values": [[[0], [4]', '{"values": []}'):
        file.write_text(broken)
        assert class_statistics(data).pixels.tolist() == [8, 2, 1]
    assert len(passes) == 3
    assert len(json.loads(file.read_text())["values"]) == 4
    assert [path.name for path in cache_folder().iterdir()] == [file.name]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set SEGKIT_CACHE"):
        class_statistics(Made(MASKS))


def test_the_key_tells_arguments_apart_and_is_the_same_for_equal_ones():
    class Table:
        def __init__(self, table, names):
            self.table, self.names, self.place = table, names, Path("a")

    def described(value):
        data = Made(MASKS)
        data.labels = value
        return key(data, "classes")

    first = described(Table(np.arange(4), {(1, 2, 3): "a", 7: {"x", "y"}}))
    assert described(Table(np.arange(4), {7: {"y", "x"}, (1, 2, 3): "a"})) == first
    assert described(Table(np.array([0, 1, 3, 2]), {(1, 2, 3): "a", 7: {"x", "y"}})) != first
    assert described(Table(np.arange(4), {(1, 2, 4): "a", 7: {"x", "y"}})) != first
    assert key(Made(MASKS), "classes") != key(Made(MASKS), "centroids 8")
    assert key(Made(MASKS, 3), "classes") != key(Made(MASKS, 4), "classes")
    assert as_json(os.path.join) == ["posixpath.join", []]


def test_names_of_laws_become_numbers_at_any_depth():
    data = Made(MASKS)
    rows = [
        dict(type="CrossEntropy", class_weight="median_frequency", weight=0.5),
        dict(type="OHEM", loss=dict(type="Focal", alpha="balanced")),
        dict(type="Focal", alpha=[1.0, 2.0, 3.0]),
        dict(type="BinaryFocal", alpha=0.5),
    ]
    resolved = resolve_class_weights(rows, data)
    assert resolved[0] == dict(type="CrossEntropy", class_weight=[0.375, 1.0, 1.0], weight=0.5)
    assert resolved[1]["loss"]["alpha"] == pytest.approx([3 / 13, 12 / 13, 24 / 13], rel=1e-5)
    assert resolved[2:] == rows[2:]
    assert rows[0]["class_weight"] == "median_frequency"
    loss = build_criterion([resolved[0]]).rows[0].loss
    assert loss.class_weight.tolist() == [0.375, 1.0, 1.0]
    assert resolve_class_weights(resolved, data) is resolved


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_a_name_a_config_may_use(law):
    (row,) = resolve_class_weights([dict(type="CrossEntropy", class_weight=law)], Made(MASKS))
    assert len(row["class_weight"]) == 3 and all(isinstance(weight, float) for weight in row["class_weight"])


def test_an_unknown_law_and_an_unresolved_one_are_named_with_their_place():
    rows = [dict(type="CrossEntropy"), dict(type="OHEM", loss=dict(type="Focal", alpha="balancd"))]
    with pytest.raises(ConfigError, match=r"losses.1.loss.alpha = 'balancd'.*did you mean 'balanced'"):
        asks_for_statistics(rows)
    rows[1]["loss"]["alpha"] = "balanced"
    assert asks_for_statistics(rows) and not asks_for_statistics(rows[:1])
    with pytest.raises(ConfigError, match=r"losses.1.loss.alpha = 'balanced': must be numbers"):
        build_criterion(Config(dict(losses=rows))["losses"])


@pytest.mark.parametrize("row", [dict(type="Tversky", alpha="inverse"), dict(type="BinaryFocal", alpha="balanced")])
def test_a_loss_that_takes_one_number_refuses_a_law(row):
    with pytest.raises(ConfigError, match=rf"losses.0.alpha.*{row['type']} takes one number"):
        asks_for_statistics([row])


@pytest.mark.parametrize("is_main", [True, False])
def test_only_the_first_process_of_several_reads_the_masks(is_main, passes, monkeypatch):
    data, arrived = Made(MASKS), []

    def barrier():
        arrived.append(len(passes))
        if not is_main:  # what the first process does in the meantime
            mask_scan._cached(
                data, CountClasses(3, 255), cache_folder() / f"{key(data, 'classes')}.json", workers=0, refresh=False
            )

    monkeypatch.setattr(dist, "is_distributed", lambda: True)
    monkeypatch.setattr(dist, "is_main", lambda: is_main)
    monkeypatch.setattr(dist, "barrier", barrier)
    assert class_statistics(data, refresh=True).pixels.tolist() == [8, 2, 1]
    assert arrived == [1 if is_main else 0] and len(passes) == 1


def test_camvid_has_the_pixels_it_is_known_for(real_data):
    if not (real_data / "camvid").is_dir():
        pytest.skip("no camvid folder among the real images")
    s = class_statistics(CamVid(str(real_data / "camvid")))
    assert int(s.pixels.sum()) + s.ignored == 367 * 360 * 480
    labels = [10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967]
    assert s.pixels.tolist() == labels
