"""What can be predicted: files of any kind by the reader of the data sets, arrays and pictures, or a sentence."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segkit import api
from segkit.cli.main import main
from segkit.cli.predict import find_images
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.semantic.folder import Folder
from segkit.engine import checkpoint
from segkit.files import DataError
from segkit.registry import ConfigError, build_model

RNG = np.random.default_rng(0)


def saved(folder: Path, channels: int = 3, dataset: dict | None = None, **more) -> Path:
    """A checkpoint of an untrained network of segkit's own parts; it also holds a data set."""
    backbone = dict(type="PlainEncoder", channels=(8, 8), in_channels=channels)
    config = dict(
        model=dict(num_classes=2, backbone=backbone, head=dict(type="UNetHead", channels=(8,))),
        losses=[dict(type="CrossEntropy", on="logits", target="mask")],
        test=dict(dataset=dataset or dict(type="Shapes", size=(32, 32), length=2)),
        **more,
    )
    torch.manual_seed(0)
    model = build_model(config["model"])
    content = dict(model=model.state_dict(), config=config, classes=["a", "b"], palette=[[0, 0, 0], [255, 0, 0]])
    checkpoint.save(folder / "a.pt", content)
    return folder / "a.pt"


def predicted(weights: Path, out: Path, *words) -> dict[str, np.ndarray]:
    """The label maps that the command writes, by name."""
    code = main(["predict", str(weights), *map(str, words), "--out", str(out), "--device", "cpu"])
    assert code == 0
    return {path.stem: np.asarray(Image.open(path)) for path in (out / "labels").rglob("*.png")}


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_models_of_any_number_of_channels(tmp_path, channels):
    weights = saved(tmp_path, channels)
    (tmp_path / "in").mkdir()
    image = RNG.integers(0, 256, (16, 24, channels)).astype(np.uint8)
    np.save(tmp_path / "in/a.npy", image)
    labels = predicted(weights, tmp_path / "out", tmp_path / "in")["a"]
    model = segkit.load_model(weights)
    assert np.array_equal(labels, segkit.predict(model, image)["labels"])
    assert len(np.unique(labels)) == 2  # a constant map would tell nothing


def test_tiff_of_four_bands_and_arrays_of_another_number(tmp_path, capsys):
    weights = saved(tmp_path, 4)
    (tmp_path / "in").mkdir()
    image = RNG.integers(0, 256, (16, 24, 4)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "in/a.tif")
    np.save(tmp_path / "in/b.npy", image[..., :3])
    assert main(["predict", str(weights), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert "b.npy: an array of 16x24x3 where [H,W,4] is expected" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out/labels").iterdir()] == ["a.png"]


def test_every_suffix_that_folder_reads(tmp_path):
    (tmp_path / "images").mkdir()
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / f"images/{suffix[1:]}{suffix.upper()}").write_bytes(b"x")
    files = [path.name for path in find_images([str(tmp_path / "images")])]
    assert len(files) == len(IMAGE_SUFFIXES)
    listed = Folder(str(tmp_path), ["a", "b"], masks=None)
    assert sorted(files) == sorted(Path(listed.path(i)).name for i in range(len(listed)))


def test_links_that_lead_in_a_circle_are_followed_once(tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/a.png").write_bytes(b"x")
    (tmp_path / "in/deep/up").symlink_to(tmp_path / "in")
    assert len(find_images([str(tmp_path / "in")])) == 1


@pytest.mark.parametrize("name", ["photo[1].png", "run[2024]/a.png", "run[2024]/[x]/a.png", "a?/b*.png"])
def test_brackets_in_an_existing_path_are_a_name(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.zeros((8, 8, 3), np.uint8))
    assert list(find_images([str(file)]).items()) == [(file, Path(file.name))]
    if file.parent != tmp_path:
        assert list(find_images([str(file.parent)])) == [file]
        assert list(find_images([f"{file.parent}/*.png"]).items()) == [(file, Path(file.name))]
        assert list(find_images([f"{file.parent}/[ab]*.png"])) == [file]


def test_patterns_still_are_patterns(tmp_path, monkeypatch):
    for name in ("x/a.png", "y/b.png", "y/z/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert [str(below) for below in find_images(["[xy]/*.png"]).values()] == ["x/a.png", "y/b.png"]
    assert [str(below) for below in find_images(["y/**/*.png"]).values()] == ["b.png", "z/c.png"]
    with pytest.raises(ConfigError, match=r"none/\*\.png: holds no image"):
        find_images(["none/*.png"])


def test_prediction_needs_no_data_set_of_the_checkpoint(tmp_path, monkeypatch):
    """The set's module may be missing, and none of its code runs."""
    (tmp_path / "my_sets.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = dict(type="my_sets:Mine", exif=True)
    more = dict(train=dict(dataset=own, transforms=[dict(type="RandomCrop", size=(16, 16))]), metrics=[own])
    weights = saved(tmp_path, dataset=own, **more)
    cv2.imwrite(str(tmp_path / "a.png"), RNG.integers(0, 256, (16, 24, 3)).astype(np.uint8))
    assert set(predicted(weights, tmp_path / "out", tmp_path / "a.png", "--slide")) == {"a"}
    model = segkit.load_model(weights, predict_only=True)
    assert segkit.predict(model, tmp_path / "a.png")["labels"].shape == (16, 24)
    with pytest.raises(ConfigError, match=r"test\.dataset: not loaded; load the model without predict_only"):
        segkit.evaluate(model)
    with pytest.raises(ConfigError, match=r"my_sets:Mine.*--trust"):
        segkit.load_model(weights)


@pytest.mark.parametrize(
    "more",
    [
        dict(runner=dict(type="my_sets:Mine")),
        dict(inference=dict(refiners=[dict(type="my_sets:Mine")])),
        dict(val=dict(dataset=dict(type="Shapes"), transforms=[dict(type="my_sets:Mine")])),
    ],
)
def test_what_a_prediction_needs_still_names_registered_classes_alone(tmp_path, more):
    weights = saved(tmp_path)
    content = torch.load(weights, weights_only=True)
    content["config"] |= more
    content["config"].pop("test", None)
    checkpoint.save(weights, content)
    with pytest.raises(ConfigError, match=r"my_sets:Mine.*--trust"):
        segkit.load_model(weights, predict_only=True)


def test_exif_and_nodata_come_from_the_config_or_by_a_flag(tmp_path):
    image = np.zeros((16, 24, 3), np.uint8)
    image[:6, :10] = 200
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    data = dict(type="Folder", root=str(tmp_path), classes=["a", "b"])
    weights = saved(tmp_path, dataset=dict(type="Concat", datasets=[dict(data, exif=True)]))
    model = segkit.load_model(weights)
    turned = segkit.predict(model, image[::-1, ::-1].copy())["labels"]
    stored = segkit.predict(model, image)["labels"]
    assert not np.array_equal(turned, stored)
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png")):
        assert np.array_equal(segkit.predict(model, given)["labels"], turned)
    assert np.array_equal(predicted(weights, tmp_path / "out", tmp_path / "a.png")["a"], turned)
    assert np.array_equal(predicted(weights, tmp_path / "no", tmp_path / "a.png", "--no-exif")["a"], stored)


def test_nan_in_predict(tmp_path, capsys):
    image = RNG.uniform(0, 255, (16, 24, 3)).astype(np.float32)
    image[3:5, 3:5] = np.nan
    np.save(tmp_path / "a.npy", image)
    weights = saved(tmp_path)
    words = ["predict", str(weights), str(tmp_path / "a.npy"), "--out", str(tmp_path / "o"), "--device", "cpu"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "a.npy: 4 of 384 pixels are NaN or infinite" in error and "--nodata nan" in error
    assert main([*words, "--nodata", "nan"]) == 0 and main([*words, "--nodata", "x,y"]) == 2
    model = segkit.load_model(weights)
    with pytest.raises(DataError, match="image: 4 of 384 pixels are NaN"):
        segkit.predict(model, image)
    filled = np.where(np.isnan(image), np.nanmean(image, (0, 1), dtype=np.float64), image).astype(np.float32)
    labels = np.asarray(Image.open(tmp_path / "o/labels/a.png"))
    assert np.array_equal(labels, segkit.predict(model, filled)["labels"]) and labels.any()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {c: segkit.load_model(saved(tmp_path_factory.mktemp(str(c)), c)) for c in (1, 3, 4)}


def test_arrays_that_mean_one_image(models):
    image = RNG.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    labels = segkit.predict(models[3], image)["labels"]
    for given in (image.astype(np.float64), image.astype(np.int64), Image.fromarray(image), image[:, ::-1][:, ::-1]):
        assert np.array_equal(segkit.predict(models[3], given)["labels"], labels)
    grey = image[..., :1]
    labels = segkit.predict(models[3], np.repeat(grey, 3, 2))["labels"]
    for given in (grey, grey[..., 0], Image.fromarray(grey[..., 0]), Image.fromarray(grey[..., 0] * np.uint16(257))):
        assert np.array_equal(segkit.predict(models[3], given)["labels"], labels)
    rgba = Image.fromarray(RNG.integers(0, 256, (16, 24, 4)).astype(np.uint8))
    assert np.array_equal(
        segkit.predict(models[3], rgba)["labels"], segkit.predict(models[3], np.asarray(rgba)[..., :3])["labels"]
    )
    assert segkit.predict(models[4], rgba)["labels"].shape == (16, 24)
    one = segkit.predict(models[1], grey)["labels"]
    for given in (grey[..., 0], Image.fromarray(grey[..., 0])):
        assert np.array_equal(segkit.predict(models[1], given)["labels"], one)


def test_files_of_16_bits_are_predicted_as_they_are_trained(models, tmp_path):
    wide = RNG.integers(0, 65536, (16, 24, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), wide)
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(
        segkit.predict(models[3], tmp_path / "a.png")["labels"], api.predict_array(models[3], image)["labels"]
    )
    dark = image / 1000  # as an array its values of 0..0.3 would be refused; a file is taken at its word
    np.save(tmp_path / "dark.npy", dark)
    assert segkit.predict(models[3], tmp_path / "dark.npy")["labels"].shape == (16, 24)


BYTES = np.zeros((16, 24, 3), np.uint8)
REFUSED = {
    "channels first": (
        3,
        BYTES.transpose(2, 0, 1),
        r"shape \(3, 16, 24\): must be \[height,width,3\]: it has its ch",
    ),
    "four channels": (3, np.zeros((16, 24, 4), np.uint8), r"shape \(16, 24, 4\): .*drop the fourth"),
    "a batch": (3, BYTES[None], r"shape \(1, 16, 24, 3\): .*one image at a time"),
    "two channels": (3, np.zeros((16, 24, 2), np.uint8), r"shape \(16, 24, 2\): must be \[height,width,3\]$"),
    "RGB for one channel": (1, BYTES, r"shape \(16, 24, 3\): must be \[height,width,1\]"),
    "grey for four": (4, BYTES[..., 0], r"shape \(16, 24\): must be \[height,width,4\]"),
    "nothing": (3, np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    "floats of 0..1": (3, np.full((4, 4, 3), 0.5, np.float32), r"float32 values of 0\.5 to 0\.5: .*give image \* 255"),
    "normalized": (
        3,
        np.linspace(-2, 2, 48).reshape(4, 4, 3),
        r"float64 values of -2 to 2: .*before its normalization",
    ),
    "uint16": (3, np.zeros((4, 4, 3), np.uint16), r"type uint16: .*image / 257"),
    "large integers": (3, np.full((4, 4, 3), 300, np.int32), r"int32 values of 300 to 300: the model takes 0\.\.255"),
    "bool": (3, np.zeros((4, 4, 3), bool), r"array of type bool: must be uint8"),
    "complex": (3, np.zeros((4, 4, 3), complex), r"array of type complex128"),
    "a tensor": (3, torch.zeros(3, 4, 4), r"image = Tensor: .*permute\(1, 2, 0\)"),
    "a list": (3, [[1]], r"image = list: must be a numpy array \[height,width,3\]"),
    "None": (3, None, r"image = NoneType"),
    "a grey picture for four": (4, Image.new("L", (4, 4)), r"shape \(4, 4\): must be \[height,width,4\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_names_shape_or_type_and_the_way_out(models, case):
    channels, image, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        segkit.predict(models[channels], image)


def test_values_of_other_channels_stay_as_they_are(models):
    """The range of other than RGB images is the user's own."""
    for dtype in (np.float32, np.uint16, np.int16):
        assert segkit.predict(models[4], np.ones((8, 8, 4), dtype))["labels"].shape == (8, 8)
