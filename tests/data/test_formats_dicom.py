"""DICOM slices with a segmentation that highdicom wrote, and files that are wrong."""

import numpy as np
import pydicom
import pytest

from segkit.data.formats.dicom import DicomReader
from segkit.files import DataError
from tests.data.labelled import FIXTURES, copied, drawn

SIZE = (6, 9)


def changed(path, **elements):
    """Writes a file again with other values of some elements; None removes one."""
    header = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.save_as(path)


def check_masks(reader):
    masks = np.load(FIXTURES / "dicom" / "masks.npy")
    for z in (1, 0):
        shapes = {shape.label: drawn(shape, SIZE) for shape in reader.item(z).shapes}
        assert (shapes["liver"] == masks[z, :, :, 0]).all() and (shapes["tumor"] == masks[z, :, :, 1]).all()


def test_a_segmentation_of_highdicom(tmp_path):
    root = copied("dicom", tmp_path)
    (root / "README").write_text("no DICOM file")
    assert DicomReader.sniff(root) == "seg.dcm is a DICOM segmentation"
    reader = DicomReader.open(root)
    assert reader.classes == ("liver", "tumor") and [path.name for path in reader.images] == ["0.dcm", "1.dcm", "2.dcm"]
    assert not reader.lost and not reader.notes
    check_masks(reader)
    last = reader.item(2)
    assert last.is_labelled and last.shapes == () and last.size == SIZE
    assert reader.pixels(1).tolist() == np.full((6, 9, 3), 40).tolist() and reader.pixels(2, 1).shape == (6, 9, 1)


def test_frames_are_found_by_their_place(tmp_path):
    """A file that names no slices: the position in the patient says on which each frame lies."""
    root = copied("dicom", tmp_path)
    header = pydicom.dcmread(root / "seg.dcm")
    for group in header.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    header.save_as(root / "seg.dcm")
    check_masks(DicomReader.open(root))
    (root / "1.dcm").unlink()
    reader = DicomReader.open(root)
    assert reader.lost == {"frames of segmentations whose slice is missing": 2} and len(reader) == 2


def test_a_series_without_a_segmentation_is_unlabelled(tmp_path):
    root = copied("dicom", tmp_path)
    changed(root / "2.dcm", SeriesInstanceUID="1.2.3")
    reader = DicomReader.open(root)
    assert [reader.item(z).is_labelled for z in range(3)] == [True, True, False]
    assert reader.notes == ("1 images are of a series without a segmentation",)
    changed(root / "2.dcm", NumberOfFrames=2)
    changed(root / "1.dcm", PixelData=None)
    reader = DicomReader.open(root)
    assert len(reader) == 1
    lost = {"files of several frames": 1, "files without a picture": 1}
    assert reader.lost == lost | {"frames of segmentations whose slice is missing": 2}


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        (dict(SegmentationType="LABELMAP"), "SegmentationType 'LABELMAP'; BINARY and FRACTIONAL are read"),
        (dict(SegmentSequence=None), "its segments or frames are damaged"),
        (dict(Rows=7), "frame 1: 9x7 pixels on a slice of 9x6; bring both to one grid"),
        (dict(PixelData=b"\0\0"), "frame 1: cannot be decoded .cannot reshape"),
    ],
)
def test_wrong_segmentations_are_named(tmp_path, elements, words):
    root = copied("dicom", tmp_path)
    changed(root / "seg.dcm", **elements)
    with pytest.raises(DataError, match=rf"seg\.dcm.*{words}"):
        reader = DicomReader.open(root)
        for z in range(3):
            reader.item(z)


def test_wrong_folders_are_named(tmp_path):
    root = copied("dicom", tmp_path)
    (root / "broken.dcm").write_bytes(bytes(200))
    with pytest.raises(DataError, match=r"broken\.dcm: no DICOM file"):
        DicomReader.open(root)
    (root / "broken.dcm").unlink()
    for name in ("0.dcm", "1.dcm"):
        (root / name).unlink()
    with pytest.raises(DataError, match=r"no frame of .*seg\.dcm lies on one of the 1 images; copy the series there"):
        DicomReader.open(root)
    (root / "seg.dcm").unlink()
    assert DicomReader.sniff(root) is None
    with pytest.raises(DataError, match=r"1 images and 0 segmentations \(SEG\) below this folder"):
        DicomReader.open(root)
