"""The base for one's own folder: each argument is written once, and what does not fit is said before the first step."""

import numpy as np
import pytest

from segkit.cli.main import main
from segkit.config import load_config
from segkit.runners.scoring import test_sections as sections_of
from segkit.schema import check
from tests.data.layouts import rows, write_image, write_mask

CONFIG = """
from segkit.config import ref
_base_ = ["segkit:_base_/datasets/folder.py"]
root, classes, num_classes, crop_size = "{root}", ["ground", "cell"], 2, (32, 32)
model = dict(num_classes=ref("num_classes"), backbone=dict(type="PlainEncoder", channels=(4, 6, 8){backbone}),
             head=dict(type="UNetHead", channels=(6, 4), upsample="bilinear"))
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
{more}
train = dict(batch_size=2, workers=0)
optimizer = dict(type="AdamW", lr=1e-3)
loop = dict(steps=1)
"""


def write(tmp_path, more="", backbone=""):
    path = tmp_path / "mine.py"
    path.write_text(CONFIG.format(root=tmp_path / "set", more=more, backbone=backbone))
    return path


def files(tmp_path, images="images", masks="masks", suffix="", parts=("train", "val")):
    for part in parts:
        for name in "ab":
            write_image(tmp_path / "set" / images / part / f"{name}.png")
            write_mask(tmp_path / "set" / masks / part / f"{name}{suffix}.png", rows(0, 1))


def test_settings_of_the_files_are_written_once(tmp_path, monkeypatch, capsys):
    """Other names of folders and masks, once each: training, validation, test and pictures of all splits work."""
    monkeypatch.chdir(tmp_path)
    files(tmp_path, "photos", "labels", "_mask")
    path = write(tmp_path, 'images, masks, mask_suffix = "photos", "labels", "_mask"')
    assert main(["train", str(path), "--work-dir", "run"]) == 0
    assert main(["test", "run/last.pt"]) == 0
    for split in ("train", "val", "test"):
        assert main(["browse", str(path), "--split", split, "--out", f"{split}.png"]) == 0


def test_a_test_set_is_val_where_none_is_written(tmp_path):
    val = dict(type="Folder", root=str(tmp_path / "set"), classes=["ground", "cell"], split="val")

    def tested(more):
        cfg = load_config(write(tmp_path, more))
        check(cfg)
        (section,) = sections_of(cfg, "test").values()
        return {key: section["dataset"].get(key) for key in (*val, "mask_suffix")}

    assert tested("") == val | dict(mask_suffix="")
    assert tested("mask_suffix = '_m'") == val | dict(mask_suffix="_m")
    # single arguments of val's, whether they are of the base or of the config
    assert tested("test = dict(dataset=dict(split='test'))") == val | dict(split="test", mask_suffix="")
    more = "val = dict(dataset=dict(mask_suffix='_m'))\ntest = dict(dataset=dict(split='test'))"
    assert tested(more) == val | dict(split="test", mask_suffix="_m")
    assert tested("test = dict(workers=0)") == val | dict(mask_suffix="")
    assert tested("test = dict(dataset=dict(type='Folder', root='x', classes=['a', 'b']))")["root"] == "x"


def test_overrides_of_one_section_stay_possible(tmp_path):
    cfg = load_config(
        write(tmp_path, "val = dict(dataset=dict(split='other'))"), ["train.dataset.skip_unlabelled=True"]
    )
    assert (cfg["train"]["dataset"]["split"], cfg["val"]["dataset"]["split"]) == ("train", "other")
    assert cfg["train"]["dataset"]["skip_unlabelled"] and not cfg["val"]["dataset"]["skip_unlabelled"]


def channels_of(tmp_path, count):
    for part in ("train", "val"):
        for name in "ab":
            write_mask(tmp_path / "set/masks" / part / f"{name}.png", rows(0, 1))
            place = tmp_path / "set/images" / part
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{name}.npy", np.arange(48 * count, dtype=np.uint8).reshape(6, 8, count))


@pytest.mark.parametrize("command", [["--check"], []])
def test_images_of_other_channels_are_checked_before_the_start(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    channels_of(tmp_path, 5)
    path = write(tmp_path, "channels = 5")
    assert main(["train", str(path), *command]) != 0
    error = capsys.readouterr().err
    assert "model.backbone.in_channels = 3" in error and "has 5 channels; set in_channels=5" in error
    path = write(tmp_path, "channels = 5", backbone=", in_channels=5")
    assert main(["train", str(path), *command]) != 0
    error = capsys.readouterr().err
    assert "train.transforms.2: Photometric needs RGB images of 3 channels, this one has 5; set saturation" in error
    assert "a.npy" in error and not list(tmp_path.rglob("*.pt"))
    plain = 'train = dict(transforms=[dict(type="Flip"), dict(type="RandomCrop", size=(8, 8))])\n'
    text = path.read_text().replace("train = dict(batch_size=2, workers=0)", plain + "train |= dict(batch_size=2)")
    path.write_text(text)
    assert main(["train", str(path), *command]) == 0
