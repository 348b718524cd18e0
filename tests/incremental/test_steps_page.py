"""docs/incremental.md is true: its tutorial runs as it stands there, and its tables name what there is."""

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit.api import build_runner, load_model
from segkit.cli.main import main
from segkit.config import load_config
from segkit.data.incremental.orders import ALIASES, TASKS
from segkit.engine import checkpoint
from segkit.models.growing_segmentor import sizes_of
from segkit.registry import build_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/incremental.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
CONFIGS = {re.match(r"# (\S+)\n", text)[1]: text for kind, text in BLOCKS if kind == "python" and text[0] == "#"}
SNIPPET = next(text for kind, text in BLOCKS if kind == "python" and "add_classes(" in text)
COMMANDS = [
    line.removeprefix("segkit ")
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("segkit ")
]
MODEL = ["model.backbone.name=resnet18", "model.backbone.pretrained=none", "model.head.channels=[8,8,8,8,8]"]
SMALL = [
    *MODEL,
    "crop_size=(32,32)",
    "loop.steps=2",
    "train.batch_size=2",
    "train.workers=0",
    "val.workers=0",
    "test.workers=0",
]


def pictures(folder: Path, values: tuple[int, ...]) -> None:
    """Two images whose masks hold these values in columns, for training and validation."""
    for part, held in (("train", (0, values[-1])), ("val", values)):
        for name in "ab":
            mask = np.repeat(np.array(held, np.uint8), 12)[None].repeat(40, 0)
            for kind, array in (("images", mask * 50), ("masks", mask)):
                path = folder / kind / part / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), array)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of a reader who has trained my.py: its checkpoint, new and newest pictures."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "configs").symlink_to(ROOT / "configs")
    pictures(folder / "new_data", (0, 1, 2, 3))
    pictures(folder / "newest_data", (0, 1, 2, 3, 4))
    pictures(folder / "photos", (0, 1))
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    model = load_config(folder / "configs/_base_/models/unet_r34.py", ["num_classes=3", *MODEL])["model"]
    torch.manual_seed(0)
    content = {"model": build_model(model).state_dict(), "config": {"model": model}, "palette": [[0, 0, 0]] * 3}
    (folder / "work_dirs/my").mkdir(parents=True)
    checkpoint.save(folder / "work_dirs/my/best.pt", content | {"classes": ["ground", "crop", "weed"]})
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("SEGKIT_CACHE", str(place / "cache"))


def run(command: str) -> None:
    words = shlex.split(command)
    small = ["--cfg-options", *SMALL] if words[0] == "train" else []
    assert main([*words, *small]) == 0, command


def tutorial() -> list[str]:
    """The commands but the quickstart, and scores under several protocols, which test_step_methods.py makes."""
    return [command for command in COMMANDS if "quickstart" not in command and "--protocols" not in command]


def test_the_check_of_the_tutorial(capsys):
    names = [command.split()[0] for command in tutorial()]
    assert names == ["train", "train", "test", "predict", "train", "train", "train", "predict"]
    run(tutorial()[0])
    said = capsys.readouterr().out
    assert "images that a step trains on, of 2: step 0 0 (0 %), step 1 2 (100 %)" in said and "warning" not in said


@pytest.mark.slow
def test_the_tutorial(place):
    """Classes are added to a checkpoint, and to the result once more."""
    for command in tutorial()[1:]:
        run(command)
    assert sizes_of(load_model(None, place / "work_dirs/stone/step2/last.pt")) == (3, 1, 1)
    assert len(list((place / "labelled/labels").rglob("*.png"))) == 8
    scores = json.loads((place / "work_dirs/stone/metrics.json").read_text())["steps"]
    assert [one["classes"][-1] for one in scores] == ["stone", "pole"]  # testing step 1 has left its record alone


@pytest.mark.slow
def test_the_quickstart(place):
    command = next(command for command in COMMANDS if "quickstart" in command)
    few = [
        "loop.steps=2",
        "runner.later.loop.steps=2",
        "train.batch_size=4",
        "train.dataset.length=200",
        "val.dataset.length=20",
    ]
    assert main([*shlex.split(command), "--cfg-options", *few]) == 0
    assert (place / "work_dirs/incremental/pictures/steps.png").is_file()


def test_the_snippet():
    names: dict = {}
    exec(compile(SNIPPET, "docs/incremental.md", "exec"), names)
    assert names["model"].num_classes == 4 and sizes_of(names["model"]) == (3, 1)


def test_the_config_of_the_tutorial_is_the_file_there():
    text = load_config("stone.py")
    assert dict(text) == dict(load_config("configs/incremental/add_classes.py"))


def test_names_of_the_tables():
    for task in re.findall(r"`((?:voc|ade|camvid)_[^`]+)`", PAGE):
        assert task in {**TASKS, **ALIASES} or task == "voc_15-5s_w", task
    named = re.findall(r"`((?:mib|lwf|lwf-mc|ilt|plop|rw|joint|finetune)_(?:voc|ade)_[\d-]+)`", PAGE)
    assert len(set(named)) == 16, sorted(set(named))
    for name in named:
        cfg = load_config(f"configs/incremental/{name}.py")
        build_runner(cfg)
        row = re.search(rf"\| `{name}` \| (\d+) \| (\d+) \|", PAGE)
        if row:
            found = cfg["loop"]["epochs"], cfg["runner"]["losses"][1]["weight"]
            assert found == (int(row[1]), float(row[2])), name
