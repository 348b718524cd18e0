"""DICOM files written by pydicom: their pixels, what standards say of them, and files that are refused."""

import struct

import numpy as np
import pytest

from segkit.data.files.dicom import dicom_size, read_dicom
from segkit.data.semantic.pneumothorax import Pneumothorax
from segkit.files import DataError
from tests.competitions import made

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


def test_without_pydicom_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    with pytest.raises(DataError, match=r"a\.dcm: reading DICOM needs pydicom: pip install 'segkit\[dicom\]'"):
        read_dicom(tmp_path / "a.dcm")


def test_8_bits_are_exact(tmp_path):
    pytest.importorskip("pydicom")
    made.write_dicom(tmp_path / "a.dcm", GREY)
    image = read_dicom(tmp_path / "a.dcm")
    assert image.dtype == np.uint8 and dicom_size(tmp_path / "a.dcm") == (5, 7)
    np.testing.assert_array_equal(image[:, :, 0], GREY)
    made.write_dicom(tmp_path / "b.dcm", GREY, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_dicom(tmp_path / "b.dcm")[:, :, 0], 255 - GREY)


def test_jpeg_inside_as_the_competition_has_it(tmp_path):
    pytest.importorskip("pydicom")
    import cv2
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    smooth = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8) * 2
    jpeg = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    fields = dict(TransferSyntaxUID=JPEGBaseline8Bit, PixelData=encapsulate([jpeg]))
    made.write_dicom(tmp_path / "a.dcm", smooth, **fields)
    read = read_dicom(tmp_path / "a.dcm")[:, :, 0]
    assert read.shape == smooth.shape and np.abs(read.astype(int) - smooth).max() <= 2


def test_units_and_windows(tmp_path):
    pytest.importorskip("pydicom")
    stored = np.array([[0, 1000], [2000, 4000]], np.uint16)
    made.write_dicom(tmp_path / "a.dcm", stored, RescaleSlope="1", RescaleIntercept="-1000")
    # -1000, 0, 1000, 3000 over their own range, then over a given one, then over the file's: 0 .. 1000
    np.testing.assert_allclose(read_dicom(tmp_path / "a.dcm")[:, :, 0], [[0, 63.75], [127.5, 255]])
    np.testing.assert_allclose(read_dicom(tmp_path / "a.dcm", (-500, 1500))[:, :, 0], [[0, 63.75], [191.25, 255]])
    window = dict(RescaleSlope="1", RescaleIntercept="-1000", WindowCenter=["500.5", "7"], WindowWidth=["1001", "7"])
    made.write_dicom(tmp_path / "b.dcm", stored, **window)
    np.testing.assert_allclose(read_dicom(tmp_path / "b.dcm")[:, :, 0], [[0, 0], [255, 255]])
    signed = np.array([[-100, 0, 100]], np.int16)
    made.write_dicom(tmp_path / "c.dcm", signed)
    np.testing.assert_allclose(read_dicom(tmp_path / "c.dcm")[:, :, 0], [[0, 127.5, 255]])


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        (dict(PixelData=None), "holds no picture"),
        (dict(Rows=0), "holds no picture"),
        (dict(NumberOfFrames=3), "3 frames"),
        (dict(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "3 channels of RGB"),
        (dict(PixelData=b"\0" * 8), "cannot be decoded"),
        (dict(Rows=60000, Columns=60000), "60,000 x 60,000 pixels, more than"),
        (dict(TransferSyntaxUID="1.2.840.10008.1.2.4.90"), "cannot be decoded"),
        (dict(TransferSyntaxUID="1.2.840.10008.1.2.1.99"), "packed as a whole"),
    ],
)
def test_dicom_files_that_are_refused(tmp_path, fields, match):
    pytest.importorskip("pydicom")
    is_packed = "packed" in match
    made.write_dicom(tmp_path / "a.dcm", GREY, **({} if is_packed or "TransferSyntaxUID" in fields else fields))
    if "TransferSyntaxUID" in fields:  # the same length with another syntax, as a hostile file would say
        old, new = b"1.2.840.10008.1.2.1", fields["TransferSyntaxUID"].encode()
        content = (tmp_path / "a.dcm").read_bytes()
        start = content.index(b"\x02\x00\x10\x00UI") + 6
        (size,) = struct.unpack_from("<H", content, start)
        assert content[start + 2 :].startswith(old)
        new += b"\0" * (len(new) % 2)
        grown = len(new) - size
        length = struct.unpack_from("<I", content, 140)[0]
        content = content[:140] + struct.pack("<I", length + grown) + content[144:]
        content = content[:start] + struct.pack("<H", len(new)) + new + content[start + 2 + size :]
        (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.dcm: .*{match}"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_sentences(tmp_path):
    pytest.importorskip("pydicom")
    made.write_dicom(tmp_path / "a.dcm", GREY)
    whole = (tmp_path / "a.dcm").read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(120):
        content = bytearray(whole[: rng.integers(133, len(whole))] if trial % 2 else whole)
        for position in rng.integers(132, len(content), 4):
            content[position] = rng.integers(256)
        (tmp_path / "b.dcm").write_bytes(bytes(content))
        try:
            assert read_dicom(tmp_path / "b.dcm").ndim == 3
        except DataError as error:
            assert "b.dcm" in str(error) and len(str(error)) < 600
    (tmp_path / "c.dcm").write_bytes(b"text")
    with pytest.raises(DataError, match="no DICOM file"):
        read_dicom(tmp_path / "c.dcm")


def test_the_set_reads_dicom_and_png_alike(tmp_path):
    pytest.importorskip("pydicom")
    masks = made.siim(tmp_path / "dicom", dicom=True)
    made.siim(tmp_path / "png")
    first = next((tmp_path / "dicom").rglob("1.2.0.dcm"))
    first.rename(first.with_suffix(".DCM"))
    from_dicom, from_png = (Pneumothorax(str(tmp_path / kind), "all") for kind in ("dicom", "png"))
    assert from_dicom.ids == from_png.ids == sorted(masks)
    for index, name in enumerate(from_dicom.ids):
        a, b = (dataset.sample(index, np.random.default_rng(0)) for dataset in (from_dicom, from_png))
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["mask"], b["mask"])
        np.testing.assert_array_equal(from_dicom.mask(index)[:, :, 0], masks[name])
