"""The keys scale and bands: values worked by hand, the same for every kind of data set and for prediction."""

import json
from argparse import Namespace

import cv2
import numpy as np
import pytest
from PIL import Image

from segkit.cli.common import reading_given
from segkit.cli.main import main
from segkit.data.concat import Concat
from segkit.data.dataset import Reading, check_bands, check_reading, check_scale
from segkit.data.files.images import read_image, stored_image
from segkit.data.instances.coco import COCOInstances
from segkit.data.interactive.coco import COCOClicks, COCOClicksEval
from segkit.data.interactive.folder import FolderClicks, FolderClicksEval
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.trash import Trash
from segkit.engine import checkpoint
from segkit.files import DataError
from segkit.registry import ConfigError, build_model
from segkit.runners.inputs import inputs_of, reading_options
from segkit.runners.self_training.rule import reading_of
from tests.data import messy

RNG = np.random.default_rng(0)


def png16(path, values) -> str:
    cv2.imwrite(str(path), np.asarray(values, np.uint16))
    return str(path)


def test_scale_by_hand(tmp_path):
    """12 bits in a file of 16: without the key 4095 counts as a sixteenth of white."""
    file = png16(tmp_path / "a.png", [[0, 819, 1638, 4095, 5000]])
    assert read_image(file)[0, :, 0] == pytest.approx([0, 3.18677, 6.37354, 15.9339, 19.4553], abs=1e-3)
    scaled = read_image(file, scale=(0, 4095))
    assert scaled.dtype == np.float32 and scaled[0, :, 0] == pytest.approx([0, 51, 102, 255, 255], abs=1e-4)
    assert read_image(file, 1, scale=(819, 1638))[0, :, 0] == pytest.approx([0, 0, 255, 255, 255])
    assert read_image(file, 3, scale=([0, 0, 0], [4095, 819, 8190]))[0, 1] == pytest.approx([51, 255, 25.5], abs=1e-3)


def test_percentiles_are_of_each_channel_and_of_the_pixels_with_data(tmp_path):
    """Of 0..100 the percentiles 10 and 90 are 10 and 90; the second channel is ten times as bright."""
    ramp = np.arange(101, dtype=np.float32)
    image = np.stack([ramp, 10 * ramp], axis=1)[None]
    image = np.concatenate([image, np.full((1, 101, 2), -9999, np.float32)])
    np.save(tmp_path / "a.npy", image)
    scaled = read_image(tmp_path / "a.npy", 2, scale=("p10", "p90"), nodata=-9999)
    assert np.isnan(scaled[1]).all()
    assert scaled[0, [0, 10, 50, 90, 100], 0] == pytest.approx([0, 0, 127.5, 255, 255])
    np.testing.assert_allclose(scaled[0, :, 0], scaled[0, :, 1], rtol=1e-5)


def test_percentiles_of_a_constant_image_are_black(tmp_path):
    np.save(tmp_path / "a.npy", np.full((4, 4, 1), 7.0, np.float32))
    assert not read_image(tmp_path / "a.npy", 1, scale=("p1", "p99")).any()


def test_bands_count_from_one_in_every_kind_of_file(tmp_path):
    stored = RNG.integers(0, 300, (5, 7, 5)).astype(np.int16)
    messy.write_tiff(tmp_path / "a.tif", stored)
    np.save(tmp_path / "a.npy", stored)
    for file in ("a.tif", "a.npy"):
        image = read_image(tmp_path / file, bands=(3, 2, 1))
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, stored[:, :, [2, 1, 0]])
    rgba = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", bands=(1, 4)), rgba[:, :, [0, 3]])
    np.testing.assert_array_equal(stored_image(tmp_path / "a.png").samples, rgba)
    with pytest.raises(DataError, match=r"a\.tif: bands=\[6\] for a file of 5 bands, which count from 1"):
        read_image(tmp_path / "a.tif", bands=(6,))


def test_a_scaled_value_that_equals_nodata_is_data(tmp_path):
    """nodata counts in stored values: the stored 150 becomes 0, and is no missing pixel for nodata=0."""
    np.save(tmp_path / "images.npy", np.array([[[0], [100], [150], [200]]], np.int16))
    (tmp_path / "images").mkdir()
    (tmp_path / "images.npy").rename(tmp_path / "images/a.npy")
    keys = dict(masks=None, channels=1, nodata=0, scale=(150, 200))
    dataset = Folder(str(tmp_path), ["a", "b"], **keys)
    image, is_missing = dataset.filled(0)
    assert is_missing.tolist() == [[True, False, False, False]]
    assert image[0, :, 0] == pytest.approx([85, 0, 0, 255])  # the mean of 0, 0 and 255 fills the first


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (5, "must be (low, high), such as (0, 4095)"),
        ((0, 1, 2), "must be (low, high)"),
        (("q1", "p99"), "must be (low, high)"),
        (("p1", "p101"), "must be (low, high)"),
        ((0, float("nan")), "must be (low, high)"),
        ((True, 4), "must be (low, high)"),
        ((0, "p99"), "one end is a percentile and the other a value"),
        ((9, 3), "the first is the lower end and must be below the second"),
        (("p99", "p1"), "must be below the second"),
        (([0, 5], [4, 5]), "must be below the second"),
    ],
)
def test_wrong_ranges_are_named(scale, message):
    with pytest.raises(DataError) as error:
        check_scale(scale)
    assert str(error.value).startswith(f"scale = {scale!r}: ") and message in str(error.value)


@pytest.mark.parametrize("bands", [0, [], [2, 0], [-1], [1.0], "321", [True]])
def test_wrong_bands_are_named(bands):
    with pytest.raises(DataError, match=r"bands = .*: must be a list of whole numbers; bands count from 1, as in GDAL"):
        check_bands(bands)


def test_numbers_of_a_range_for_other_channels(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 3)))
    with pytest.raises(DataError, match=r"a\.npy: scale has 2 numbers for 3 channels; give one each"):
        read_image(tmp_path / "a.npy", scale=([0, 0], [1, 1]))


KEYS = dict(scale=(0, 4095), bands=[1, 1, 1])


def sets_of(root):
    """One data set of every kind over the folder of 12 bits."""
    made = messy.twelve_bits(root, 2)
    images = [dict(id=i + 1, file_name=f"images/{name}.png", height=48, width=64) for i, name in enumerate(made.names)]
    box = [10, 10, 12, 12]
    polygon = [[10, 10, 22, 10, 22, 22, 10, 22]]
    rows = [
        dict(id=i + 1, image_id=i + 1, category_id=1, bbox=box, area=144, iscrowd=0, segmentation=polygon)
        for i in range(2)
    ]
    content = dict(images=images, annotations=rows, categories=[dict(id=1, name="Clear plastic bag")])
    content["categories"][0]["name"] = Trash.classes[1]
    (root / "train.json").write_text(json.dumps(content), encoding="utf-8")
    coco = dict(annotations=str(root / "train.json"), images=str(root))
    yield Folder(str(root), ["ground", "disc"], **KEYS)
    yield Trash(str(root), **KEYS)
    yield COCOInstances(**coco, **KEYS)
    yield COCOClicks(**coco, **KEYS)
    yield COCOClicksEval(**coco, **KEYS)
    yield FolderClicks(str(root), **KEYS)
    yield FolderClicksEval(str(root), **KEYS)


def test_every_set_of_files_has_the_keys(tmp_path):
    stored = None
    for dataset in sets_of(tmp_path):
        sample = dataset.sample(0, RNG)
        stored = stored_image(dataset.path(0)).samples[:, :, 0].astype(np.float64)
        np.testing.assert_allclose(sample["image"][:, :, 2], stored * 255 / 4095, atol=0.501, err_msg=str(dataset))
        joined = Concat([dataset, dataset])
        np.testing.assert_array_equal(joined.sample(1, RNG)["image"].shape, sample["image"].shape)
    assert stored is not None and stored.max() > 2000


def network(channels=3):
    backbone = dict(type="PlainEncoder", channels=(8, 8), in_channels=channels)
    return build_model(dict(num_classes=2, backbone=backbone, head=dict(type="UNetHead", channels=(8,))))


def test_a_model_reads_as_its_data_set_did():
    model = network()
    rows = [dict(type="RandomScale", low=0.5, scale=(1, 2), bands=[9])]  # arguments of transforms count for nothing
    dataset = dict(type="Folder", root="x", scale=(0, 4095), bands=[1, 1, 1])
    model.config = dict(test=dict(transforms=rows, dataset=dict(type="Concat", datasets=[dataset])))
    assert reading_options(model.config) == dict(exif=None, nodata=None, scale=(0, 4095), bands=[1, 1, 1])
    reading = inputs_of(model).reading
    assert reading == Reading(scale=(0.0, 4095.0), bands=(1, 1, 1))
    assert inputs_of(model, scale="none", bands="none").reading == Reading()
    given = inputs_of(model, scale=["p1", "p99"], bands=[2, 2, 2]).reading
    assert given == Reading(scale=("p1", "p99"), bands=(2, 2, 2))
    with pytest.raises(ConfigError, match=r"bands = \[1\]: the model takes images of 3 channels; name 3 bands"):
        inputs_of(model, bands=[1])
    with pytest.raises(ConfigError, match=r"scale = \(9, 1\): the first is the lower end"):
        inputs_of(model, scale=(9, 1))


def test_arrays_are_the_content_of_files(tmp_path):
    """An array of 12 bits and the file that holds it are one image."""
    grey = RNG.integers(0, 4096, (6, 8)).astype(np.uint16)
    file = png16(tmp_path / "a.png", grey)
    model = network()
    model.config = dict(test=dict(dataset=dict(scale=(0, 4095), nodata=7)))
    inputs = inputs_of(model)
    np.testing.assert_array_equal(inputs.convert(grey), inputs.read(file))
    np.testing.assert_array_equal(inputs.convert(Image.open(file)), inputs.read(file))


def test_reading_as_json_comes_back():
    reading = check_reading(True, [0, 0], (["1", 2], [3, 4]), [2, 1])
    stored = json.loads(json.dumps(reading_of(2, reading)))
    again = check_reading(stored["exif"], stored["nodata"], stored["scale"], stored["bands"])
    assert again == reading == Reading(True, (0.0, 0.0), ((1.0, 2.0), (3.0, 4.0)), (2, 1))


def test_options_of_the_command_line():
    args = Namespace(exif=None, nodata="0,0", scale="p1, P99.8", bands="3,2,1")
    assert reading_given(args) == dict(exif=None, nodata=[0.0, 0.0], scale=["p1", "P99.8"], bands=[3, 2, 1])
    args = Namespace(exif=True, nodata="nan", scale="0,4095", bands="none")
    assert reading_given(args) == dict(exif=True, nodata="nan", scale=[0.0, 4095.0], bands="none")
    for name, text in (("scale", "low,high"), ("bands", "red")):
        with pytest.raises(ConfigError, match=rf"--{name} {text}: must be"):
            reading_given(Namespace(**{**vars(args), name: text}))


def test_the_command_reads_as_its_options_say(tmp_path):
    """A checkpoint that knows nothing of 12 bits labels them as the 8-bit picture of the same content."""
    grey = RNG.integers(0, 256, (32, 32)).astype(np.uint16)
    for folder in ("wide", "plain"):
        (tmp_path / folder).mkdir()
    png16(tmp_path / "wide/a.png", grey * 16)
    cv2.imwrite(str(tmp_path / "plain/a.png"), grey.astype(np.uint8))
    backbone = dict(type="PlainEncoder", channels=(8, 8))
    config = dict(
        model=dict(num_classes=2, backbone=backbone, head=dict(type="UNetHead", channels=(8,))),
        losses=[dict(type="CrossEntropy", on="logits", target="mask")],
        test=dict(dataset=dict(type="Shapes", size=(32, 32), length=2)),
    )
    content = dict(model=network().state_dict(), config=config, classes=["a", "b"], palette=[[0, 0, 0], [255, 0, 0]])
    checkpoint.save(tmp_path / "a.pt", content)
    labels = []
    for folder, words in (("wide", ["--scale", "0,4080", "--bands", "1,1,1"]), ("plain", [])):
        out = tmp_path / f"out_{folder}"
        words = [str(tmp_path / "a.pt"), str(tmp_path / folder), "--out", str(out), "--device", "cpu", *words]
        assert main(["predict", *words]) == 0
        labels.append(np.asarray(Image.open(out / "labels/a.png")))
    assert (labels[0] == labels[1]).mean() > 0.999 and len(np.unique(labels[0])) == 2
