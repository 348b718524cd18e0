"""DICOM slices with masks of the same names: in folders, by ends of names, as pictures; and what is refused."""

import shlex
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from segkit.cli.main import main
from segkit.config import load_config
from segkit.data.formats.dicom import DicomReader
from segkit.data.formats.dicom_masks import DicomMasksReader
from segkit.data.formats.known import open_labels, reader_of
from segkit.files import DataError
from tests.data.labelled import FIXTURES

SIZE = (6, 9)


def numbers(z: int) -> np.ndarray:
    """A mask, uint16 [6,9] of 0, 1 and 2; another one for each slice."""
    mask = np.zeros(SIZE, np.uint16)
    mask[1:3, z : z + 4], mask[4, :] = 1, 2
    return mask


def slice_to(path: Path, z: int, values: np.ndarray | None = None, **elements) -> None:
    """Writes a slice of the fixture, with other pixels where they are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = pydicom.dcmread(FIXTURES / "dicom" / f"{z}.dcm")
    if values is not None:
        header.BitsAllocated = header.BitsStored = 8 * values.dtype.itemsize
        header.HighBit, (header.Rows, header.Columns) = header.BitsStored - 1, values.shape
        header.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(header, name, value)
    header.save_as(path)


def folders(root: Path, image: str = "images/{}.dcm", mask: str = "masks/{}.dcm", count: int = 3) -> Path:
    for z in range(count):
        slice_to(root / image.format(z), z)
        slice_to(root / mask.format(z), z, numbers(z))
    return root


def check(reader, count: int = 3) -> None:
    assert len(reader) == count
    for z in range(count):
        item = reader.item(z)
        assert item.size == SIZE and item.label_map is not None and (item.label_map == numbers(z)).all()
        assert reader.pixels(z).shape == (*SIZE, 3) and reader.pixels(z, 1).shape == (*SIZE, 1)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.dcm", "masks/{}.dcm"),
        ("images/{}.DCM", "labels/{}_seg.dcm"),
        ("scan/{}.dcm", "scan/{}_mask.dcm"),
        ("images/IM{}", "masks/IM{}"),
    ],
)
def test_masks_are_found_as_those_of_pictures(tmp_path, image, mask):
    root = folders(tmp_path, image, mask)
    (tmp_path / "README").write_text("no DICOM file")
    found = reader_of(root)
    assert found.reader is DicomMasksReader and found.evidence.startswith(image.format(0))
    reader = found.read(root)
    assert reader.classes == ("background", "class 1", "class 2") and not reader.lost
    check(reader)


def test_pictures_as_masks_and_a_legend(tmp_path):
    root = folders(tmp_path)
    for z in range(3):
        (root / f"masks/{z}.dcm").unlink()
        Image.fromarray(numbers(z).astype(np.uint8)).save(root / f"masks/{z}.png")
    (root / "classes.txt").write_text("nothing\nliver\ntumor\n")
    reader = open_labels(root)
    assert reader.format == "dicom_masks" and reader.classes == ("nothing", "liver", "tumor")
    check(reader)


def test_stored_numbers_count(tmp_path):
    """A mask that keeps the rescaling and the colors of its slice; 0 and 255 are background and object."""
    root = folders(tmp_path)
    for z in range(3):
        inverse = dict(RescaleIntercept=-1024, RescaleSlope=2, PhotometricInterpretation="MONOCHROME1")
        slice_to(root / f"masks/{z}.dcm", z, (numbers(z) > 0).astype(np.uint8) * 255, **inverse)
    slice_to(root / "images/9.dcm", 1)
    reader = open_labels(root)
    assert reader.classes == ("background", "object")
    assert all((reader.item(z).label_map == (numbers(z) > 0)).all() for z in range(3))
    assert not reader.is_labelled(3) and reader.item(3).size == SIZE
    assert any(note.startswith("1 images have no mask") for note in reader.notes)


def test_a_segmentation_comes_first(tmp_path):
    root = folders(tmp_path)
    (root / "seg.dcm").write_bytes((FIXTURES / "dicom" / "seg.dcm").read_bytes())
    assert DicomMasksReader.sniff(root) is None and reader_of(root).reader is DicomReader


def test_what_is_refused(tmp_path):
    assert DicomMasksReader.sniff(tmp_path) is None
    with pytest.raises(DataError, match=r"no slice of DICOM with a mask here; expected images/NAME.dcm with masks/"):
        DicomMasksReader.open(tmp_path)
    root = folders(tmp_path)
    slice_to(root / "masks/1.dcm", 1, np.ones((5, 9), np.uint16))
    with pytest.raises(DataError, match=r"masks/1.dcm: mask of 9x5 pixels for a slice of 9x6 .*1.dcm.; export the"):
        open_labels(root).item(1)
    slice_to(root / "masks/1.dcm", 1, np.ones(SIZE, np.uint16), NumberOfFrames=2)
    with pytest.raises(DataError, match=r"masks/1.dcm: 2 frames; only single pictures are read"):
        open_labels(root)
    slice_to(root / "masks/1.dcm", 1, np.ones(SIZE, np.uint16), PixelData=b"\0\0")
    with pytest.raises(DataError, match=r"masks/1.dcm: its pixels cannot be decoded"):
        open_labels(root)
    for path in (root / "images").iterdir():
        path.write_bytes(b"no DICOM file" * 20)
    assert DicomMasksReader.sniff(root) is None


def test_segkit_new_reads_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folders(tmp_path / "scans")
    assert main(["new", "scans", "--no-trial"]) == 0
    told = capsys.readouterr().out
    assert "dicom_masks" in told and shlex.join(["segkit", "convert-labels", "scans", "slices"]) in told
    assert load_config("scans.py")["train"]["dataset"]["dataset"]["format"] == "dicom_masks"
