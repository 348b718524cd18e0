"""The data set bases: each completes a config, passes the check, and agrees with its reader on the classes."""

from pathlib import Path

import pytest

from segkit.config import load_config
from segkit.registry import DATASETS
from segkit.schema import check

BASES = Path(__file__).parents[2] / "configs" / "_base_" / "datasets"
OFFICIAL = ("ade20k", "camvid", "cityscapes", "coco_stuff", "trash", "voc")


def complete(tmp_path: Path, base: str, more: str = "") -> Path:
    path = tmp_path / "config.py"
    path.write_text(
        f"from segkit.config import ref\n_base_ = [{str(BASES / base)!r}]\n"
        "model = dict(num_classes=ref('num_classes'), backbone=dict(type='Timm', name='resnet18'), "
        f"head=dict(type='UNetHead'))\n{more}\n"
    )
    return path


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_sets(tmp_path, name):
    cfg = load_config(complete(tmp_path, f"{name}.py"), ["crop_size=(64, 96)"])
    check(cfg)
    cls = DATASETS.get(cfg["train"]["dataset"]["type"])
    assert cfg["model"]["num_classes"] == len(cls.classes) == len(cls.palette)
    crops = [row["size"] for row in cfg["train"]["transforms"] if "Crop" in row["type"]]
    assert crops == [(64, 96)]
    assert all(cfg[part]["dataset"]["root"] is None for part in ("train", "val", "test"))


def test_folder(tmp_path):
    more = "root, classes, num_classes, label_map = '/my', ['a', 'b', 'c'], 3, {255: 'c'}"
    cfg = load_config(complete(tmp_path, "folder.py", more))
    check(cfg)
    for part in ("train", "val"):
        dataset = cfg[part]["dataset"]
        assert (dataset["root"], dataset["split"], dataset["label_map"]) == ("/my", part, {255: "c"})
    assert "test" not in cfg  # val is scored
    assert cfg["model"]["num_classes"] == 3
