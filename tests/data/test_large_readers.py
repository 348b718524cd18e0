"""Windows of large images: each is the part of the whole, whatever the layout, and only the window is held."""

import shutil
import sys
import zlib
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import segkit.data.large.png as png_module
from segkit.data.dataset import Reading
from segkit.data.files.images import read_image
from segkit.data.files.tiff import read_tiff
from segkit.data.large import open_large as opening
from segkit.data.large import spill
from segkit.data.large.georeference import Georeference, tags_of
from segkit.data.large.open_large import open_large, size_of
from segkit.data.large.png import read_png
from segkit.data.large.tiff import TiffReader
from segkit.data.large.tiff_writer import TiffWriter
from segkit.files import DataError
from tests.data.test_tiff_layouts import NAMES, PACKED
from tests.data.test_tiff_layouts import written as packed_file

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)


def smooth(h: int, w: int, channels: int, dtype=np.uint8) -> np.ndarray:
    """Values whose neighbours are alike, so that every filter of PNG is of use."""
    steps = RNG.integers(-3, 4, (h, w, channels)).cumsum(0).cumsum(1)
    return (steps * (1 if dtype == np.uint8 else 199)).astype(dtype)


def same_windows(path: Path, whole: np.ndarray) -> None:
    height, width = whole.shape[:2]
    with open_large(path) as reader:
        assert reader.size == (height, width) == size_of(path) and reader.channels == whole.shape[2]
        assert reader.dtype == whole.dtype
        windows = [(0, 0, height, width), (height // 3, width // 2, max(height // 4, 1), max(width // 3, 1))]
        for row, column, h, w in [*windows, (height - 1, width - 1, 1, 1)]:
            found = reader.read(row, column, h, w)
            assert found.dtype == whole.dtype
            assert np.array_equal(found, whole[row : row + h, column : column + w])
        with pytest.raises(ValueError, match=f"in an image of {width}x{height}"):
            reader.read(0, 0, height + 1, 1)


@pytest.mark.parametrize("name", NAMES[::4])
def test_windows_of_every_layout_of_tiff(tmp_path, name):
    """The files of GDAL, tifffile and Pillow that are read as a whole; see test_tiff_layouts.py."""
    same_windows(packed_file(tmp_path, name), read_tiff(PACKED[name].tobytes(), name).samples)


@pytest.mark.parametrize("options", [
    dict(tile=(64, 48), compression="zlib", predictor=True), dict(rowsperstrip=7, compression="zlib"),
    dict(bigtiff=True),
    dict(planarconfig="separate", photometric="rgb", tile=(32, 32)), dict(byteorder=">", rowsperstrip=150),
    dict(tile=(64, 64), compression="zlib", predictor=True, ome=True),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_windows_of_tiffs_by_tifffile(tmp_path, options, dtype):
    array = smooth(150, 130, 3, dtype)
    stored = array.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else array
    tifffile.imwrite(tmp_path / "a.tif", stored, **{"photometric": "rgb", **options})
    same_windows(tmp_path / "a.tif", tifffile.imread(tmp_path / "a.tif").reshape(stored.shape) if stored is array
                 else array)  # fmt: skip


def test_a_window_reads_no_more_than_the_tiles_or_rows_that_it_touches(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "tiles.tif", smooth(1024, 1024, 3), photometric="rgb", tile=(128, 128))
    tifffile.imwrite(tmp_path / "rows.tif", smooth(1024, 1024, 3), photometric="rgb", rowsperstrip=1024)
    pieces = []
    monkeypatch.setattr(
        "segkit.data.files.tiff._piece",
        lambda content, offset, size, path: pieces.append(size) or content[offset : offset + size],
    )
    with open_large(tmp_path / "tiles.tif") as reader:
        reader.read(100, 100, 100, 100)
        assert pieces == [128 * 128 * 3] * 4
    pieces.clear()
    with open_large(tmp_path / "rows.tif") as reader:
        reader.read(500, 100, 10, 100)
        assert pieces == [1024 * 3] * 10


def test_the_pyramid_of_an_ome_tiff_is_read_at_level_0_or_refused_without_it(tmp_path):
    array = smooth(256, 192, 3)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        options = dict(photometric="rgb", tile=(64, 64), compression="zlib")
        writer.write(array, subifds=1, **options)
        writer.write(array[::2, ::2], subfiletype=1, **options)
    same_windows(tmp_path / "a.ome.tif", array)
    tifffile.imwrite(tmp_path / "b.tif", array[::2, ::2], photometric="rgb", subfiletype=1)
    with pytest.raises(DataError, match=r"b\.tif: holds smaller copies of an image alone.*level 0"):
        open_large(tmp_path / "b.tif")


@pytest.mark.parametrize("name", ["cut", "damaged", "strip", "tags"])
def test_damaged_and_unbearable_tiffs(tmp_path, name, monkeypatch):
    path = tmp_path / "a.tif"
    options = dict(rowsperstrip=300) if name == "strip" else dict(tile=(128, 128))
    tifffile.imwrite(path, smooth(300, 300, 3), photometric="rgb", compression="zlib", **options)
    content = path.read_bytes()
    with TiffReader(path) as reader:
        offsets = reader._stack[0].tags["offsets"]
    last, first = int(offsets[-1]), int(offsets[0])
    if name == "cut":
        path.write_bytes(content[: last + 10])
    elif name == "damaged":
        path.write_bytes(content[: last + 10] + bytes(50) + content[last + 60 :])
    elif name == "tags":
        path.write_bytes(content[:20])
    else:
        monkeypatch.setattr("segkit.data.large.tiff.LARGEST_CHUNK", 1 << 17)
    match = {
        "cut": r"a\.tif: the file breaks off after",
        "damaged": r"a\.tif: cannot be decoded as TIFF",
        "strip": r"tiles are of 300x300 pixels, and each is decoded as a whole.*-co TILED=YES",
        "tags": "tags of page 1 are incomplete",
    }
    with pytest.raises(DataError, match=match[name]):
        with open_large(path) as reader:
            if name != "cut" or first < last:
                assert reader.read(0, 0, 100, 100).shape == (100, 100, 3)  # whole pieces are read all the same
            reader.read(200, 200, 100, 100)


@pytest.mark.parametrize("step", [1, 3000, 1 << 20])
@pytest.mark.parametrize("channels, dtype", [(1, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16),
                                             (3, np.uint16), (4, np.uint16)])  # fmt: skip
def test_rows_of_png_are_those_of_opencv(tmp_path, monkeypatch, step, channels, dtype):
    monkeypatch.setattr(png_module, "STEP", step)
    array = smooth(41, 57, channels, dtype)
    order = [0] if channels == 1 else [2, 1, 0, 3][:channels]
    for filters in range(5):
        path = str(tmp_path / "a.png")
        cv2.imwrite(path, array[:, :, order], [cv2.IMWRITE_PNG_FILTER, 8 << filters, cv2.IMWRITE_PNG_COMPRESSION, 6])
        assert np.array_equal(read_png(path).samples, array)
    same_windows(tmp_path / "a.png", array)
    with open_large(tmp_path / "a.png") as reader:
        image = reader.image(reader.read(0, 0, 41, 57), 3, Reading())
        assert np.array_equal(image, read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("mode, bits", [("1", 1), ("P", 8), ("P", 4), ("P", 2), ("P", 1), ("L", 8), ("LA", 8)])
def test_other_kinds_of_png(tmp_path, mode, bits):
    values = (np.abs(smooth(33, 45, 1)[:, :, 0].astype(int)) % (1 << bits)).astype(np.uint8)
    image = Image.fromarray(values * 255 if mode == "1" else values)
    if mode == "P":
        image.putpalette(RNG.integers(0, 256, 3 << bits).tolist())
    image = image.convert(mode)
    image.save(tmp_path / "a.png", **({"bits": bits} if mode == "P" else {}))
    samples, page = read_png(tmp_path / "a.png")
    assert page.bits == (8 if mode == "LA" else bits) and np.array_equal(samples[:, :, 0], values)
    with open_large(tmp_path / "a.png") as reader:
        assert np.array_equal(reader.image(samples, 3, Reading()), read_image(tmp_path / "a.png"))


def test_a_large_png_is_unpacked_once_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(opening, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(png_module, "STEP", 4000)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    array = smooth(300, 280, 3)
    Image.fromarray(array).save(tmp_path / "a.png")
    same_windows(tmp_path / "a.png", array)
    assert capsys.readouterr().err.count("a.png: a PNG is read from top to bottom alone; unpacking it once to") == 1
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    open_large(tmp_path / "a.png").close()  # from the copy
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(DataError, match=r"no room for the unpacked copy of .*a\.png \(0\.0 GB; .*set SEGKIT_CACHE"):
        open_large(tmp_path / "a.png")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 40))

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill, "TiffWriter", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); free space, set SEGKIT_CACHE"):
        open_large(tmp_path / "a.png")
    assert not list((tmp_path / "cache/large").iterdir())


def test_png_that_cannot_be_streamed(tmp_path):
    Image.fromarray(smooth(60, 60, 3)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    header = content[12:28] + b"\x01"  # IHDR up to the way of interlacing
    interlaced = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
    cases = {
        "interlaced": (interlaced, "an interlaced PNG, whose rows do not come in order"),
        "cut": (content[: len(content) // 2], "the file breaks off after"),
        "head": (content[:30], "the file breaks off|header is incomplete"),
        "bits": (content[:100] + bytes(200) + content[300:], "cannot be decoded as PNG|holds [0-9]+ of 60 rows"),
    }
    for name, (changed, match) in cases.items():
        (tmp_path / f"{name}.png").write_bytes(changed)
        with pytest.raises(DataError, match=match):
            open_large(tmp_path / f"{name}.png")


def in_pieces(folder: Path, array: np.ndarray, name: str, side: int = 50) -> None:
    folder.mkdir()
    for i, y in enumerate(range(0, array.shape[0], side)):
        for j, x in enumerate(range(0, array.shape[1], side)):
            file = folder / name.format(i=i, j=j, x=x, y=y, i1=i + 1, j1=j + 1)
            Image.fromarray(array[y : y + side, x : x + side]).save(file)


@pytest.mark.parametrize("name", [
    "r{i}_c{j}.png", "tile_row{i1}_col{j1}.png", "town-x{x}-y{y}.tif", "y{y}x{x}.png", "town_{i}_{j}.png",
    "{i1}-{j1}.tif",
    "c{j}r{i}.png", "12_{y}_{x}.png",
])  # fmt: skip
def test_pieces_by_any_name(tmp_path, name):
    array = smooth(120, 170, 3)
    in_pieces(tmp_path / "town", array, name)
    same_windows(tmp_path / "town", array)


def test_folders_of_pieces_that_are_none(tmp_path):
    array = smooth(100, 150, 3)

    def refused(match):
        with pytest.raises(DataError, match=match):
            open_large(tmp_path / "town")

    in_pieces(tmp_path / "town", array, "r{i}_c{j}.png")
    (tmp_path / "town/r1_c1.png").rename(tmp_path / "kept.png")
    refused("1 of 6 pieces are missing, the first in row 1, column 1")
    shutil.copy(tmp_path / "town/r0_c0.png", tmp_path / "town/row1_col1.png")
    shutil.copy(tmp_path / "kept.png", tmp_path / "town/r1_c1.png")
    refused("r1_c1.png and row1_col1.png are both in row 1, column 1")
    (tmp_path / "town/row1_col1.png").unlink()
    Image.fromarray(array[:40, :50]).save(tmp_path / "town/r1_c1.png")
    refused(r"r1_c1.png: 50x40 pixels where its row and column have 50x50")
    Image.fromarray(array[:50, :50, 0]).save(tmp_path / "town/r1_c1.png")
    with open_large(tmp_path / "town") as reader:
        with pytest.raises(DataError, match=r"r1_c1.png: 1 bands of 8 bits where .*r0_c0.png has 3 of 8"):
            reader.read(0, 0, 100, 150)
    (tmp_path / "town/readme.png").write_bytes(b"x")
    refused("readme.png: its name says no row and column; pieces are named")
    shutil.rmtree(tmp_path / "town")
    (tmp_path / "town").mkdir()
    refused("holds no pieces of an image")
    for x in (0, 40, 80):
        Image.fromarray(array[:50, x : x + 50]).save(tmp_path / f"town/x{x}_y0.png")
    refused("column 0 is followed by column 40: pieces of 50 pixels overlap")
    (tmp_path / "town/x40_y0.png").unlink()
    (tmp_path / "town/x80_y0.png").rename(tmp_path / "town/x100_y0.png")
    refused("column 0 is followed by column 100: pieces are missing")


def test_small_pictures_of_other_formats_are_read_as_a_whole(tmp_path):
    array = smooth(40, 50, 3)
    Image.fromarray(array).save(tmp_path / "a.bmp")
    np.save(tmp_path / "a.npy", smooth(40, 50, 5, np.uint16))
    same_windows(tmp_path / "a.bmp", array)
    with open_large(tmp_path / "a.npy") as reader:
        assert reader.image(reader.read(0, 0, 2, 2), 5, Reading()).dtype == np.float32


def test_missing_packages_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.vrt").write_text("<VRTDataset/>")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(
        DataError, match=r"a\.vrt: reading \.vrt needs the package rasterio; pip install 'segkit\[geo\]'"
    ):
        open_large(tmp_path / "a.vrt")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, smooth(64, 64, 3), photometric="rgb", tile=(32, 32))
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags["Compression"].valueoffset
    path.write_bytes(content[:at] + (34887).to_bytes(2, "little") + content[at + 2 :])
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"the compression LERC is not read in windows.*segkit\[geo\]"):
        open_large(path)
    assert size_of(path) == (64, 64)


@pytest.mark.parametrize("is_point", [False, True])
def test_the_place_of_a_geotiff(tmp_path, is_point):
    """By the tags as the specification has them: of a point the coordinates are those of the pixel's centre."""
    keys = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 2 if is_point else 1, 3072, 0, 1, 25832]
    tags = [
        (33550, "d", 3, (0.5, 0.25, 0.0), True),
        (33922, "d", 6, (10.0, 20.0, 0.0, 1000.0, 2000.0, 0.0), True),
        (34735, "H", len(keys), tuple(keys), True),
        (42113, "s", 0, "-9999", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 40), np.int16), extratags=tags)
    with open_large(tmp_path / "a.tif") as reader:
        place, shift = reader.place, 0.5 if is_point else 0.0
        assert reader.nodata == -9999 and place.crs == "EPSG:25832"
        assert place.affine == (0.5, 0, 1000 - 10 * 0.5 - shift * 0.5, 0, -0.25, 2000 + 20 * 0.25 + shift * 0.25)
    ground = place.on_ground(np.array([[10.0, 20.0]]) + shift)
    assert ground.tolist() == [[1000.0, 2000.0]] and np.allclose(place.in_image(ground), [[10 + shift, 20 + shift]])


def write(path: Path, array: np.ndarray, **options) -> TiffWriter:
    with open(path, "wb") as file:
        writer = TiffWriter(file, array.shape[:2], array.dtype, samples=array.shape[2], **options)
        for row in range(0, array.shape[0], 130):
            for column in (333, 0):  # in any order
                end = 333 if column == 0 else array.shape[1]
                writer.write(row, column, array[row : row + 130, column:end])
        writer.close()
    return writer


@pytest.mark.parametrize("is_big", [False, True])
def test_written_tiffs_open_in_tifffile(tmp_path, is_big, monkeypatch):
    if is_big:
        monkeypatch.setattr("segkit.data.large.tiff_writer.CLASSIC_BYTES", 1000)
    labels = RNG.integers(0, 4, (300, 500, 1)).astype(np.uint8)
    place = Georeference(tags=tags_of((10.0, 0, 5e5, 0, -10.0, 5e6), 32632))
    colors = [(0, 0, 0), (255, 0, 0), (1, 2, 3), (9, 9, 9)]
    writer = write(tmp_path / "a.tif", labels, place=place, palette=colors, nodata=255, names=["a", "b & c", "ä"])
    assert writer.is_big == is_big
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        assert file.is_bigtiff == is_big and page.is_tiled and page.tags["Compression"].value == 8
        assert np.array_equal(page.asarray(), labels[:, :, 0])
        assert (page.colormap[:, :4].T // 257).tolist() == [list(color) for color in colors]
        assert file.geotiff_metadata["ProjectedCSTypeGeoKey"] == 32632
        assert '<Item name="class_1">b &amp;amp; c</Item>' in page.tags[42112].value and page.tags[42113].value == "255"
    for dtype, samples in ((np.uint16, 1), (np.uint8, 3), (np.float32, 2)):
        array = smooth(300, 500, samples, np.uint16).astype(dtype)
        write(tmp_path / "b.tif", array, compress=False)
        assert np.array_equal(tifffile.imread(tmp_path / "b.tif").reshape(array.shape), array)
        same_windows(tmp_path / "b.tif", array)
    with open(tmp_path / "c.tif", "wb") as file:
        writer = TiffWriter(file, (300, 300), np.dtype(np.uint8))
        writer.write(0, 0, labels[:256, :256])
        with pytest.raises(DataError, match="3 of 4 tiles of the result are incomplete"):
            writer.close()


def test_written_tiffs_open_in_rasterio(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    labels = RNG.integers(0, 4, (300, 500, 1)).astype(np.uint8)
    place = Georeference(tags=tags_of((10.0, 0, 5e5, 0, -10.0, 5e6), 32632))
    write(tmp_path / "a.tif", labels, place=place, palette=[(0, 0, 0), (255, 0, 0)], nodata=255, names=["a", "b & c"])
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(1), labels[:, :, 0]) and dataset.crs.to_epsg() == 32632
        assert dataset.transform[:6] == (10, 0, 5e5, 0, -10, 5e6) and dataset.nodata == 255
        assert dataset.colormap(1)[1][:3] == (255, 0, 0) and dataset.tags()["class_1"] == "b & c"
        assert dataset.block_shapes == [(256, 256)]


@pytest.mark.parametrize("driver, options", [
    ("GTiff", dict(compress="lerc", tiled=True)), ("GTiff", dict(compress="webp", WEBP_LOSSLESS=True, tiled=True)),
    ("JP2OpenJPEG", dict(QUALITY=100, REVERSIBLE=True)),
])  # fmt: skip
def test_what_gdal_alone_reads(tmp_path, driver, options):
    rasterio = pytest.importorskip("rasterio")
    array = smooth(150, 130, 3)
    path = tmp_path / ("a.tif" if driver == "GTiff" else "a.jp2")
    profile = dict(driver=driver, height=150, width=130, count=3, dtype="uint8", crs="EPSG:32632",
                   transform=rasterio.Affine(2, 0, 5e5, 0, -2, 5e6))  # fmt: skip
    with rasterio.open(path, "w", **profile, **options) as dataset:
        dataset.write(array.transpose(2, 0, 1))
    same_windows(path, array)
    with open_large(path) as reader:
        assert reader.place.crs == "EPSG:32632" and reader.place.affine == (2, 0, 5e5, 0, -2, 5e6)
        assert set(reader.place.tags) >= {"pixel_scale", "tiepoints", "geo_keys"}
        assert np.array_equal(reader.image(array, 3, Reading()), array)


def test_a_vrt_names_files_of_its_folder_alone(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    array = smooth(60, 50, 3)
    tifffile.imwrite(tmp_path / "part.tif", array, photometric="rgb")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">part.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    text = f'<VRTDataset rasterXSize="50" rasterYSize="60">{bands}</VRTDataset>'
    (tmp_path / "a.vrt").write_text(text)
    with open_large(tmp_path / "a.vrt") as reader:
        assert np.array_equal(reader.read(10, 20, 30, 25), array[10:40, 20:45])
    code = text.replace("<VRTRasterBand", '<VRTRasterBand subClass="VRTDerivedRasterBand"')
    for changed, match in (
        (text.replace('relativeToVRT="1"', 'relativeToVRT="0"'), "which is not relative to the VRT"),
        (text.replace("part.tif", "/vsicurl/http://x/part.tif"), "which is not relative to the VRT"),
        (text.replace("part.tif", "../part.tif"), "outside of"),
        (code, "a VRT with VRTDerivedRasterBand, which is not read"),
        (text[:100], "cannot be read"),
    ):
        (tmp_path / "a.vrt").write_text(changed)
        with pytest.raises(DataError, match=match):
            open_large(tmp_path / "a.vrt")
    assert rasterio


@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxr"])
def test_compressions_of_microscopes(tmp_path, compression):
    pytest.importorskip("imagecodecs")
    array = smooth(150, 130, 3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", tile=(64, 64), compression=compression,
                     compressionargs={"level": 0} if compression == "jpeg2000" else {"level": 100})  # fmt: skip
    same_windows(tmp_path / "a.tif", tifffile.imread(tmp_path / "a.tif"))
