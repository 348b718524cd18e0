"""segkit analyze values: exact numbers, what is recognized, and the whole way of three messy folders to predictions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segkit.cli.main import main
from segkit.data.files.image_advice import advice, written
from segkit.data.files.image_facts import Collection, Moments, facts_of
from segkit.data.preflight import check_dataset
from segkit.data.semantic.folder import Folder
from segkit.registry import ConfigError, build_model
from tests.data import messy


def collected(root: Path) -> Collection:
    return Collection.of(facts_of(str(path)) for path in sorted(root.iterdir()))


def lines(root: Path) -> list[str]:
    return [item.line.partition("  #")[0] for item in advice(collected(root))]


def test_moments_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    images = [rng.normal(5000, 3, (n, 7, 2)).astype(np.float32) for n in (1, 5, 900)]
    total = Moments.none(2)
    for image in images:
        total = total + Moments.of(image)
    whole = np.concatenate(images).reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(total.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(total.std, whole.std(0), rtol=1e-9)
    assert total.count.tolist() == [len(whole)] * 2 and total.low.tolist() == whole.min(0).tolist()


def test_what_each_messy_folder_needs(tmp_path):
    assert lines(messy.photographs(tmp_path / "a").root / "images") == ["exif=True,"]
    assert lines(messy.soft_color_masks(tmp_path / "b").root / "images") == []
    assert lines(messy.coco_polygons(tmp_path / "c").root / "images") == []
    five = lines(messy.five_bands(tmp_path / "d").root / "images")
    assert five[:3] == ["nodata=-9999,", "channels=5,", "# bands=[3, 2, 1],"] and five[3].startswith("scale=(1")
    assert lines(messy.twelve_bits(tmp_path / "e").root / "images") == ["scale=(0, 4095),"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 1, 48, dtype=np.float32), ["scale=(0, 1),"]),
        (np.linspace(0, 255, 48, dtype=np.float32), []),
        (np.linspace(0, 1000, 48).astype(np.uint16), ["scale=(0, 1023),"]),
        (np.linspace(0, 16000, 48).astype(np.uint16), ["scale=(0, 16383),"]),
        (np.linspace(-1000, 3000, 48).astype(np.int16), ["scale=(-1000, 3000),"]),
        (np.append(np.linspace(0, 200, 47, dtype=np.float32), np.nan), ["nodata='nan',"]),
    ],
    ids=["0..1", "0..255", "10 bits", "14 bits", "Hounsfield", "NaN"],
)
def test_ranges_are_recognized(tmp_path, values, expected):
    np.save(tmp_path / "a.npy", np.repeat(values.reshape(6, 8, 1), 3, axis=2))
    found = lines(tmp_path)
    assert found == expected


def test_16_bits_in_use_and_8_need_no_key(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8))
    assert lines(tmp_path) == []


def test_black_borders_are_a_question_and_far_values_an_answer(tmp_path):
    """A fifth of the picture is 0: in 8 bits it may be night, in floats far from all others it is no data."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    image = np.random.default_rng(0).integers(0, 200, (40, 50, 3), dtype=np.uint8)
    image[:, :10] = 0
    Image.fromarray(image).save(tmp_path / "a/a.png")
    assert lines(tmp_path / "a") == ["# nodata=[0, 0, 0],"]
    heights = np.random.default_rng(0).normal(900, 5, (40, 50, 1)).astype(np.float32)
    heights[:, :10] = 0
    np.save(tmp_path / "b/a.npy", heights)
    (suspect,) = facts_of(str(tmp_path / "b/a.npy")).suspects
    assert suspect.is_sure and suspect.value == 0 and suspect.share == pytest.approx(0.2)
    assert lines(tmp_path / "b")[:2] == ["nodata=0,", "channels=1,"]


def test_numbers_are_written_short():
    assert written((0, 4095)) == "(0, 4095)" and written([3, 2]) == "[3, 2]" and written("nan") == "'nan'"
    assert written((0.1, "p1")) == "(0.1, 'p1')" and written(-3.4e38) == "-3.4e+38"


def analyzed(tmp_path, source, *words) -> dict:
    assert main(["analyze", "values", str(source), "--out", str(tmp_path / "about"), *words]) == 0
    assert Image.open(tmp_path / "about/values.png").size[0] > 400
    return json.loads((tmp_path / "about/values.json").read_text(encoding="utf-8"))


def trained(tmp_path, made: messy.Messy, keys: dict, label_map: dict | None) -> list[str]:
    """From the keys of `analyze values` to a config, two steps, and predictions of the folder's images."""
    channels = keys.get("channels", 3)
    dataset = dict(type="Folder", root=str(made.root), classes=["ground", "disc"], label_map=label_map, **keys)
    sections = dict(
        model=dict(
            num_classes=2,
            backbone=dict(type="PlainEncoder", channels=(8, 8), in_channels=channels),
            head=dict(type="UNetHead", channels=(8,)),
        ),
        losses=[dict(type="CrossEntropy", on="logits", target="mask")],
        train=dict(
            batch_size=2,
            workers=0,
            dataset=dataset,
            transforms=[
                dict(type="RandomCrop", size=(32, 32)),
                dict(type="Photometric", saturation=(1, 1), hue=0.0),
                dict(type="Blur"),
            ],
        ),
        val=dict(batch_size=1, workers=0, dataset=dataset),
        optimizer=dict(type="SGD", lr=0.01),
        schedule=dict(type="Poly"),
        loop=dict(steps=2, log_every=1),
    )
    text = "\n".join(f"{name} = {value!r}" for name, value in sections.items())
    (tmp_path / "config.py").write_text(text, encoding="utf-8")
    assert main(["train", str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "run"), "--device", "cpu"]) == 0
    images, out = str(made.root / "images"), str(tmp_path / "out")
    assert main(["predict", str(tmp_path / "run/last.pt"), images, "--out", out, "--device", "cpu"]) == 0
    return sorted(path.stem for path in (tmp_path / "out/labels").iterdir())


@pytest.mark.parametrize(
    "make", [messy.photographs, messy.five_bands, messy.twelve_bits], ids=lambda make: make.__name__
)
def test_from_a_messy_folder_to_predictions(tmp_path, capsys, make):
    """What the command writes is what the data set takes: the check finds nothing, and the masks fit."""
    made = make(tmp_path / "data")
    about = analyzed(tmp_path, made.root)
    assert all(abs(value) < 3 for value in about["as_read"]["normalized_mean"])
    label_map = {255: 1} if make is messy.photographs else None
    keys = about["keys"]
    dataset = Folder(str(made.root), ["ground", "disc"], label_map=label_map, **keys)
    report = check_dataset(dataset, 2, mean=127.5, std=64.0)
    assert report.errors == [] and report.warnings == []
    for index, name in enumerate(dataset.ids):
        sample = dataset.sample(index, np.random.default_rng(0))
        image, mask = sample["image"].astype(np.float64).mean(2), sample["mask"]
        assert image[mask == 1].mean() > image[mask == 0].mean() + 15, name  # the disc is the brighter
    assert trained(tmp_path, made, keys, label_map) == sorted(made.names)
    assert "warning" not in capsys.readouterr().out.replace("also in train", "").replace("val: warning", "")


def test_12_bits_without_the_key_are_not_trained_without_a_word(tmp_path):
    made = messy.twelve_bits(tmp_path)
    (text,) = check_dataset(Folder(str(made.root), ["ground", "disc"]), 2).warnings
    assert "so that it would see nearly one color" in text
    assert "set scale=(0, 4095) (values use 12 of 16 bits) in the data set" in text


def test_black_images_end_the_check(tmp_path):
    made = messy.twelve_bits(tmp_path, 2)
    for name in made.names:
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), np.zeros((48, 64), np.uint16))
    report = check_dataset(Folder(str(made.root), ["ground", "disc"]), 2)
    assert report.errors[0].startswith("2 of 2 images read are black: every value is 0 (")
    one = np.zeros((48, 64), np.uint16)
    one[3] = 60000
    cv2.imwrite(str(tmp_path / "images/cell_000.png"), one)
    report = check_dataset(Folder(str(made.root), ["ground", "disc"]), 2)
    assert report.is_ok and report.warnings[0].startswith("1 of 2 images read are black")


def test_a_config_and_a_limit(tmp_path, capsys):
    made = messy.twelve_bits(tmp_path / "data")
    text = f"train = dict(dataset=dict(type='Folder', root={str(made.root)!r}, classes=['a', 'b'], scale=(0, 4095)))\n"
    (tmp_path / "c.py").write_text(text, encoding="utf-8")
    about = analyzed(tmp_path, tmp_path / "c.py", "--limit", "3")
    assert about["images"] == 3 and about["bits_in_use"] == 12
    chosen = [np.asarray(Image.open(made.root / f"images/cell_00{i}.png"), np.float64) for i in (0, 2, 5)]
    assert about["as_read"]["mean"][0] == pytest.approx(np.mean(chosen) * 255 / 4095, rel=1e-6)
    assert about["as_read"]["std"][0] == pytest.approx(np.std(chosen) * 255 / 4095, rel=1e-6)
    assert about["channels"]["1"]["mean"][0] == pytest.approx(np.mean(chosen))
    assert "12 of 16 bits in use" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "message"),
    [("nowhere", "nowhere: no such folder, and no config"), ("empty", "empty: holds no image; images end in")],
)
def test_folders_without_images(tmp_path, monkeypatch, capsys, word, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["analyze", "values", word]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path, capsys):
    made = messy.twelve_bits(tmp_path / "data", 2)
    (made.root / "images/broken.png").write_bytes(b"no picture")
    assert main(["analyze", "values", str(made.root), "--out", str(tmp_path / "about")]) == 1
    printed = capsys.readouterr()
    assert "broken.png: cannot be decoded" in printed.err and "2 images: 2 PNG I;16" in printed.out


def test_means_of_each_channel():
    model = dict(num_classes=2, head=dict(type="UNetHead", channels=(8,)))
    backbone = dict(type="PlainEncoder", channels=(8, 8), in_channels=2, mean=(1.0, 2.0), std=(3.0, 4.0))
    built = build_model(dict(model, backbone=backbone))
    assert built.mean.flatten().tolist() == [1, 2] and built.std.flatten().tolist() == [3, 4]
    with pytest.raises(ConfigError, match=r"PlainEncoder\.mean has 2 values for 3 channels; give one for each"):
        build_model(dict(model, backbone={**backbone, "in_channels": 3}))
