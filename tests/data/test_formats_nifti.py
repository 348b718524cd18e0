"""NIfTI volumes as slices: files that nibabel wrote, and files that are wrong."""

import gzip
import json
import resource
import struct

import numpy as np
import pytest

from segkit.data.files.nifti import read_slice, read_volume
from segkit.data.formats.nifti import NiftiReader
from segkit.files import DataError
from tests.data.labelled import FIXTURES, copied

VALUES = np.load(FIXTURES / "nifti" / "values.npz")


def header(axes=(3, 5, 4, 3, 1, 1, 1, 1), code=2, bits=8, start=352.0, magic=b"n+1\0"):
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, *axes)
    struct.pack_into("<hh", head, 70, code, bits)
    struct.pack_into("<3f", head, 108, start, 0, 0)
    head[344:348] = magic
    return bytes(head)


def changed(tmp_path, labels=None, values=None, old=False):
    """The fixture with other names of labels, or another label volume (one byte per voxel)."""
    root = copied("nifti", tmp_path)
    if labels is not None:
        (root / "dataset.json").write_text(json.dumps(dict(labels=labels)))
    if values is not None:
        content = header() + np.asarray(values, np.uint8).tobytes(order="F")
        (root / "labelsTr" / "case.nii.gz").write_bytes(gzip.compress(content))
    return root


def test_volumes_of_nibabel(tmp_path):
    root = copied("nifti", tmp_path)
    assert NiftiReader.sniff(root) == "dataset.json with 'labels' beside imagesTr and labelsTr"
    reader = NiftiReader.open(root)
    assert reader.classes == ("background", "liver", "tumor") and len(reader) == 3 and not reader.lost
    assert [path.name for path in reader.images] == [f"case_0000.nii.gz#000{z}" for z in range(3)]
    for z in (2, 0, 1):
        item = reader.item(z)
        assert item.size == (4, 5) and (item.label_map == VALUES["labels"][:, :, z].T).all()
        image = reader.pixels(z, 2)
        assert image.dtype == np.float32 and image.shape == (4, 5, 2)
        assert image[:, :, 0] == pytest.approx(VALUES["read"][:, :, z].T, abs=1e-3)
        assert (image[:, :, 1] == VALUES["images"][1, :, :, z].T * 0.5 + 10).all()
    with pytest.raises(DataError, match=r"case_0000\.nii\.gz#0000: 2 channels where 3 are expected"):
        reader.pixels(0)


def test_one_channel_and_other_byte_order(tmp_path):
    root = copied("nifti", tmp_path)
    for path in (root / "imagesTr").iterdir():
        path.unlink()
    (root / "big_endian.nii").rename(root / "imagesTr" / "case.nii")
    (root / "labelsTr" / "alone.nii.gz").write_bytes((root / "labelsTr" / "case.nii.gz").read_bytes())
    reader = NiftiReader.open(root)
    image = reader.pixels(1)
    assert image.shape == (4, 5, 3) and (image == image[:, :, :1]).all()
    assert (image[:, :, 0] == VALUES["images"][0, :, :, 1].T).all()
    assert reader.notes == ("1 volumes of labelsTr have no image in imagesTr: alone.nii.gz",)


def test_names_of_labels(tmp_path):
    """The Decathlon's form, numbers with gaps, what is left out, and regions."""
    values = np.zeros((5, 4, 3))
    values[1, 2, 0], values[3, 0, 0] = 7, 9
    labels = {"0": "background", "7": "liver", "9": "ignore"}
    reader = NiftiReader.open(changed(tmp_path, labels, values))
    assert reader.classes == ("background", "liver")
    label_map = reader.item(0).label_map
    assert label_map[2, 1] == 1 and label_map[0, 3] == 255 and label_map.sum() == 256
    reader = NiftiReader.open(changed(tmp_path, dict(background=0, whole=[7, 9], liver=7, tumor=9)))
    assert reader.classes == ("background", "liver", "tumor") and reader.lost == {"regions of several labels": 1}
    reader = NiftiReader.open(changed(tmp_path, dict(background=0, liver=1), values))
    with pytest.raises(DataError, match=r"case.nii.gz, slice 0: the label 9 at x=3, y=0 has no name in dataset.json"):
        reader.item(0)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (dict(background=0, liver=0), "'background' and 'liver' have the number 0"),
        (dict(background="x"), "the number of 'background' = 'x' must be"),
        (dict(background=float("nan")), "must be a finite number"),
        ({"": 1}, "the label '' is no name"),
        ({}, "0 classes"),
        ([1], "where an object with keys"),
    ],
)
def test_wrong_names_are_named(tmp_path, labels, words):
    with pytest.raises(DataError, match=rf"dataset\.json, labels: .*{words}"):
        NiftiReader.open(changed(tmp_path, labels))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * 400, "no NIfTI file in one piece"),
        (header(magic=b"ni1\0"), "no NIfTI file in one piece"),
        (header()[:300], "breaks off before byte 348"),
        (header(axes=(3, 5, -4, 3, 1, 1, 1, 1)), "axes of"),
        (header(axes=(9, 5, 4, 3, 1, 1, 1, 1)), "axes of"),
        (header(code=128, bits=24), "numbers of type 128 with 24 bits"),
        (header(code=4, bits=8), "numbers of type 4 with 8 bits"),
        (header(axes=(3, 32767, 32767, 32767, 1, 1, 1, 1)), "32767 x 32767 x 32767 x 1 voxels, 35"),
        (header(start=float("nan")), "voxels from byte nan"),
    ],
)
def test_wrong_headers_are_named(tmp_path, content, words):
    for name, stored in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(stored)
        with pytest.raises(DataError, match=rf"{name.replace('.', '.')}: {words}"):
            read_volume(tmp_path / name)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header()))
    with pytest.raises(DataError, match=r"a\.nii\.gz: breaks off before byte 372"):
        read_slice(read_volume(tmp_path / "a.nii.gz"), 0)
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(DataError, match=r"a\.nii\.gz: cannot be read"):
        read_volume(tmp_path / "a.nii.gz")
    root = changed(tmp_path / "set")
    (root / "labelsTr" / "case.nii.gz").write_bytes(gzip.compress(header(axes=(3, 5, 4, 2, 1, 1, 1, 1))))
    with pytest.raises(DataError, match=r"voxels \[5, 4, 2\], of .*0.nii.gz \[5, 4, 3\]; bring both to one grid"):
        NiftiReader.open(root)
    with pytest.raises(DataError, match="no folder imagesTr here"):
        NiftiReader.open(tmp_path)


@pytest.mark.parametrize("name", ["two.nii.gz", "two_big_endian.nii"])
def test_files_of_the_second_version(name):
    """Written by nibabel 5.4.2, slope 0.5 and intercept -3, and read back by it."""
    volume = read_volume(FIXTURES / "nifti" / name)
    assert (volume.size, volume.slices, volume.channels, volume.dtype.itemsize) == ((4, 5), 3, 1, 2)
    stored = np.arange(60, dtype=np.int16).reshape(5, 4, 3, order="F")  # x, y, z
    for index in range(3):
        found = read_slice(volume, index)
        assert found.dtype == np.float32 and np.array_equal(found, stored[:, :, index].T * 0.5 - 3)


def test_a_slice_takes_the_memory_of_a_slice(tmp_path):
    """100 MB of zeros in 100 kB, of which the last slice is read; and a file of several packed ones."""
    with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(header(axes=(3, 1000, 1000, 100, 1, 1, 1, 1)))
        for _ in range(99):
            file.write(bytes(1_000_000))
    with gzip.open(tmp_path / "a.nii.gz", "ab") as file:
        file.write(b"\7" * 1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    volume = read_volume(tmp_path / "a.nii.gz")
    assert (read_slice(volume, 99) == 7).all() and not read_slice(volume, 98).any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
