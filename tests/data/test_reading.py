"""Image and mask files of every kind, whole and broken."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from segkit.data.files.images import read_image
from segkit.data.files.labels import ColorTable, LabelError, LabelTable, as_color
from segkit.data.files.masks import read_colors, read_mask
from segkit.files import DataError
from segkit.types import default_palette

RNG_SEED = 5


@pytest.fixture
def picture() -> np.ndarray:
    """uint8 [H,W,3] RGB noise: three channels that differ, so that a swap shows."""
    return np.random.default_rng(RNG_SEED).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def tiff(array: np.ndarray) -> bytes:
    """[H,W,C] -> an uncompressed interleaved TIFF, written tag by tag after the TIFF 6.0 specification, section 2."""
    height, width, channels = array.shape
    body = array.astype(array.dtype.newbyteorder("<")).tobytes()
    bits, kind = array.dtype.itemsize * 8, {"u": 1, "f": 3}[array.dtype.kind]
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [1]), (262, 3, [1])]
    entries += [(273, 4, [None]), (277, 3, [channels]), (278, 4, [height]), (279, 4, [len(body)])]
    entries += [(338, 3, [0] * (channels - 1))] if channels > 1 else []
    entries += [(339, 3, [kind] * channels)]
    start = 8 + 2 + 12 * len(entries) + 4
    extra, rows = b"", b""
    extra_size = sum(2 * len(v) for _, code, v in entries if code == 3 and len(v) > 2)
    for tag, code, values in entries:
        values = [start + extra_size if value is None else value for value in values]
        packed = struct.pack(f"<{len(values)}{'H' if code == 3 else 'I'}", *values)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack("<I", start + len(extra))
        rows += struct.pack("<HHI", tag, code, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + b"\0" * 4 + extra + body


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_lossless_pictures_come_back_as_rgb(tmp_path, picture, suffix):
    cv2.imwrite(str(tmp_path / f"a{suffix}"), picture[:, :, ::-1])
    image = read_image(tmp_path / f"a{suffix}")
    assert image.dtype == np.uint8 and np.array_equal(image, picture)


def test_grey_and_transparent_pictures_become_rgb(tmp_path, picture):
    Image.fromarray(picture[:, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([picture, picture[:, :, 0]])).save(tmp_path / "rgba.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(picture[:, :, :1], 3, 2))
    assert np.array_equal(read_image(tmp_path / "rgba.png"), picture)
    assert np.array_equal(read_image(tmp_path / "rgba.png", 4)[:, :, :3], picture)
    assert np.array_equal(read_image(tmp_path / "grey.png", 1), picture[:, :, :1])


def test_sixteen_bits_keep_their_range_in_0_to_255(tmp_path):
    wide = np.array([[[0, 257, 65535], [1000, 2, 3]]], np.uint16)
    cv2.imwrite(str(tmp_path / "wide.png"), wide[:, :, ::-1])
    image = read_image(tmp_path / "wide.png")
    assert image.dtype == np.float32
    assert image == pytest.approx(np.array([[[0, 1, 255], [1000 / 257, 2 / 257, 3 / 257]]]), abs=1e-4)


def test_exif_orientation_is_ignored(tmp_path, picture):
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "a.jpg").shape == picture.shape


def test_arrays_keep_their_channels_and_values(tmp_path):
    array = np.random.default_rng(RNG_SEED).normal(size=(4, 5, 7))
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "grey.npy", np.full((4, 5), 300, np.uint16))
    image = read_image(tmp_path / "a.npy", 7)
    assert image.dtype == np.float32 and np.array_equal(image, array.astype(np.float32))
    grey = read_image(tmp_path / "grey.npy", 1)
    assert grey.shape == (4, 5, 1) and grey.dtype == np.float32 and (grey == 300).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 5, 13])
def test_tiff_of_any_number_of_channels(tmp_path, dtype, channels):
    array = (np.random.default_rng(RNG_SEED).random((6, 7, channels)) * 250).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(array))
    image = read_image(tmp_path / "a.tif", channels)
    assert image.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    assert np.array_equal(image, array.astype(image.dtype))


def test_wrong_number_of_channels_names_the_remedy(tmp_path):
    np.save(tmp_path / "first.npy", np.zeros((5, 20, 30), np.float32))
    np.save(tmp_path / "four.npy", np.zeros((20, 30, 4), np.float32))
    with pytest.raises(DataError, match=r"first\.npy.*channels first: save it as \[H,W,C\]"):
        read_image(tmp_path / "first.npy", 5)
    with pytest.raises(DataError, match=r"four\.npy.*set channels=4"):
        read_image(tmp_path / "four.npy", 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("left", [0.3, 0.9])
def test_truncated_image_names_the_file(tmp_path, picture, suffix, left):
    path = tmp_path / f"cut{suffix}"
    big = cv2.resize(picture, (200, 150), interpolation=cv2.INTER_NEAREST)
    content = cv2.imencode(suffix, big)[1].tobytes()
    path.write_bytes(content[: int(len(content) * left)])
    with pytest.raises(DataError, match=f"cut{suffix}"):
        read_image(path)


def test_jpeg_that_lacks_only_its_end_is_an_error(tmp_path, picture):
    content = cv2.imencode(".jpg", picture)[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(content[:-2])
    with pytest.raises(DataError, match=r"a\.jpg: the file breaks off"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(content + b"appended by a camera")
    assert read_image(tmp_path / "b.jpg").shape == picture.shape


def test_missing_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"none\.jpg: No such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match=r"empty\.jpg: the file is empty"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(DataError, match=r"text\.png: cannot be decoded"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"bad\.npy"):
        read_image(tmp_path / "bad.npy")


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "code.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"code\.npy"):
        read_image(tmp_path / "code.npy")


def test_masks_of_every_depth_keep_their_values(tmp_path):
    labels = np.array([[0, 1, 2], [3, 1, 0]], np.uint8)
    Image.fromarray(labels).save(tmp_path / "eight.png")
    Image.fromarray(labels.astype(np.uint16) * 300).save(tmp_path / "sixteen.png")
    indexed = _with_palette(labels)
    indexed.save(tmp_path / "palette.png")
    indexed.save(tmp_path / "palette2.png", bits=2)
    indexed.save(tmp_path / "palette.tif")
    indexed.save(tmp_path / "palette.bmp")
    Image.fromarray(np.repeat(labels[:, :, None], 3, 2)).save(tmp_path / "grey_as_rgb.png")
    np.save(tmp_path / "array.npy", labels.astype(np.int64))
    for name in (
        "eight.png",
        "palette.png",
        "palette2.png",
        "palette.tif",
        "palette.bmp",
        "grey_as_rgb.png",
        "array.npy",
    ):
        assert np.array_equal(read_mask(tmp_path / name), labels), name
    sixteen = read_mask(tmp_path / "sixteen.png")
    assert sixteen.dtype == np.uint16 and np.array_equal(sixteen, labels.astype(np.uint16) * 300)


def _with_palette(labels: np.ndarray) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette([17 * i % 256 for i in range(768)])
    assert image.mode == "P"
    return image


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits_is_not_stretched(tmp_path, bits):
    """Decoders stretch these to 0..255; the labels are the numbers in the file."""
    labels = np.arange(8, dtype=np.uint8)[None] % (1 << bits)
    (tmp_path / "few.png").write_bytes(_grey_png(labels, bits))
    assert np.array_equal(read_mask(tmp_path / "few.png"), labels)


def _grey_png(labels: np.ndarray, bits: int) -> bytes:
    """A grey PNG of `bits` per pixel, chunk by chunk after the PNG specification, section 11."""
    import zlib

    height, width = labels.shape
    rows = b""
    for row in labels:
        text = "".join(f"{value:0{bits}b}" for value in row).ljust(-(-width * bits // 8) * 8, "0")
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_masks_that_cannot_be_labels(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.jpg"), picture[:, :, 0])
    cv2.imwrite(str(tmp_path / "color.png"), picture)
    np.save(tmp_path / "float.npy", np.zeros((3, 3)))
    content = cv2.imencode(".png", picture[:, :, 0])[1].tobytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name, words in {
        "a.jpg": "a JPEG mask",
        "color.png": "color-coded mask.*x=0, y=0.*color_masks=True",
        "float.npy": "integer array",
        "cut.png": "breaks off",
    }.items():
        with pytest.raises(DataError, match=f"(?s){name}.*{words}"):
            read_mask(tmp_path / name)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_png_masks_cut_anywhere_are_data_errors(tmp_path, mode):
    Image.new(mode, (8, 8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for length in range(len(content)):
        (tmp_path / "a.png").write_bytes(content[:length])
        for read in (read_mask, read_colors, read_image):
            with pytest.raises(DataError, match=r"a\.png: "):
                read(tmp_path / "a.png")


def test_large_palette_masks_are_read_like_grey_ones(tmp_path):
    """180 million pixels, beyond Pillow's own limit; the header alone is looked at here, the decoder is the same."""
    mask = Image.new("P", (13_400, 13_400))
    mask.putpalette([0, 0, 0, 255, 0, 0])
    mask.save(tmp_path / "m.png", compress_level=1)
    assert read_mask(tmp_path / "m.png").shape == (13_400, 13_400)


def test_truncated_palette_mask(tmp_path):
    _with_palette(np.random.default_rng(0).integers(0, 200, (50, 50), dtype=np.uint8)).save(tmp_path / "p.png")
    content = (tmp_path / "p.png").read_bytes()
    (tmp_path / "p.png").write_bytes(content[: len(content) - 300])
    with pytest.raises(DataError, match=r"p\.png: the file breaks off"):
        read_mask(tmp_path / "p.png")


def test_label_table_by_hand():
    table = LabelTable(["a", "b", "c"], label_map={7: "c", 9: 0, 2: "ignore"})
    raw = np.array([[0, 1, 2], [7, 9, 255]], np.uint8)
    expected = [[0, 1, 255], [2, 0, 255]]
    for dtype in (np.uint8, np.uint16, np.int32, np.int64):
        labels = table.apply(raw.astype(dtype), "m.png")
        assert labels.dtype == np.uint8 and labels.tolist() == expected
    shifted = LabelTable(["a", "b"], reduce_zero_label=True)
    assert shifted.apply(np.array([[0, 1, 2, 255]], np.uint8), "m.png").tolist() == [[255, 0, 1, 255]]
    several = LabelTable(["a"], ignore=(-1, 3, 70000))
    assert several.apply(np.array([[0, -1, 3, 70000]]), "m.npy").tolist() == [[0, 255, 255, 255]]


def test_label_map_goes_before_ignore():
    table = LabelTable(["ground", "cell"], label_map={255: 1})
    assert table.apply(np.array([[0, 255]], np.uint8), "m.png").tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_label_beyond_the_classes_is_named(dtype):
    table = LabelTable(["a", "b"])
    raw = np.array([[0, 1, 255], [0, 9, 5]], dtype)
    with pytest.raises(LabelError, match=r"m\.png: labels 5, 9 \(first at x=1, y=1\) beyond the 2 classes") as error:
        table.apply(raw, "m.png")
    assert error.value.values == (5, 9) and "label_map" in str(error.value)


def test_remedies_fit_the_values():
    off_by_one = np.array([[1, 2, 3]], np.uint8)
    with pytest.raises(LabelError, match="reduce_zero_label=True"):
        LabelTable(["a", "b", "c"]).apply(off_by_one, "m.png")
    with pytest.raises(LabelError, match=r"label_map={255: 1}"):
        LabelTable(["a", "b"], ignore=None).apply(np.array([[0, 255]], np.uint8), "m.png")
    with pytest.raises(LabelError, match="CamVid has no such label"):
        LabelTable(["a", "b"], source="CamVid").apply(off_by_one, "m.png")


def test_label_table_arguments():
    with pytest.raises(DataError, match="did you mean 'road'"):
        LabelTable(["road", "car"], label_map={3: "raod"})
    with pytest.raises(DataError, match=r"classes 0\.\.1"):
        LabelTable(["road", "car"], label_map={3: 2})
    with pytest.raises(DataError, match="one of them"):
        LabelTable(["road", "car"], label_map={3: 1}, reduce_zero_label=True)
    with pytest.raises(DataError, match="300 classes"):
        LabelTable([str(i) for i in range(300)])
    with pytest.raises(DataError, match="'sky' is neither"):
        LabelTable(["road", "car"], label_map={"sky": 1})


def test_label_error_survives_a_worker_process():
    import pickle

    error = pickle.loads(pickle.dumps(LabelError("text", "m.png", (3,))))
    assert (str(error), error.path, error.values) == ("text", "m.png", (3,))


def test_colors_to_classes(tmp_path):
    table = ColorTable(["a", "b"], [(10, 20, 30), (30, 20, 10)], {"#ffffff": "ignore", (0, 0, 0): "b"})
    colors = np.array([[[10, 20, 30], [30, 20, 10], [255, 255, 255], [0, 0, 0]]], np.uint8)
    Image.fromarray(colors).save(tmp_path / "m.png")
    assert table.apply(read_colors(tmp_path / "m.png"), "m.png").tolist() == [[0, 1, 255, 1]]
    colors[0, 2] = 1, 2, 3
    with pytest.raises(LabelError, match=r"m\.png: the color \(1, 2, 3\) at x=2, y=0 belongs to no class"):
        table.apply(colors, "m.png")
    with pytest.raises(DataError, match="stands for two classes"):
        ColorTable(["a", "b"], [(1, 2, 3), (1, 2, 3)])


def test_color_spellings():
    assert as_color("#0a141e") == as_color("10, 20, 30") == as_color([10, 20, 30]) == (10, 20, 30)
    assert (
        as_color(3) is None and as_color("road") is None and as_color((1, 2)) is None and as_color((1, 2, 256)) is None
    )


def test_default_palette_is_that_of_voc():
    palette = default_palette(256)
    assert len(set(palette)) == 256
    # VOC's labels: aeroplane, bicycle, potted plant, tv/monitor, and 255, the outline's color
    assert [palette[i] for i in (0, 1, 2, 16, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (0, 64, 0),
        (0, 64, 128),
        (224, 224, 192),
    ]
