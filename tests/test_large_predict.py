"""segkit predict on images in windows: labels equal to a sliding window, flat memory, a GeoTIFF, polygons."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segkit
import segkit.cli.large as command
from segkit import api
from segkit.cli.main import main
from segkit.data.dataset import Reading
from segkit.data.files.images import read_image
from segkit.data.files.tiff import Stored
from segkit.data.large.georeference import Georeference, tags_of
from segkit.data.large.open_large import open_large
from segkit.data.large.outlining import regions, signed_area
from segkit.data.large.reader import InMemory, WindowReader, plain_page
from segkit.data.large.tiff_writer import TiffWriter
from segkit.registry import ConfigError
from segkit.runners import large, large_band
from segkit.runners.ensemble import runner_of
from segkit.runners.inputs import inputs_of
from tests.test_predict_inputs import saved

RNG = np.random.default_rng(3)


def blobs(h: int, w: int) -> np.ndarray:
    """RGB of soft blobs, on which an untrained network finds both of its classes."""
    image = cv2.GaussianBlur(RNG.integers(0, 256, (h, w, 3)).astype(np.uint8), (0, 0), 3).astype(float)
    return ((image - image.min()) * 255 / np.ptp(image)).astype(np.uint8)


def write(path: Path, array: np.ndarray, epsg: int | None = 32632, **options) -> Path:
    place = Georeference() if epsg is None else Georeference(tags=tags_of((2.0, 0, 5e5, 0, -2.0, 5e6), epsg))
    with open(path, "wb") as file:
        writer = TiffWriter(file, array.shape[:2], array.dtype, samples=array.shape[2], place=place, **options)
        writer.write(0, 0, array)
        writer.close()
    return path


def run(weights: Path, *words, code: int = 0) -> None:
    assert main(["predict", str(weights), *map(str, words), "--device", "cpu"]) == code


def labels_of(path: Path) -> np.ndarray:
    with open_large(path) as reader:
        return reader.read(0, 0, *reader.size)[:, :, 0]


@pytest.mark.parametrize(
    "inference",
    [
        dict(crop=(128, 160), stride=(85, 106)),
        dict(crop=(100, 100), stride=(100, 70), pad_divisor=32),
        dict(crop=(2000, 120), stride=(80, 80)),
        dict(crop=(64, 64), stride=(30, 64), fold_norms=True),
    ],
)
@pytest.mark.parametrize("panel", [1 << 28, 1 << 17])
def test_labels_equal_those_of_a_sliding_window(tmp_path, monkeypatch, inference, panel):
    """To the pixel, with one panel and with several."""
    image = blobs(270, 530)
    write(tmp_path / "a.tif", image)
    model = segkit.load_model(saved(tmp_path))
    model.config["inference"] = dict(mode="slide", **inference)
    expected = segkit.predict(model, image)["labels"]
    assert len(np.unique(expected)) == 2
    monkeypatch.setattr(large_band, "PANEL_BYTES", panel)
    predictor = large.LargePredictor(model, api.build_runner(model.config), inputs_of(model))
    with open_large(tmp_path / "a.tif") as reader:
        result = large_band.write_labels(predictor, reader, tmp_path / "labels.tif")
    assert np.array_equal(labels_of(tmp_path / "labels.tif"), expected)
    assert result.rows_held == min(inference["crop"][0], 288 if "pad_divisor" in inference else 270)


class Counting(WindowReader):
    """An image of any size that tells its largest window; every pixel follows from its place."""

    def __init__(self, side: int):
        self.path, self.page, self.most, self.pixels = "made", plain_page((side, side), 3, np.dtype(np.uint8)), 0, 0

    def _read(self, row0, col0, h, w):
        self.most, self.pixels = max(self.most, h * w), self.pixels + h * w
        y, x = np.arange(row0, row0 + h)[:, None], np.arange(col0, col0 + w)
        return np.repeat(((y // 37 + x // 53) * 40 % 256).astype(np.uint8)[:, :, None], 3, 2)


def test_memory_is_flat_in_the_size_of_the_image(tmp_path, monkeypatch):
    """Between 1,024 and 3,072 pixels a side: the largest window that is read, and the sums that are kept, stay."""
    monkeypatch.setattr(large_band, "PANEL_BYTES", 1 << 22)
    model = segkit.load_model(saved(tmp_path))
    model.config["inference"] = dict(crop=(256, 256), stride=(256, 256))
    predictor = large.LargePredictor(model, api.build_runner(model.config), inputs_of(model))
    monkeypatch.setattr(
        predictor, "score", lambda image, window: torch.stack([image[:, 0] - 127.0, 127.0 - image[:, 0]], 1)
    )
    sums = []
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **options: sums.append(np.prod(size)) or zeros(*size, **options))
    largest, told = [], []
    for side in (1024, 3072):
        reader = Counting(side)
        sums.clear()
        result = large_band.write_labels(
            predictor, reader, tmp_path / "o.tif", progress=lambda *counts: told.append(counts)
        )
        assert told[-1] == (result.windows, result.windows) and result.rows_held == 256
        assert reader.pixels == side * side  # none is read twice
        largest.append((reader.most, max(sums)))
        assert np.array_equal(labels_of(tmp_path / "o.tif"), reader._read(0, 0, side, side)[:, :, 0] < 127)
    (small, small_sums), (wide, wide_sums) = largest
    # a column takes 256 rows of 2 sums and 2 means of 4 bytes, a count, a bool and 3 samples: 6,144 bytes, so that a
    # panel has 512 columns, two of tiles
    assert small == wide == 256 * 512 and wide_sums == small_sums == 2 * 256 * 512


def test_pixels_without_data_get_no_label(tmp_path):
    image = blobs(150, 200)
    image[:80, :120] = 0
    image[100, 100] = (0, 5, 6)
    write(tmp_path / "a.tif", image, nodata=0)
    run(saved(tmp_path), tmp_path / "a.tif", "--large", "--out", tmp_path / "out", "--cfg-options", "inference.crop=64")
    labels = labels_of(tmp_path / "out/labels/a.tif")
    assert (labels[:80, :120] == 255).all() and (labels != 255).sum() == 150 * 200 - 80 * 120
    with open_large(tmp_path / "out/labels/a.tif") as reader:
        assert reader.nodata == 255 and reader.place.crs == "EPSG:32632" and reader.place.affine[:3] == (2, 0, 5e5)
    assert Image.open(tmp_path / "out/overlays/a.png").size == (200, 150)


def test_predict_chooses_windows_where_the_whole_would_not_fit(tmp_path, monkeypatch, capsys):
    weights = saved(tmp_path, train=dict(transforms=[dict(type="RandomCrop", size=(96, 64))]))
    image = blobs(150, 200)
    write(tmp_path / "a.tif", image)
    Image.fromarray(image).save(tmp_path / "b.png")
    words = [tmp_path / "a.tif", tmp_path / "b.png", "--out", tmp_path / "out"]
    monkeypatch.setattr("segkit.runners.memory.LEAST_PIXELS", 100)
    run(weights, *words)
    assert sorted(path.name for path in (tmp_path / "out/labels").iterdir()) == ["a.png", "b.png"]
    capsys.readouterr()
    monkeypatch.setattr("segkit.runners.memory.free_bytes", lambda device: 1_000_000)
    run(weights, *words)
    printed = capsys.readouterr().out
    assert "a.tif: 200x150 pixels at once need up to 0.0 GB, and 0.0 GB are free on cpu" in printed
    assert "predicting windows of 64x96 pixels, 42 and 64 apart" in printed and "--no-large" in printed
    assert f"{tmp_path}/out/labels/a.tif (10 windows, EPSG:32632)" in printed
    with open_large(tmp_path / "out/labels/b.tif") as reader:
        assert reader.place == Georeference()
    run(weights, *words, "--no-large", "--out", tmp_path / "whole")
    assert not (tmp_path / "whole/labels/a.tif").exists()
    monkeypatch.setenv("SEGKIT_MAX_PIXELS", "20000")
    capsys.readouterr()
    run(weights, *words)
    assert "200x150 pixels are more than SEGKIT_MAX_PIXELS = 20,000: predicting windows" in capsys.readouterr().out


def test_pieces_become_one_label_map(tmp_path):
    image = blobs(150, 200)
    (tmp_path / "town").mkdir()
    for i in range(3):
        for j in range(2):
            part = Image.fromarray(image[50 * i : 50 * i + 50, 100 * j : 100 * j + 100])
            part.save(tmp_path / f"town/y{50 * i}_x{100 * j}.png")
    write(tmp_path / "whole.tif", image)
    weights = saved(tmp_path)
    options = ["--out", tmp_path / "out", "--cfg-options", "inference.crop=(64,64)"]
    run(weights, tmp_path / "town", "--pieces", *options)
    run(weights, tmp_path / "whole.tif", "--large", *options)
    found = [labels_of(tmp_path / f"out/labels/{name}.tif") for name in ("town", "whole")]
    assert np.array_equal(*found) and len(np.unique(found[0])) == 2


def map_of(labels: np.ndarray) -> WindowReader:
    return InMemory("map", Stored(labels[:, :, None], plain_page(labels.shape, 1, labels.dtype)))


def test_regions_by_hand():
    """A ring around a hole; a pixel that touches it at a corner alone is a region of its own."""
    labels = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], np.uint8)
    found = sorted((r.label, r.pixels, [ring.tolist() for ring in r.rings]) for r in regions(map_of(labels), 255))
    assert found == [
        (0, 1, [[[1, 1], [2, 1], [2, 2], [1, 2]]]),
        (0, 3, [[[0, 3], [3, 3], [3, 4], [0, 4]]]),
        (0, 3, [[[3, 0], [4, 0], [4, 3], [3, 3]]]),
        (1, 1, [[[3, 3], [4, 3], [4, 4], [3, 4]]]),
        (1, 8, [[[0, 0], [3, 0], [3, 3], [0, 3]], [[1, 1], [1, 2], [2, 2], [2, 1]]]),
    ]
    assert [(r.label, r.pixels) for r in regions(map_of(labels), 0, least=2)] == [(1, 8)]


@pytest.mark.parametrize("strip", [1, 3, 256])
def test_regions_cover_every_pixel_once(monkeypatch, strip):
    """Each ring has its area in pixels, no ring meets itself, and the regions drawn give the map back."""
    monkeypatch.setattr("segkit.data.large.outlining.STRIP", strip)
    from segkit.data.large.vectors import is_inside

    for number in range(12):
        shape = (int(RNG.integers(1, 30)), int(RNG.integers(1, 30)))
        labels = RNG.integers(0, 3, shape).astype(np.uint8)
        drawn = np.full(shape, 9, np.uint8)
        for region in regions(map_of(labels), 255):
            outline, *holes = region.rings
            assert signed_area(outline) > 0 and all(signed_area(hole) < 0 for hole in holes)
            assert sum(map(signed_area, region.rings)) == region.pixels
            assert all(len(np.unique(ring, axis=0)) == len(ring) for ring in region.rings)
            edges = np.concatenate([np.concatenate([ring, np.roll(ring, -1, 0)], 1) for ring in region.rings])
            inside = is_inside(edges.astype(float), *shape)
            assert (drawn[inside] == 9).all() and inside.sum() == region.pixels, number
            drawn[inside] = region.label
        assert np.array_equal(drawn, labels)


def geojson_of(tmp_path: Path, *words, image: Path | None = None) -> dict:
    options = ["--geojson", "--out", tmp_path / "out", "--cfg-options", "inference.crop=(64,64)"]
    run(tmp_path / "a.pt", image or tmp_path / "a.tif", *words, *options)
    return json.loads((tmp_path / "out/polygons/a.geojson").read_text())


def test_polygons_in_the_system_of_the_image(tmp_path, capsys):
    saved(tmp_path)
    write(tmp_path / "a.tif", blobs(90, 120))
    found = geojson_of(tmp_path)
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    assert "polygons, in EPSG:32632, the image's system, which the member crs names" in capsys.readouterr().out
    labels = labels_of(tmp_path / "out/labels/a.tif")
    total = 0
    for feature in found["features"]:
        outline, *holes = (np.array(ring) for ring in feature["geometry"]["coordinates"])
        assert (outline[0] == outline[-1]).all() and signed_area(outline[:-1]) > 0  # against the clock, on a map
        assert all(signed_area(hole[:-1]) < 0 for hole in holes)
        area = sum(signed_area(ring[:-1]) for ring in (outline, *holes)) / 4  # pixels are of 2 m
        assert area == feature["properties"]["pixels"]
        assert feature["properties"]["name"] == "ab"[feature["properties"]["class"]]
        total += area
    assert total == labels.size
    few = geojson_of(tmp_path, "--min-area", 30, "--simplify", 2)["features"]
    assert 0 < len(few) < len(found["features"]) and min(f["properties"]["pixels"] for f in few) >= 30
    corners = [sum(len(r) for f in fs for r in f["geometry"]["coordinates"]) for fs in (few, found["features"])]
    assert corners[0] < corners[1] / 2


def test_polygons_without_a_place_are_in_pixels(tmp_path, capsys):
    saved(tmp_path)
    found = geojson_of(tmp_path, image=write(tmp_path / "a.tif", blobs(90, 120), epsg=None))
    assert "crs" not in found and "in pixels of the image" in capsys.readouterr().out
    points = np.concatenate([np.array(r) for f in found["features"] for r in f["geometry"]["coordinates"]])
    assert points.min(0).tolist() == [0, 0] and points.max(0).tolist() == [120, 90]


def test_polygons_in_longitude_and_latitude(tmp_path, monkeypatch, capsys):
    saved(tmp_path)
    write(tmp_path / "a.tif", blobs(90, 120))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    words = [tmp_path / "a.tif", "--geojson", "--wgs84", "--out", tmp_path / "out"]
    run(tmp_path / "a.pt", *words, code=1)
    assert "--wgs84 needs the package rasterio; pip install 'segkit[geo]'" in capsys.readouterr().err
    monkeypatch.undo()
    pytest.importorskip("rasterio")
    pyproj = pytest.importorskip("pyproj")
    found = geojson_of(tmp_path, "--wgs84")
    assert "crs" not in found
    forward = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    points = np.concatenate([np.array(r) for f in found["features"] for r in f["geometry"]["coordinates"]])
    x, y = forward.transform(points[:, 0], points[:, 1])
    assert np.allclose([x.min(), x.max(), y.min(), y.max()], [5e5, 5e5 + 240, 5e6 - 180, 5e6], atol=0.01)


@pytest.mark.parametrize(
    "shape, dtype, code",
    [((60, 70, 3), np.uint16, 0), ((60, 70, 5), np.uint8, 1), ((60, 70, 5), np.uint16, 1)],
)
def test_other_bands_and_bits(tmp_path, capsys, shape, dtype, code):
    """16 bits come to 0..255 as in whole images; five bands are refused by a model of three channels."""
    array = (blobs(60, 70).astype(np.uint16) * 257)[:, :, [0, 1, 2, 0, 1][: shape[2]]].astype(dtype)
    write(tmp_path / "a.tif", array)
    run(saved(tmp_path), tmp_path / "a.tif", "--large", "--out", tmp_path / "out", code=code)
    if code:
        assert (
            "a.tif: 5 bands; set channels=5 to read all, bands=[3, 2, 1] or the like to choose some"
            in capsys.readouterr().err
        )
        assert not (tmp_path / "out/labels").exists() or not list((tmp_path / "out/labels").iterdir())
        return
    expected = segkit.predict(segkit.load_model(tmp_path / "a.pt"), tmp_path / "a.tif")["labels"]
    assert np.array_equal(labels_of(tmp_path / "out/labels/a.tif"), expected)  # one window is the whole image


def test_a_truncated_tile_ends_the_prediction_of_this_image_alone(tmp_path, capsys):
    image = blobs(600, 600)
    content = write(tmp_path / "b.tif", image, compress=False).read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:200_000])
    with open_large(tmp_path / "b.tif") as reader:
        assert reader.size == (600, 600)
    at = int.from_bytes(content[4:8], "little")
    # the tags are at the end: moved to the front of the tile that is cut off
    (tmp_path / "c.tif").write_bytes(content[:at])
    (tmp_path / "a.tif").unlink()
    words = [tmp_path / "c.tif", tmp_path / "b.tif", "--large", "--out", tmp_path / "out"]
    run(saved(tmp_path), *words, "--cfg-options", "inference.crop=(300,300)", code=1)
    errors = capsys.readouterr().err
    assert "1 of 2 images failed" in errors and "c.tif" in errors
    assert [path.name for path in (tmp_path / "out/labels").iterdir()] == ["b.tif"]


@pytest.mark.parametrize(
    "config, match",
    [
        (dict(inference=dict(refiners=[dict(type="DenseCRF")])), r"inference\.refiners = DenseCRF: refiners see whole"),
        (dict(inference=dict(tta=dict(keep_areas=True))), r"inference\.tta\.keep_areas: areas are those of whole"),
        (
            dict(test=dict(transforms=[dict(type="Resize", size=(32, 32))])),
            r"test\.transforms = Resize: moves the pixels",
        ),
        (dict(inference=dict(crop=(8, 8), stride=(9, 9))), r"inference\.stride = \(9, 9\): must lie between"),
    ],
)
def test_what_needs_the_whole_image_is_refused(tmp_path, config, match):
    model = segkit.load_model(saved(tmp_path))
    model.config |= config
    with pytest.raises(ConfigError, match=match):
        large.LargePredictor(model, api.build_runner(model.config), inputs_of(model))


@pytest.mark.parametrize(
    "words, match",
    [
        (["--no-large", "--geojson"], "--no-large --geojson: polygons and pieces need windows"),
        (["--min-area", "3"], "--min-area: polygons are written with --geojson"),
        (["--geojson", "--min-area", "-3"], "must be numbers of 0 or more"),
        (["--pieces"], "--pieces .*a.png: is no folder"),
        (["--probabilities", "--large"], "--probabilities: are written of whole images alone"),
    ],
)
def test_options_that_contradict_each_other(tmp_path, capsys, words, match):
    weights = saved(tmp_path)
    run(weights, tmp_path / "a.png", *words, "--out", tmp_path / "out", code=2)
    import re

    assert re.search(match, capsys.readouterr().err)
    assert command.find_pieces([str(tmp_path)]) == {tmp_path: Path(tmp_path.name)}


@pytest.mark.slow
def test_an_image_of_20_000_pixels_a_side_takes_less_than_1500_mb(tmp_path):
    """In a process of its own, whose peak the system tells."""
    import subprocess
    import sys

    weights, tile = saved(tmp_path), blobs(1000, 1000)
    with open(tmp_path / "a.tif", "wb") as file:
        writer = TiffWriter(file, (20_000, 20_000), np.dtype(np.uint8), samples=3)
        for y in range(0, 20_000, 1000):
            for x in range(0, 20_000, 1000):
                writer.write(y, x, tile)
        writer.close()
    code = (
        "import resource, sys; from segkit.cli.main import main; assert main(sys.argv[1:]) == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    words = ["predict", weights, tmp_path / "a.tif", "--out", tmp_path / "out", "--device", "cpu"]
    result = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    assert "20000x20000 pixels are more than SEGKIT_MAX_PIXELS" in result.stdout
    assert int(result.stdout.split()[-1]) < 1_500_000
    with open_large(tmp_path / "out/labels/a.tif") as reader:
        assert reader.size == (20_000, 20_000) and len(np.unique(reader.read(9000, 9000, 500, 500))) == 2


def test_bands_and_ranges_are_those_of_whole_images(tmp_path):
    """Windows choose and scale bands as read_image does; a percentile is of the whole image, which no window knows."""
    array = np.random.default_rng(0).integers(0, 4096, (70, 90, 5)).astype(np.uint16)
    write(tmp_path / "a.tif", array)
    reading = Reading(scale=(0, 4095), bands=(3, 2, 1))
    with open_large(tmp_path / "a.tif") as reader:
        window = reader.image(reader.read(10, 20, 30, 40), 3, reading)
    whole_image = read_image(tmp_path / "a.tif", scale=(0, 4095), bands=(3, 2, 1))
    assert np.array_equal(window, whole_image[10:40, 20:60]) and window.max() > 200
    model = api.load_model(saved(tmp_path), device="cpu")
    with pytest.raises(ConfigError, match="percentiles are of whole images"):
        large.LargePredictor(model, api.build_runner(model.config), inputs_of(model, scale=("p1", "p99")))


def test_several_checkpoints_predict_whole_images(tmp_path):
    files = [saved(tmp_path), saved(tmp_path)]
    model = api.load_ensemble(files, device="cpu")
    with pytest.raises(ConfigError, match="several checkpoints: large images are predicted in windows, by one model"):
        large.LargePredictor(model, runner_of(model), inputs_of(model))
