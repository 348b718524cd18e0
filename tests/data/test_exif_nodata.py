"""Turned pictures and pixels without data: the keys exif and nodata, and what the check says without them."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from segkit.data.concat import Concat
from segkit.data.dataset import check_nodata, missing_pixels, without_missing
from segkit.data.files.images import read_image
from segkit.data.instances.coco import COCOInstances
from segkit.data.interactive.coco import COCOClicks, COCOClicksEval
from segkit.data.interactive.folder import FolderClicks, FolderClicksEval
from segkit.data.preflight import check_dataset
from segkit.data.semantic.folder import Folder
from segkit.data.semantic.trash import Trash
from segkit.files import DataError

RNG = np.random.default_rng(0)


def save(path, image: np.ndarray, orientation: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    options = {".webp": dict(lossless=True), ".jpg": dict(quality=98)}.get(path.suffix, {})
    Image.fromarray(image).save(path, exif=exif, **options)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(tmp_path, suffix, orientation):
    image = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save(tmp_path / f"a{suffix}", image, orientation)
    opened = Image.open(tmp_path / f"a{suffix}")
    turned, stored = read_image(tmp_path / f"a{suffix}", exif=True), read_image(tmp_path / f"a{suffix}")
    # Pillow turns TIFF by itself
    assert np.array_equal(stored, np.asarray(opened) if suffix == ".jpg" else image)
    assert np.array_equal(turned, np.asarray(ImageOps.exif_transpose(opened)))


@pytest.fixture
def upside_down(tmp_path):
    """Three pictures that are stored upside down and labelled upright: a bright stripe above, labelled below."""
    for i in range(3):
        image, mask = np.zeros((32, 40, 3), np.uint8), np.zeros((32, 40), np.uint8)
        image[:8], mask[24:] = 255, 1
        save(tmp_path / f"images/{i}.jpg", image, 3 if i < 2 else 1)
        (tmp_path / "masks").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"masks/{i}.png"), mask * 255)
    return tmp_path


def test_labels_fit_turned_images(upside_down):
    label_map = {255: 1}
    stored = Folder(str(upside_down), ["a", "b"], label_map=label_map)
    sample = Folder(str(upside_down), ["a", "b"], label_map=label_map, exif=True).sample(0, RNG)
    assert sample["image"][sample["mask"] == 1].min() > 200 and sample["image"][sample["mask"] == 0].max() < 50
    assert stored.sample(0, RNG)["image"][:8].min() > 200
    for kind in (FolderClicks, FolderClicksEval):
        assert kind(str(upside_down), exif=True).sample(0, RNG)["image"][24:].min() > 200


@pytest.mark.parametrize("wrap", [lambda dataset: dataset, lambda dataset: Concat([dataset, dataset])])
def test_the_check_counts_orientations(upside_down, wrap):
    def warnings(**keys):
        dataset = wrap(Folder(str(upside_down), ["a", "b"], label_map={255: 1}, **keys))
        return [text for text in check_dataset(dataset, 2, limit=6).warnings if "EXIF" in text]

    (text,) = warnings()
    assert text.split(" of ")[0] in ("2", "4") and "0.jpg" in text and "set exif=True" in text
    assert warnings(exif=True) == []


@pytest.fixture
def coco(tmp_path):
    """A COCO file with a picture stored upside down; its object is a square in the upright picture's corner."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[30:, 30:] = 255
    save(tmp_path / "images/a.png", image, 3)
    outline = [0, 0, 10, 0, 10, 10, 0, 10]
    content = dict(
        images=[dict(id=1, file_name="a.png", height=40, width=40)],
        categories=[dict(id=1, name="Other")],
        annotations=[dict(id=1, image_id=1, category_id=1, area=100, bbox=[0, 0, 10, 10], iscrowd=0,
                          segmentation=[outline])],
    )  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return dict(annotations=str(tmp_path / "coco.json"), images=str(tmp_path / "images"))


def test_sets_of_coco_files_turn_images(coco, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    for kind in (COCOInstances, COCOClicks, COCOClicksEval):
        assert kind(**coco).sample(0, RNG)["image"][0, 0, 0] == 0
        assert kind(**coco, exif=True).sample(0, RNG)["image"][0, 0, 0] == 255
    content = json.loads((tmp_path / "coco.json").read_text())
    content["images"][0]["file_name"] = "images/a.png"
    (tmp_path / "train.json").write_text(json.dumps(content))
    options = dict(root=str(tmp_path), category_map={"Other": "ignore"})
    assert Trash(**options, exif=True).sample(0, RNG)["image"][0, 0, 0] == 255


def test_pixels_without_data_by_hand():
    image = np.array([[[10, 0], [20, 5], [0, 0]], [[30, 7], [40, 9], [0, 4]]], np.uint8)
    assert missing_pixels(image, 0).tolist() == [[True, False, True], [False, False, True]]
    assert missing_pixels(image, [0, 0]).tolist() == [[False, False, True], [False, False, False]]
    filled, missing = without_missing(image, [0, 0], "a.png")
    assert filled[0, 2].tolist() == [20, 5] and filled.dtype == np.uint8  # means of 10 20 30 40 0 and 0 5 7 9 4
    assert missing is not None and missing.sum() == 1 and image[0, 2].tolist() == [0, 0]
    floats = np.array([[[1.0], [np.nan], [-9999.9], [3.0], [np.inf]]], np.float32)
    filled, missing = without_missing(floats, -9999.9, "a.npy")
    assert filled.ravel().tolist() == [1, 2, 2, 3, 2] and missing.ravel().tolist() == [False, True, True, False, True]
    filled, missing = without_missing(np.full((1, 2, 1), np.nan, np.float32), "nan", "a.npy")
    assert filled.ravel().tolist() == [0, 0] and missing.all()
    whole = np.full((2, 2, 1), 3e38, np.float32)  # its sum is infinite, its values are not
    assert without_missing(whole, None, "a.npy") == (pytest.approx(whole), None)


@pytest.mark.parametrize("value", ["none", [], True, [1, "x"], {}])
def test_nodata_is_checked(value):
    with pytest.raises(DataError, match=r"nodata = .*a number, 'nan', or a list"):
        check_nodata(value)


def test_nodata_of_as_many_channels():
    with pytest.raises(DataError, match="2 numbers for an image of 3 channels"):
        missing_pixels(np.zeros((1, 1, 3)), [0, 0])


@pytest.fixture
def holes(tmp_path):
    """Four arrays of one channel, one with NaN, and masks."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        image = np.random.default_rng(i).normal(100, 20, (8, 8)).astype(np.float32)
        if i == 1:
            image[:2, :3] = np.nan
        np.save(tmp_path / f"images/{i}.npy", image)
        cv2.imwrite(str(tmp_path / f"masks/{i}.png"), np.arange(64, dtype=np.uint8).reshape(8, 8) % 2)
    return tmp_path


def test_nan_is_an_error_that_names_file_and_key(holes):
    dataset = Folder(str(holes), ["a", "b"], channels=1)
    with pytest.raises(DataError, match=r"1\.npy: 6 of 64 pixels are NaN or infinite.*nodata='nan'"):
        dataset.sample(1, RNG)
    report = check_dataset(dataset, 2)
    assert len(report.errors) == 1 and "1.npy: 6 of 64 pixels" in report.errors[0]
    np.save(holes / "images/2.npy", np.full((8, 8), np.inf, np.float32))
    assert "(2 of 4 images read)" in check_dataset(dataset, 2).errors[0]


def test_nan_is_filled_and_ignored(holes):
    dataset = Folder(str(holes), ["a", "b"], channels=1, nodata="nan")
    sample = dataset.sample(1, RNG)
    stored = np.load(holes / "images/1.npy")
    assert (sample["mask"][:2, :3] == 255).all() and (sample["mask"] == 255).sum() == 6
    assert sample["image"][0, 0, 0] == pytest.approx(np.nanmean(stored, dtype=np.float64), rel=1e-6)
    assert np.array_equal(sample["image"][2:, :, 0], stored[2:])
    assert check_dataset(dataset, 2).is_ok and (dataset.sample(0, RNG)["mask"] < 2).all()


def test_nodata_of_16_bits_counts_in_stored_values(tmp_path):
    """Three channels of 16 bits come to 0..255; the key names what the file holds."""
    stored = np.full((2, 2, 3), 2570, np.uint16)
    stored[0, 0] = 65535
    for suffix in ("png", "tif"):
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), stored)
        image = read_image(tmp_path / f"a.{suffix}", nodata=65535)
        assert np.isnan(image[0, 0]).all() and (image[1] == 10).all()
        filled, missing = without_missing(image, 65535, "a")
        assert (filled == 10).all() and missing.sum() == 1


def test_click_images_are_filled_and_never_wrapped_around(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    image = np.full((4, 4, 3), 20.4, np.float32)
    image[0, 0] = np.nan
    np.save(tmp_path / "images/a.npy", image)
    cv2.imwrite(str(tmp_path / "masks/a.png"), np.eye(4, dtype=np.uint8) * 255)
    assert (FolderClicks(str(tmp_path), nodata="nan").sample(0, RNG)["image"] == 20).all()
    with pytest.raises(DataError, match=r"a\.npy: 1 of 16 pixels are NaN"):
        FolderClicks(str(tmp_path)).sample(0, RNG)
    image[0, 0] = 300
    np.save(tmp_path / "images/a.npy", image)
    with pytest.raises(DataError, match=r"a\.npy: values of 20\.4 to 300; images for clicks"):
        FolderClicks(str(tmp_path)).sample(0, RNG)


def values_warning(tmp_path, images, channels=3, **keys) -> str:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir(parents=True)
    for i, image in enumerate(images):
        np.save(tmp_path / f"images/{i}.npy", image)
        cv2.imwrite(str(tmp_path / f"masks/{i}.png"), np.arange(image[..., 0].size).reshape(image.shape[:2]) % 2)
    dataset = Folder(str(tmp_path), ["a", "b"], channels=channels)
    return " | ".join(text for text in check_dataset(dataset, 2, **keys).warnings if "images hold" in text)


def test_floats_of_0_to_1_are_remarked_on(tmp_path):
    image = np.linspace(0, 1, 192, dtype=np.float32).reshape(8, 8, 3)
    text = values_warning(tmp_path, [image])
    assert "values of 0 to 1, where the model expects about 0..255, so that it would see nearly one color" in text
    means, stds = image.mean((0, 1)), image.std((0, 1))
    assert f"mean=({means[0]:.4g}, {means[1]:.4g}, {means[2]:.4g}) and std=({stds[0]:.4g}, " in text


def test_12_bits_in_16_are_remarked_on(tmp_path):
    """Stored in 16 bits, 12 bits reach 4095 of 65535: 16 of 255."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    stored = np.random.default_rng(0).integers(1000, 2000, (8, 8, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "images/a.png"), stored)
    cv2.imwrite(str(tmp_path / "masks/a.png"), np.eye(8, dtype=np.uint8))
    (text,) = check_dataset(Folder(str(tmp_path), ["a", "b"]), 2).warnings
    assert text.startswith("images hold values of 3.89883 to 7.77") and "model.backbone.mean=(5." in text
    assert "set scale=(0, 4095) (values use 12 of 16 bits) in the data set, or model" in text  # 1,999 has 11 bits
    assert check_dataset(Folder(str(tmp_path), ["a", "b"], scale=(1000, 2000)), 2).warnings == []


def test_values_far_outside_are_remarked_on(tmp_path):
    image = np.random.default_rng(0).integers(0, 7786, (8, 8, 2)).astype(np.float32)
    image[0, 0] = -9999
    text = values_warning(tmp_path, [image], channels=2)
    assert "values of -9999 to " in text and "set nodata=-9999 and scale=(" in text


def test_photographs_and_fitting_models_are_not(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    assert values_warning(tmp_path, [image]) == ""
    elevation = np.random.default_rng(0).normal(900, 300, (8, 8, 1)).astype(np.float32)
    assert values_warning(tmp_path / "b", [elevation], channels=1, mean=900.0, std=(300.0,)) == ""
