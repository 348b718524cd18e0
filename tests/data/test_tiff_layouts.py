"""TIFF in every layout: what is read is what is stored, in images and in masks, whoever wrote the file.

The files of the table were written by GDAL, tifffile and Pillow from known arrays (tests/fixtures/pack_tiff.py).
"""

import builtins
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.data.files.images import read_image
from segkit.data.files.masks import read_colors, read_mask
from segkit.data.files.tiff import read_tiff
from segkit.data.interactive.grabcut import channels as click_mask
from segkit.files import DataError
from tests.data.test_reading import tiff

with np.load(Path(__file__).parents[1] / "fixtures/tiff/layouts.npz") as packed:
    PACKED = {name: packed[name] for name in packed.files}
NAMES = [name for name in PACKED if f"{name} samples" in PACKED]


def written(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "a.tif"
    path.write_bytes(PACKED[name].tobytes())
    return path


def test_the_table_is_whole():
    assert len(NAMES) == 263
    for words in (" u1 ", " i2 ", " f4 ", " separate ", "(16, 16)", "lzw", "packbits", "jpeg", "miniswhite", "sparse"):
        assert any(words in name for name in NAMES), words


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_those_stored(tmp_path, name):
    samples = PACKED[f"{name} samples"]
    found = read_tiff(PACKED[name].tobytes(), name).samples
    assert found.dtype == samples.dtype and np.array_equal(found, samples)
    path, count = written(tmp_path, name), samples.shape[2]
    if count != 3:
        image = read_image(path, count)
        assert image.dtype == (np.uint8 if samples.dtype == np.uint8 else np.float32)
        assert np.array_equal(image, samples.astype(image.dtype))
    if count == 1 and samples.dtype.kind in "ui" and "jpeg" not in name:
        mask = read_mask(path)
        assert mask.dtype == samples.dtype and np.array_equal(mask, samples[..., 0])


MEANING = ("alpha", "cmyk", "CMYK", "palette", "jpeg", "bits", "LA", "RGBA", "pillow P", "defaults")
"""Files whose three channels are not simply those stored; the tests below are about them."""


@pytest.mark.parametrize("name", [name for name in NAMES if not any(word in name for word in MEANING)])
def test_three_channels_of_plain_samples(tmp_path, name):
    """Grey is repeated; 16 bits come to 0..255; signed, floating-point and 32-bit values stay; else a refusal."""
    samples, path = PACKED[f"{name} samples"], written(tmp_path, name)
    if samples.shape[2] not in (1, 3) and "pillow 1 " not in name:
        with pytest.raises(DataError, match=rf"{samples.shape[2]} bands.*set channels={samples.shape[2]}"):
            read_image(path)
        return
    image = read_image(path)
    wanted = np.broadcast_to(samples, (*samples.shape[:2], 3)).astype(np.float64)
    factor = 1 / 257 if samples.dtype == np.uint16 else 255 if "pillow 1 " in name else 1
    assert image.dtype == (np.uint8 if samples.dtype == np.uint8 else np.float32)
    assert np.allclose(image, wanted * factor, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 9, 12, 13])
@pytest.mark.parametrize("samples", [1, 3])
def test_bits_come_to_0_to_255_in_three_channels(tmp_path, bits, samples):
    name = f"gdal bits {bits} {samples}"
    stored = PACKED[f"{name} samples"].astype(np.float64)
    image = read_image(written(tmp_path, name))
    exact = np.broadcast_to(stored * 255 / (2**bits - 1), image.shape)
    assert image.dtype == (np.uint8 if bits <= 8 else np.float32)
    assert np.abs(image - exact).max() <= (0.5 if bits <= 8 else 1e-4)
    assert image.max() > 50


@pytest.mark.parametrize(
    "name, is_alpha",
    [
        *((f"tifffile alpha {kind} 4 {planar}", kind != "unspecified")
          for kind in ("unspecified", "assocalpha", "unassalpha") for planar in ("contig", "separate")),
        ("gdal alpha YES", True), ("gdal alpha PREMULTIPLIED", True), ("gdal alpha NO", False),
        ("gdal alpha UNSPECIFIED", False), ("gdal defaults 4", True), ("gdal minisblack 4", False),
        ("pillow RGBA None", True), ("pillow RGBA tiff_lzw", True),
    ],
)  # fmt: skip
def test_a_fourth_band_is_dropped_only_where_the_file_calls_it_alpha(tmp_path, name, is_alpha):
    """No band is multiplied by another, associated alpha included."""
    samples, path = PACKED[f"{name} samples"], written(tmp_path, name)
    assert np.array_equal(read_image(path, 4), samples)
    if is_alpha:
        assert np.array_equal(read_image(path), samples[..., :3])
    else:
        with pytest.raises(DataError, match=r"a\.tif: 4 bands.*set channels=4"):
            read_image(path)


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha", "unspecified"])
def test_grey_with_alpha(tmp_path, kind):
    name = f"tifffile alpha {kind} 2 contig"
    samples, path = PACKED[f"{name} samples"], written(tmp_path, name)
    assert np.array_equal(read_image(path, 2), samples)
    if kind == "unspecified":
        with pytest.raises(DataError, match="2 bands; set channels=2"):
            read_image(path)
        return
    assert np.array_equal(read_image(path), np.repeat(samples[..., :1], 3, 2))
    assert np.array_equal(read_image(path, 1), samples[..., :1])
    assert np.array_equal(read_mask(path), samples[..., 0])


@pytest.mark.parametrize("name", ["tifffile palette", "tifffile palette tiles", "gdal palette", "pillow P tiff_lzw"])
def test_a_palette_gives_colors_to_images_and_indices_to_masks(tmp_path, name):
    path, indices = written(tmp_path, name), PACKED[f"{name} samples"][..., 0]
    shown = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(read_image(path), shown) and np.array_equal(read_colors(path), shown)
    assert np.array_equal(read_mask(path), indices) and np.array_equal(read_image(path, 1)[..., 0], indices)


@pytest.mark.parametrize("name", ["tifffile cmyk u1", "gdal cmyk", "pillow CMYK None", "pillow CMYK tiff_lzw"])
def test_inks_become_colors(tmp_path, name):
    path = written(tmp_path, name)
    shown = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_image(path).astype(int) - shown).max() <= 1  # Pillow truncates
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255], [0, 51, 0, 127]]], np.uint8)
    Image.frombytes("CMYK", (5, 1), inks.tobytes()).save(path)
    assert read_image(path)[0].tolist() == [[255, 255, 255], [0, 255, 255], [255, 0, 0], [0, 0, 0], [128, 102, 128]]


def test_inks_of_16_bits(tmp_path):
    image = read_image(written(tmp_path, "tifffile cmyk u2"))
    inks = PACKED["tifffile cmyk u2 samples"] / 65535
    assert image.dtype == np.float32 and np.abs(image - 255 * (1 - inks[..., :3]) * (1 - inks[..., 3:])).max() < 0.01


@pytest.mark.parametrize("name", [name for name in NAMES if " jpeg" in name])
def test_jpeg_within_tiff(tmp_path, name):
    samples, path = PACKED[f"{name} samples"], written(tmp_path, name)
    if samples.shape[2] == 3:
        assert np.array_equal(read_image(path), samples)
    with pytest.raises(DataError, match="compressed as JPEG, which alters labels"):
        read_mask(path)


@pytest.mark.parametrize("name", ["tifffile miniswhite u1", "gdal miniswhite"])
def test_where_0_is_white_nothing_is_inverted(tmp_path, name):
    samples, path = PACKED[f"{name} samples"], written(tmp_path, name)
    assert np.array_equal(read_mask(path), samples[..., 0])
    assert np.array_equal(read_image(path), np.repeat(samples, 3, 2))


def test_pages_are_channels_and_never_dropped(tmp_path):
    path = written(tmp_path, "tifffile pages 16")
    assert read_image(path, 5).shape == (17, 19, 5)
    for read in (read_image, lambda path: read_image(path, 1)):
        with pytest.raises(DataError, match="channels=5"):
            read(path)
    with pytest.raises(DataError, match="a mask of 5 bands or pages"):
        read_mask(path)


def test_overviews_are_passed_over(tmp_path):
    assert read_image(written(tmp_path, "gdal big with overviews"), 4).shape == (17, 19, 4)


def test_masks_of_colors_and_of_clicks(tmp_path):
    path = written(tmp_path, "tifffile rgb u1")
    colors = PACKED["tifffile rgb u1 samples"]
    assert np.array_equal(read_colors(path), colors) and np.array_equal(click_mask(str(path)), colors[..., ::-1])
    with pytest.raises(DataError, match="color-coded mask"):
        read_mask(path)
    bits = written(tmp_path, "gdal bits 1 1")  # a click mask is an object above 128
    assert np.array_equal(click_mask(str(bits))[..., 0], 255 * PACKED["gdal bits 1 1 samples"][..., 0])
    path = written(tmp_path, "tifffile cmyk u2")
    assert read_colors(path).dtype == np.uint8


def test_no_other_package_is_needed(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] in ("tifffile", "imagecodecs"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.tif").write_bytes(tiff(np.arange(20, dtype=np.uint8).reshape(2, 2, 5)))
    assert read_image(tmp_path / "a.tif", 5).ravel().tolist() == list(range(20))


@pytest.mark.parametrize("name", NAMES[::9])
def test_broken_files_are_named(tmp_path, name):
    """Cut anywhere, or with bytes changed, a file is read or refused by a sentence; nothing else."""
    content, rng = PACKED[name].tobytes(), np.random.default_rng(1)
    path = tmp_path / "a.tif"
    for end in np.linspace(1, len(content) - 1, 12).astype(int):
        path.write_bytes(content[:end])
        for read in (read_mask, read_image, lambda path: read_image(path, 2)):
            with pytest.raises(DataError, match=r"a\.tif: "):
                read(path)
                # tags at the end may be padded, and readers need no more than the last byte of the samples
                if end > 0.9 * len(content):
                    raise DataError(f"{path}: ")
    for _ in range(20):
        wrong = np.frombuffer(content, np.uint8).copy()
        wrong[rng.integers(0, len(wrong), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(wrong.tobytes())
        for read in (read_mask, read_image):
            try:
                read(path)
            except DataError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIF", ".png"])
def test_the_content_decides_not_the_suffix(tmp_path, suffix):
    name = "tifffile alpha unassalpha 4 contig"
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACKED[name].tobytes())
    assert np.array_equal(read_image(path), PACKED[f"{name} samples"][..., :3])


@pytest.mark.parametrize(
    "tag, values, words",
    [
        (259, 34887, "compression LERC.*COMPRESS=DEFLATE"),
        (259, 50001, "compression WebP"),
        (259, 12345, "of number 12345"),
        (258, 24, "24 bits; export it as 8, 16 or 32 bits"),
        (339, 6, "complex values"),
        (262, 8, "CIELab; export it as RGB"),
        (262, 6, "YCbCr colors without JPEG; export it as RGB"),
    ],
)
def test_what_is_not_read_names_the_way_out(tmp_path, tag, values, words):
    content = bytearray(tiff(np.zeros((2, 2, 1), np.uint8)))
    for entry in range(10, 10 + 12 * content[8], 12):
        if int.from_bytes(content[entry : entry + 2], "little") == tag:
            content[entry + 8 : entry + 10] = values.to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.tif: .*{words}"):
        read_image(tmp_path / "a.tif")
