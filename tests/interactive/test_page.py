"""docs/interactive.md is true: its configs load and check, its snippet runs, its commands run as they stand there."""

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.config import load_config
from segkit.schema import check

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/interactive.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
CONFIGS = {re.match(r"# (\S+)\n", text)[1]: text for kind, text in BLOCKS if kind == "python" and text[0] == "#"}
SNIPPET = next(text for kind, text in BLOCKS if kind == "python" and "click_predictor" in text)
COMMANDS = [
    line.removeprefix("segkit ")
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("segkit ")
]
SMALL = "model.backbone.width=4 model.head.ocr_width=8 model.backbone.pretrained=none train.workers=0 val.workers=0"
FEW = "inference.clicks.zoom=none inference.clicks.max_clicks=2"
EXTRA = {
    "train segkit:quickstart": f"loop.steps=1 loop.eval_every=1 val.dataset.length=2 {FEW}",
    "test work_dirs": "test.dataset.length=2",
    "train cells.py --check": SMALL,
    "train cells.py": f"{SMALL} crop_size=(48,64) loop.steps=1 train.batch_size=2 runner.iterations=1 {FEW}",
    "test coco_lvis": f"test.GrabCut.workers=0 {FEW}",
}
"""What makes a command of the page a matter of seconds, by its beginning; the longest beginning counts."""


OF_MODELS = {
    "model.fusion": "segnext/segnext_b_sax1_cocolvis",
    "model.as_published": "focalclick/focalclick_hrnet18s_s1_cocolvis",
}
"""Overrides that one kind of model has, by their beginning, and a config of it."""


def picture(path: Path, rows: slice, columns: slice, size: tuple[int, int] = (48, 64)) -> None:
    """A box, 255 on 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = np.zeros(size, np.uint8)
    canvas[rows, columns] = 255
    cv2.imwrite(str(path), canvas)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all files that the page names, small."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "configs").symlink_to(ROOT / "configs")
    shutil.copy(ROOT / "tests/fixtures/ritm/tiny_hrnet_w4.pth", folder / "coco_lvis_h18s_itermask.pth")
    left, right = (slice(8, 40), slice(4, 30)), (slice(20, 44), slice(34, 60))
    for name in ("cells/train/images/a.png", "cells/val/images/c.png", "GrabCut/data_GT/d.png"):
        picture(folder / name, *left)
    for name in ("cells/train/masks/a_1.png", "cells/val/masks/c_1.png", "GrabCut/boundary_GT/d.png"):
        picture(folder / name, *left)
    picture(folder / "cells/train/masks/a_2.png", *right)
    picture(folder / "photo.jpg", slice(20, 80), slice(40, 100), size=(96, 128))
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("SEGKIT_DATA", str(place))


def run(command: str) -> None:
    """A command of the page, with what makes it small."""
    beginnings = sorted((start for start in EXTRA if command.startswith(start)), key=len)
    words = shlex.split(command) + (["--cfg-options", *EXTRA[beginnings[-1]].split()] if beginnings else [])
    assert main(words) == 0, command


def find(start: str) -> str:
    return next(command for command in COMMANDS if command.startswith(start))


def test_the_configs_of_the_page():
    assert CONFIGS.keys() == {"cells.py", "objects.py", "any.py", "sam.py"}
    for name in CONFIGS:
        check(load_config(name))
    assert load_config("objects.py")["val"]["dataset"]["type"] == "COCOClicksEval"


def test_the_overrides_of_the_page():
    """Every row of the tables of overrides, on a published config."""
    options = re.findall(r"(?:inference|model|runner|test|train)\.\w+[\w.]*=[^`\"\s]+|\"[\w.]+=[^`\"]+\"", PAGE)
    assert len(options) > 12
    for option in options:
        of_a_model = [name for beginning, name in OF_MODELS.items() if option.startswith(beginning)]
        name = of_a_model[0] if of_a_model else "hrnet18_itermask_cocolvis"
        check(load_config(f"configs/interactive/{name}.py", [option.strip('"')]))


def test_configs_named_by_the_page_exist():
    for name in re.findall(r"`((?:hrnet|r\d+)\w+_(?:cocolvis|sbd|coco|lvis|ade20k))`", PAGE):
        assert (ROOT / f"configs/interactive/{name}.py").is_file(), name


def test_the_snippet_for_notebooks():
    names: dict = {}
    exec(compile(SNIPPET, "docs/interactive.md", "exec"), names)
    assert names["mask"].shape == (96, 128) and names["mask"].dtype == bool
    assert names["probabilities"].dtype == np.float32 and not names["clicks"].clicks


def test_commands_of_the_page(place):
    run(find("train cells.py --check"))
    run(find("convert"))
    run(find("test coco_lvis"))
    scores = json.loads((place / "grabcut.json").read_text())["GrabCut"]
    assert [len(item["clicks"]) for item in scores["items"]] == [2] and (place / "pictures/GrabCut").is_dir()
    (place / "other").mkdir()
    shutil.copy(place / "grabcut.json", place / "other/metrics.json")
    run(find("analyze"))
    assert (place / "curves.png").is_file()
    run(next(command for command in COMMANDS if "--clicks real" in command))
    found = json.loads((place / "real.json").read_text())
    assert {"GrabCut ideal", "GrabCut G1", "GrabCut G10", "robustness"} < found.keys()
    assert found["robustness"]["GrabCut"]["NoC"]["base"] == 2


def test_refinement_by_an_override(place):
    """It takes gradients, in an evaluation that otherwise takes none."""
    options = f"test.GrabCut.workers=0 {FEW} inference.clicks.brs=RGB-BRS inference.clicks.brs_evaluations=2"
    words = shlex.split(find("test coco_lvis"))
    assert main([*words, "--cfg-options", *options.split()]) == 0
    scores = json.loads((place / "grabcut.json").read_text())["GrabCut"]
    assert [len(item["clicks"]) for item in scores["items"]] == [2]


@pytest.mark.slow
def test_trainings_of_the_page(place):
    run(find("train segkit:quickstart"))
    run(find("test work_dirs"))
    run(next(command for command in COMMANDS if command == "train cells.py"))
    assert (place / "work_dirs/cells/last.pt").is_file()


def test_no_command_is_left_out():
    assert len(COMMANDS) == 8, COMMANDS
