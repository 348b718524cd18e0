"""LargeImages: windows of large images with labels from rasters and polygons."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.data.large.georeference import Georeference, tags_of
from segkit.data.large.tiff_writer import TiffWriter
from segkit.data.large.vectors import is_inside
from segkit.data.preflight import check_dataset
from segkit.data.semantic.large_images import LargeImages
from segkit.files import DataError

CLASSES = ["ground", "road"]
UTM = (2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0)


def write(path: Path, array: np.ndarray, affine=UTM, epsg=32632, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array.reshape(*array.shape[:2], -1)
    place = Georeference(tags=tags_of(affine, epsg))
    with open(path, "wb") as file:
        writer = TiffWriter(file, array.shape[:2], array.dtype, samples=array.shape[2], place=place, **options)
        writer.write(0, 0, array)
        writer.close()


@pytest.fixture(scope="module")
def scene():
    """An image of 300 x 400 pixels whose pixels tell their place, and labels: a road in its lower right corner."""
    y, x = np.mgrid[:300, :400]
    image = np.stack([y % 256, x % 256, (y // 256) * 2 + x // 256], 2).astype(np.uint8)
    labels = np.full((300, 400), 255, np.uint8)
    labels[:200, :100] = 0
    labels[250:, 390:] = 1
    return image, labels


@pytest.fixture
def root(tmp_path, scene):
    image, labels = scene
    write(tmp_path / "images/a.tif", image)
    write(tmp_path / "masks/a.tif", labels)
    return tmp_path


def place_of(sample) -> tuple[int, int]:
    y, x, more = (int(value) for value in sample["image"][0, 0])
    return y + 256 * (more // 2), x + 256 * (more % 2)


def test_the_grid_holds_every_labelled_pixel_and_no_window_without_one(root, scene):
    image, labels = scene
    data = LargeImages(str(root), CLASSES, window=(128, 100), stride=(86, 100))
    found = [tuple(map(int, name.partition("@")[2].split(","))) for name in data.ids]
    grid = [(y, x) for y in (0, 86, 172) for x in (0, 100, 200, 300)]
    assert found == [(y, x) for y, x in grid if (labels[y : y + 128, x : x + 100] != 255).any()] == [
        (0, 0), (86, 0), (172, 0), (172, 300)]  # fmt: skip
    seen = np.zeros_like(labels, bool)
    for index, (y, x) in enumerate(found):
        sample = data.sample(index, np.random.default_rng(0))
        assert np.array_equal(sample["image"], image[y : y + 128, x : x + 100])
        assert np.array_equal(sample["mask"], labels[y : y + 128, x : x + 100])
        assert sample["meta"]["size"] == (128, 100)
        seen[y : y + 128, x : x + 100] = True
    assert seen[labels != 255].all()
    assert np.array_equal(data.image(1), image[86:214, :100]) and np.array_equal(data.mask(1), labels[86:214, :100])


def test_random_windows_follow_from_the_generator_and_hold_labels(root, scene):
    image, labels = scene
    data = LargeImages(str(root), CLASSES, window=(40, 32), random=True, focus=["road"], focus_share=0.5)
    again = pickle.loads(pickle.dumps(data))
    assert len(data) == len([0 for y in (*range(0, 260, 40), 260) for x in (*range(0, 368, 32), 368)
                             if (labels[y : y + 40, x : x + 32] != 255).any()])  # fmt: skip
    roads, places = 0, set()
    for number in range(60):
        sample = data.sample(number % len(data), np.random.default_rng(number))
        y, x = place_of(sample)
        assert np.array_equal(sample["image"], image[y : y + 40, x : x + 32])
        assert np.array_equal(sample["mask"], labels[y : y + 40, x : x + 32]) and (sample["mask"] != 255).any()
        assert place_of(again.sample(number % len(data), np.random.default_rng(number))) == (y, x)
        roads += bool((sample["mask"] == 1).any())
        places.add((y, x))
    assert 20 <= roads <= 45  # half of them by focus_share, hardly any by chance
    assert len(places) > 50


def test_a_window_larger_than_the_image_is_the_image(root, scene):
    data = LargeImages(str(root), CLASSES, window=1000)
    assert len(data) == 1 and np.array_equal(data.image(0), scene[0])


def test_pixels_without_data_are_filled_and_ignored(tmp_path, scene):
    """By what the file states in all channels together, and by the argument in any."""
    image, labels = scene[0].copy(), np.zeros((300, 400), np.uint8)
    image[:150, :200] = 0
    image[200, 300] = (0, 7, 9)
    write(tmp_path / "images/a.tif", image, nodata=0)
    write(tmp_path / "masks/a.tif", labels)
    data = LargeImages(str(tmp_path), CLASSES, window=(150, 200))
    assert [name.partition("@")[2] for name in data.ids] == ["0,200", "150,0", "150,200"]
    sample = data.sample(2, np.random.default_rng(0))
    assert (sample["mask"] == 0).all() and tuple(sample["image"][50, 100]) == (0, 7, 9)
    one = LargeImages(str(tmp_path), CLASSES, window=(300, 400)).sample(0, np.random.default_rng(0))
    assert (one["mask"][:150, :200] == 255).all() and (one["mask"][150:] == 0).all()
    mean = np.rint(image[~(image == 0).all(2)].mean(0))
    assert np.array_equal(one["image"][0, 0], mean)
    argued = LargeImages(str(tmp_path), CLASSES, window=(300, 400), nodata=0).sample(0, np.random.default_rng(0))
    assert argued["mask"][200, 300] == 255


def test_no_data_of_labels_is_ignored_unless_it_is_named(root, scene):
    write(root / "masks/a.tif", np.where(scene[1] == 1, 1, 0).astype(np.uint8), nodata=0)
    data = LargeImages(str(root), CLASSES, window=(100, 100))
    assert len(data) == 1 and set(np.unique(data.mask(0))) == {1, 255}
    assert "states 0 as no data" in data.notes[0]
    assert len(LargeImages(str(root), CLASSES, window=(100, 100), label_map={0: "ground"})) == 12


def feature(points, value="road", kind="Polygon"):
    ground = [[500_000 + 2 * x, 5_000_000 - 2 * y] for x, y in points]
    rings = [[*ground, ground[0]]]
    geometry = dict(type=kind, coordinates=rings if kind == "Polygon" else [rings])
    return dict(type="Feature", properties={"class": value, "id": 3}, geometry=geometry)


def collection(*features, crs: str | None = "urn:ogc:def:crs:EPSG::32632") -> str:
    member = {} if crs is None else dict(crs=dict(type="name", properties=dict(name=crs)))
    return json.dumps(dict(type="FeatureCollection", features=list(features), **member))


@pytest.fixture
def drawn(root):
    (root / "masks/a.tif").unlink()
    small, large = [(120, 60), (160, 60), (160, 90), (120, 90)], [(100, 50), (200, 50), (200, 150), (100, 150)]
    far = [(9000, 9000), (9010, 9000), (9010, 9010)]
    text = collection(feature(small, "roof"), feature(large, 1, "MultiPolygon"), feature(far))
    (root / "masks/a.geojson").write_text(text)
    return root


def test_polygons_are_drawn_per_window_the_smaller_above(drawn):
    data = LargeImages(str(drawn), [*CLASSES, "house"], window=(64, 80), label_map={"roof": "house"})
    expected = np.zeros((300, 400), np.uint8)
    expected[50:150, 100:200] = 1
    expected[60:90, 120:160] = 2
    assert len(data) == 25
    for index, name in enumerate(data.ids):
        y, x = map(int, name.partition("@")[2].split(","))
        assert np.array_equal(data.mask(index), expected[y : y + 64, x : x + 80])
    assert "1 polygons lie outside" in data.notes[0]
    rest = LargeImages(str(drawn), [*CLASSES, "house"], window=(64, 80), label_map={"roof": "house"}, rest="ignore")
    assert 0 < len(rest) < 25 and 0 not in np.unique([rest.mask(index) for index in range(len(rest))])


def test_a_pixel_is_inside_where_its_centre_is():
    triangle = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    hole = np.array([[0.4, 0.4], [1.4, 0.4], [1.4, 1.4], [0.4, 1.4]])
    edges = np.concatenate([np.concatenate([ring, np.roll(ring, -1, 0)], 1) for ring in (triangle, hole)])
    # centres below the line x + y = 4 are inside; that of the first pixel lies in the hole
    assert is_inside(edges, 4, 5).astype(int).tolist() == [
        [0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]  # fmt: skip


@pytest.mark.parametrize(
    "text, match",
    [
        (collection(feature([(0, 0), (9, 0), (9, 9)], "raod")), r"class = 'raod': no class; did you mean 'road'\?"),
        (collection(feature([(0, 0), (9, 0), (9, 9)]), crs="urn:x:MINE"), "crs = 'urn:x:MINE': must name a number"),
        (collection(dict(feature([(0, 0), (1, 1), (1, 0)]), properties={"klass": 1})),
         r"no property 'class'.*did you mean 'klass'"),
        (collection(dict(feature([(0, 0)]), geometry=dict(type="Point", coordinates=[1, 2]))), "must be a Polygon"),
        (collection(feature([(900, 900), (901, 900), (901, 901)])), "none of its 1 polygons lies in .*a.tif; check"),
        (collection(dict(feature([(0, 0)]), geometry=dict(type="Polygon", coordinates=[[["a", 1]] * 4]))), "no ring"),
        ("[1]", "no FeatureCollection"),
    ],
)  # fmt: skip
def test_polygons_that_cannot_be_used(drawn, text, match):
    (drawn / "masks/a.geojson").write_text(text)
    with pytest.raises(DataError, match=match):
        LargeImages(str(drawn), CLASSES)


def test_polygons_need_a_place_and_another_system_a_package(drawn, scene, monkeypatch):
    text = collection(feature([(0, 0), (9, 0), (9, 9)]), crs=None)
    (drawn / "masks/a.geojson").write_text(text)
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(DataError, match=r"EPSG:4326, those of .*a.tif in EPSG:32632.*segkit\[geo\]"):
        LargeImages(str(drawn), CLASSES)
    write(drawn / "images/a.tif", scene[0], epsg=None)
    with pytest.raises(DataError, match=r"a.tif: states no reference system, so that the polygons of .*a.geojson"):
        LargeImages(str(drawn), CLASSES)
    write(drawn / "images/a.tif", scene[0], affine=None, epsg=None)
    with pytest.raises(DataError, match="states no place on the ground"):
        LargeImages(str(drawn), CLASSES)


def test_polygons_in_longitude_and_latitude(drawn):
    """Taken over by rasterio; an independent way back, of pyproj, says where the corners lie."""
    pytest.importorskip("rasterio")
    pyproj = pytest.importorskip("pyproj")
    inverse = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    corners = [(100, 50), (200, 50), (200, 150), (100, 150), (100, 50)]
    ring = [list(inverse.transform(500_000 + 2 * x, 5_000_000 - 2 * y)) for x, y in corners]
    geometry = dict(type="Polygon", coordinates=[ring])
    (drawn / "masks/a.geojson").write_text(
        collection(dict(type="Feature", properties={"class": "road"}, geometry=geometry), crs=None)
    )
    mask = LargeImages(str(drawn), CLASSES, window=1000).mask(0)
    expected = np.zeros((300, 400), np.uint8)
    expected[50:150, 100:200] = 1
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    "labels, options, match",
    [
        (np.zeros((300, 399), np.uint8), {}, "labels of 399x300 pixels for an image of 400x300"),
        (np.zeros((300, 400), np.uint8), dict(affine=(2.0, 0, 500_006.0, 0, -2.0, 5e6)), "lies 3 pixels beside"),
        (np.zeros((300, 400), np.uint8), dict(epsg=32633), "lies in EPSG:32633, the image in EPSG:32632"),
        (np.zeros((300, 400, 3), np.uint8), {}, "labels in 3 bands of uint8; export one band"),
        (np.full((300, 400), 255, np.uint8), {}, "none of 1 images has a labelled pixel"),
        (np.full((300, 400), 9, np.uint8), {}, r"a.tif \(window at row 0, column 0\): label 9 .* beyond the 2 classes"),
    ],
)
def test_labels_that_do_not_fit(root, labels, options, match):
    write(root / "masks/a.tif", labels, **options)
    with pytest.raises(DataError, match=match):
        LargeImages(str(root), CLASSES)


def test_arguments_that_cannot_be(root):
    with pytest.raises(DataError, match=r"focus = 'raod': no such class; did you mean 'road'\?"):
        LargeImages(str(root), CLASSES, focus=["raod"])
    with pytest.raises(DataError, match=r"stride = 600: must lie between 1 and window"):
        LargeImages(str(root), CLASSES, stride=600)
    with pytest.raises(DataError, match=r"array of 0x0x3 where \[H,W,5\]"):
        LargeImages(str(root), CLASSES, channels=5)
    (root / "masks/a.tif").unlink()
    with pytest.raises(DataError, match=r"labels are named NAME\.tif or NAME\.geojson"):
        LargeImages(str(root), CLASSES)


def test_images_in_pieces_and_the_pre_flight_check(tmp_path, scene):
    image, labels = scene
    folder = tmp_path / "images/town"
    folder.mkdir(parents=True)
    for i in range(3):
        for j in range(2):
            Image.fromarray(image[100 * i : 100 * i + 100, 200 * j : 200 * j + 200]).save(folder / f"r{i}_c{j}.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(labels).save(tmp_path / "masks/town.png")
    data = LargeImages(str(tmp_path), CLASSES, window=(128, 100), pieces=True)
    assert np.array_equal(data.image(1), image[128:256, :100]) and np.array_equal(data.mask(1), labels[128:256, :100])
    report = check_dataset(data, 2)
    assert not report.errors and "labels: 2 of 2 classes present" in "\n".join(report.lines)
