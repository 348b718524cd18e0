"""The commands as a user types them, on a run of seconds: files, tables, pictures, and every bad input's sentence."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segkit.cli.benchmark import count_macs
from segkit.cli.main import main
from segkit.data.dataset import Dataset
from segkit.models.bases import Head
from segkit.readers.python_config import dump
from tests.tiny import sections


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run and its config file."""
    folder = tmp_path_factory.mktemp("cli")
    config = folder / "tiny.py"
    cfg = sections()
    cfg["test"] = dict(workers=0, dataset=dict(type="Shapes", size=(32, 32), length=3, split="test"))
    config.write_text(dump(cfg))
    assert main(["train", str(config), "--work-dir", str(folder / "out"), "--device", "cpu"]) == 0
    return folder


def edited(run, name: str, change) -> str:
    """The config of the run, changed, as a file."""
    cfg = sections()
    change(cfg)
    path = run / f"{name}.py"
    path.write_text(dump(cfg))
    return str(path)


def test_the_score_file_and_the_pictures(run, capsys):
    words = ["test", str(run / "tiny.py"), str(run / "out/last.pt"), "--show", str(run / "show"), "--device", "cpu"]
    assert main([*words, "--out", str(run / "m.json")]) == 0
    scores = json.loads((run / "m.json").read_text())
    assert {"mIoU", "mDice", "aAcc", "mAcc", "fwIoU", "images", "images_per_second", "per_class"} <= scores.keys()
    assert scores["images"] == 3 and len(scores["per_class"]) == 6
    ious = [row["IoU"] for row in scores["per_class"].values() if row["IoU"] is not None]
    assert scores["mIoU"] == pytest.approx(np.mean(ious))
    table = capsys.readouterr().out
    assert all(name in table for name in ("striped disk", "IoU", f"{scores['mIoU']:.2f}"))
    names = {path.name for path in (run / "show").iterdir()}
    assert {"overview.png", "confusion.png", "iou_per_class.png", "test_000000.png"} <= names


def test_slide_and_tta_from_switches(run):
    words = [
        "test",
        "--trust",
        "none",
        str(run / "out/last.pt"),
        "--out",
        str(run / "s.json"),
        "--device",
        "cpu",
        "--tta",
        "--slide",
    ]
    assert main([*words, "--cfg-options", "inference.crop=(16,16)"]) == 0
    assert json.loads((run / "s.json").read_text())["images"] == 3


def test_several_named_test_sets(run):
    def two(cfg):
        part = dict(workers=0, dataset=dict(type="Shapes", size=(32, 32), length=2, split="test"))
        cfg["test"] = {"a": part, "b": {**part, "dataset": {**part["dataset"], "length": 4}}}

    config = edited(run, "two", two)
    assert main(["test", config, str(run / "out/last.pt"), "--out", str(run / "two.json"), "--device", "cpu"]) == 0
    scores = json.loads((run / "two.json").read_text())
    assert (scores["a"]["images"], scores["b"]["images"]) == (2, 4)


def test_predict_images_folders_and_globs(run, tmp_path):
    for folder, name in (("one", "a.png"), ("one", "b.jpg"), ("two", "a.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / folder / name), np.full((20, 30, 3), 90, np.uint8))
    words = ["predict", "--trust", "none", str(run / "out/best.pt"), str(tmp_path / "one"), str(tmp_path / "t*/a.png")]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    labels = sorted(path.name for path in (tmp_path / "out/labels").iterdir())
    assert len(labels) == 3 and "b.png" in labels
    picture = Image.open(tmp_path / "out/labels/b.png")
    assert picture.mode == "P" and picture.size == (30, 20)
    assert (tmp_path / "out/overlays/b.png").exists()


def test_config_prints_origins_and_lists(run, capsys):
    assert main(["config", str(run / "tiny.py"), "--cfg-options", "loop.steps=9"]) == 0
    out = capsys.readouterr().out
    assert "loop.steps = 9" in out and "# --cfg-options" in out and "loop.clip = 0.0" in out and "# default" in out
    assert main(["config", "--list", "transforms"]) == 0
    assert "Flip " in capsys.readouterr().out
    assert main(["config", "--list", "transforms", "--show", "Flip"]) == 0
    assert "Flip\n    p = 0.5: a number from 0 to 1\n" in capsys.readouterr().out


def test_benchmark(run, capsys):
    assert main(["benchmark", str(run / "tiny.py"), "--size", "32", "32", "--steps", "2", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    # Two 3x3 convolutions, 3 -> 8 at 32x32 and 8 -> 8 at 16x16, and the 1x1 classifier, 8 -> 6 at 16x16.
    macs = 32 * 32 * 8 * 3 * 9 + 16 * 16 * (8 * 8 * 9 + 8 * 6)
    assert f"{macs / 1e9:.2f} G" in out and "steps/s" in out and "spent waiting" in out


def test_macs_of_queries_that_a_layer_is_given_as_they_are():
    """As Mask2Former does: torch's counter fails at the view of a parameter where there are no gradients."""

    class Queries(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.queries = torch.nn.Parameter(torch.zeros(1, 3, 4))
            self.norm, self.classes = torch.nn.LayerNorm(4), torch.nn.Linear(4, 5)

        def forward(self, image):
            return self.classes(self.norm(self.queries.expand(len(image), -1, -1)))

    model = Queries()
    model.classes.bias.requires_grad_(False)
    assert count_macs(model, torch.zeros(1)) == 3 * 4 * 5
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == ["classes.bias"]


def test_check_trains_nothing(run, tmp_path, capsys):
    assert main(["train", str(run / "tiny.py"), "--work-dir", str(tmp_path / "no"), "--check"]) == 0
    assert not (tmp_path / "no").exists() and "train: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (["tain"], "segkit tain: no such command; did you mean 'train'?"),
        (["train", "nowhere.py"], "ConfigError: nowhere.py: no such config file"),
        (["test", "none", "lost.pt"], "CheckpointError: lost.pt: no such checkpoint"),
        (["config"], "give a config file, or --list"),
    ],
)
def test_errors_are_one_sentence(words, message, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_a_work_dir_that_cannot_be_written(run, capsys):
    (run / "file").write_text("")
    assert main(["train", str(run / "tiny.py"), "--work-dir", str(run / "file/inside")]) == 2
    assert "--work-dir" in capsys.readouterr().err


def test_resume_without_a_checkpoint(run, tmp_path, capsys):
    assert main(["train", str(run / "tiny.py"), "--work-dir", str(tmp_path), "--resume", "--device", "cpu"]) == 2
    assert "holds no last.pt; start without --resume" in capsys.readouterr().err


class Odd(Dataset):
    """Masks of another size than the images."""

    classes = ("a", "b")
    palette = ((0, 0, 0), (255, 0, 0))

    def __init__(self, length: int = 4):
        self.ids = [f"odd_{i}" for i in range(length)]

    def image(self, index):
        return np.full((32, 32, 3), 9, np.uint8)

    def mask(self, index):
        return np.zeros((16, 32), np.uint8)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mask_of_another_size_names_the_file(run, workers, capsys):
    def change(cfg):
        cfg["train"]["dataset"] = dict(type="tests.test_cli:Odd")
        cfg["train"]["workers"] = workers
        cfg["model"]["num_classes"] = 2
        cfg["val"] = None

    assert main(["train", edited(run, "odd", change), "--work-dir", str(run / "odd"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert "odd_" in err and "32x16" in err and "32x32" in err and "Traceback" not in err


def test_an_empty_data_set(run, capsys):
    def change(cfg):
        cfg["train"]["dataset"] = dict(type="tests.test_cli:Odd", length=0)

    assert main(["train", edited(run, "empty", change), "--work-dir", str(run / "e"), "--device", "cpu"]) == 2
    assert "train.dataset: Odd holds no image; check its root and split" in capsys.readouterr().err


class PoolHead(Head):
    """Batch norm over a map of one pixel, as the image pooling of DeepLab has it."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(in_channels[-1])
        self.classifier = torch.nn.Conv2d(in_channels[-1], num_classes, 1)

    def forward(self, features):
        return {"logits": self.classifier(features[-1] + self.norm(features[-1].mean((2, 3), keepdim=True)))}


def test_batch_norm_on_a_single_pixel(run, capsys):
    def change(cfg):
        cfg["model"]["head"] = dict(type="tests.test_cli:PoolHead")
        cfg["train"]["batch_size"] = 1

    assert main(["train", edited(run, "bn", change), "--work-dir", str(run / "bn"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert "train.batch_size = 1" in err and "Traceback" not in err


def test_a_class_that_a_list_does_not_hold(capsys):
    assert main(["config", "--list", "heads", "--show", "PSPhead"]) == 2
    assert "--show = 'PSPhead': no such head; did you mean 'PSPHead'?" in capsys.readouterr().err


def test_values_of_the_config_without_their_option_are_told_where_they_belong(capsys):
    with pytest.raises(SystemExit):
        main(["train", "mine.py", "loop.steps=4"])
    assert "loop.steps=4; values that win over the config file stand behind --cfg-options" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "mine.py", "--nosuch"])
    assert "stand behind" not in capsys.readouterr().err
