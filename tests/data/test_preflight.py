"""Pre-flight: everything wrong is named in one report, and a sound data set takes a few lines."""

from pathlib import Path

import numpy as np
import pytest

from segkit.data.dataset import Dataset
from segkit.data.preflight import check_dataset
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.shapes import Shapes
from segkit.types import Sample
from tests.data.layouts import rows, write_image, write_mask

TWO = ["ground", "cell"]


def folder(root: Path, masks: list, classes: list[str] | None = None, **arguments) -> Folder:
    """A Folder of one 6x8 image per mask; masks: rows of labels or one value."""
    for index, mask in enumerate(masks):
        write_image(root / "images" / f"{index:03d}.png")
        write_mask(root / "masks" / f"{index:03d}.png", mask)
    return Folder(str(root), TWO if classes is None else classes, **arguments)


def test_sound_data_in_a_few_lines(tmp_path):
    report = check_dataset(folder(tmp_path, [rows(0, 1, 255, 0)] * 4), 2)
    # 48 pixels per mask: 1 cell, 1 ignored, 46 ground
    assert report.is_ok and not report.warnings
    assert str(report).split("\n") == [
        "Folder: 4 images, 4 with labels; all of them read",
        "sizes: 8x6",
        "labels: 2 of 2 classes present, 2.1 % ignored (255)",
        "shares: ground 98 %, cell 2.1 %",
    ]


def test_sample_is_spread_evenly(tmp_path):
    data = folder(tmp_path, [rows(0, 1)] * 10)
    asked = []
    data.sample = lambda index, rng: asked.append(index) or Folder.sample(data, index, rng)
    report = check_dataset(data, 2, limit=4)
    assert asked == [0, 3, 6, 9] and "4 of them read" in report.lines[0]


def test_everything_wrong_is_collected(tmp_path):
    data = folder(tmp_path, [rows(0, 1), rows(0, 7), rows(0, 7), rows(0, 9), rows(0, 1)])
    (tmp_path / "images" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    write_mask(tmp_path / "masks" / "004.png", np.zeros((3, 3), np.uint8))
    report = check_dataset(data, 2)
    assert not report.is_ok and len(report.errors) == 4
    text = "\n".join(report.errors)
    assert "000.png: cannot be decoded: a damaged" in text
    assert "004.png: mask of 3x3 pixels" in text
    assert "001.png: label 7" in text and "(2 of 5 masks read)" in text and "label_map" in text
    assert "003.png: label 9" in text


def test_many_bad_files_are_counted(tmp_path):
    data = folder(tmp_path, [rows(0, 1)] * 9)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    errors = check_dataset(data, 2).errors
    assert len(errors) == 4 and "000.png" in errors[0] and errors[-1] == "... and 6 more files that cannot be used"


def test_many_different_labels_are_counted(tmp_path):
    errors = check_dataset(folder(tmp_path, [rows(0, 10 + i) for i in range(6)]), 2).errors
    assert len(errors) == 4 and errors[-1].startswith("... and 3 more masks with labels beyond the classes")


def test_masks_of_0_and_255(tmp_path):
    report = check_dataset(folder(tmp_path, [rows(0, 255, 0)] * 3), 2)
    (error,) = report.errors
    assert "000.png" in error and "saved as 0 and 255" in error and "label_map={255: 1}" in error and "cell" in error
    mapped = Folder(str(tmp_path), TWO, label_map={255: 1})
    assert check_dataset(mapped, 2).is_ok


def test_one_class_alone_is_found_only_after_reading_on(tmp_path):
    """A rare object in the 40th of 40 masks is no error; none at all is one."""
    data = folder(tmp_path, [0] * 39 + [rows(0, 1)])
    report = check_dataset(data, 2, limit=3)
    assert report.is_ok, report.errors
    write_mask(tmp_path / "masks" / "039.png", 0)
    (error,) = check_dataset(data, 2, limit=3).errors
    assert "all 40 masks read hold only one class, 0 (ground" in error and "reduce_zero_label" in error


def test_classes_never_present_are_a_warning(tmp_path):
    report = check_dataset(folder(tmp_path, [rows(0, 1)], ["a", "b", "c", "d"]), 4)
    assert report.is_ok and report.warnings == [
        "classes in none of the 1 masks read: c, d; check label_map if this is unexpected"
    ]


def test_all_ignored_and_mostly_ignored(tmp_path):
    (error,) = check_dataset(folder(tmp_path / "all", [255, 255]), 2).errors
    assert "every pixel is ignored" in error and "000.png" in error
    report = check_dataset(folder(tmp_path / "most", [rows(0, 1, 255)]), 2)
    assert report.is_ok and "96 % of the pixels are ignored" in report.warnings[0]


def test_class_lists(tmp_path):
    data = folder(tmp_path, [rows(0, 1)])
    (error,) = check_dataset(data, 5).errors
    assert "2 classes, the model 5" in error
    data.classes, data.palette = ("a", "a"), ((0, 0, 0),)
    report = check_dataset(data, 2)
    assert "the name 'a' is given twice" in report.errors[0] and "1 colors for 2 classes" in report.warnings[0]


def test_labels_beyond_the_model_of_any_data_set():
    """Not every Dataset checks its own labels."""

    class Loose(Dataset):
        classes, palette, ids = ("a", "b"), ((0, 0, 0), (1, 1, 1)), ["one"]

        def image(self, index):
            return np.arange(0, 240, 20, np.uint8).reshape(2, 2, 3)

        def mask(self, index):
            return np.array([[0, 1], [5, -1]], np.int16)

    (error,) = check_dataset(Loose(), 2, ignore=-1).errors
    assert error.startswith("one: label 5 beyond the 2 classes; 1 such values")


class Objects(Dataset):
    """Images of 4 x 4 with objects of these labels."""

    def __init__(self, labels, num_classes):
        self.labels = [np.array(one, np.int64) for one in labels]
        self.classes = tuple(f"c{i}" for i in range(num_classes))
        self.palette, self.ids = ((0, 0, 0),) * num_classes, [str(i) for i in range(len(labels))]

    def sample(self, index, rng=None):
        return Sample(image=np.arange(0, 240, 5, np.uint8).reshape(4, 4, 3), labels=self.labels[index])

    def has_mask(self, index):
        return True


def test_objects_have_no_ignored_label_and_may_be_of_one_class():
    report = check_dataset(Objects([[0, 0], []], 3), 3)
    assert report.is_ok and "classes without an object in the 2 images read: c1, c2" in report.warnings
    assert "objects: 2 in 2 images, 1 of 3 classes" in report.lines
    report = check_dataset(Objects([[0, 255], [255]], 300), 300)
    assert report.is_ok and "objects: 3 in 2 images, 2 of 300 classes" in report.lines
    report = check_dataset(Objects([[], []], 3), 3)
    assert report.is_ok and report.warnings == ["none of 2 images read has an object: check annotations and classes"]
    assert "label 3 beyond the 3 classes" in check_dataset(Objects([[0, 3]], 3), 3).errors[0]


def test_empty_set():
    class Empty(Dataset):
        classes, palette, ids = ("a",), ((0, 0, 0),), []

    assert check_dataset(Empty(), 1).errors == ["the data set is empty: check root and split"]


def test_notes_of_the_reader_become_warnings(tmp_path):
    write_mask(tmp_path / "masks" / "lonely.png", 0)
    (warning,) = check_dataset(folder(tmp_path, [rows(0, 1)]), 2).warnings
    assert "lonely.png" in warning


def test_sizes_and_shares(tmp_path):
    data = folder(tmp_path, [rows(0, 1)])
    write_image(tmp_path / "images" / "big.png", (20, 10))
    write_mask(tmp_path / "masks" / "big.png", np.ones((20, 10), np.uint8))
    lines = check_dataset(Folder(data_root(data), TWO), 2).lines
    assert lines[1] == "sizes: 2 different, 8x6 to 10x20"
    # ground 1 pixel; cell 47 + 200
    assert lines[3] == "shares: cell 100 %, ground 0.4 %"


def data_root(data: Folder) -> str:
    return str(Path(data.path(0)).parents[1])


@pytest.mark.parametrize("instances", [True, False])
def test_embedded_set_passes(instances):
    report = check_dataset(Shapes("val", 12, size=(48, 48), instances=instances), 6)
    assert report.is_ok and len(str(report).split("\n")) <= 8


def test_real_set_takes_few_lines(real_data):
    from segkit.data.semantic.camvid import CamVid

    if not (real_data / "camvid").is_dir():
        pytest.skip("no camvid folder in SEGKIT_DATA")
    report = check_dataset(CamVid(str(real_data / "camvid")), 11, limit=16)
    assert report.is_ok and len(str(report).split("\n")) <= 8 and "11 of 11 classes" in str(report)
