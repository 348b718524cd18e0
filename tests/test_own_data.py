"""docs/own_data.md: the commands of each section run on a small data set of its form; and what segkit new decides."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.cli.main import main
from segkit.config import load_config
from segkit.schema import check
from tests.data import forms, messy
from tests.data.labelled import copied

PAGE = Path(__file__).parents[1] / "docs" / "own_data.md"
FORMS: dict[str, Callable[[Path], object]] = {
    "COCO": forms.coco,
    "YOLO": forms.roboflow_zip,
    "Pascal VOC": forms.converted("voc"),
    "Folders of masks": forms.masks,
    "labelme": forms.converted("labelme"),
    "CVAT": forms.cvat,
    "Label Studio": forms.converted("labelstudio"),
    "Supervisely": forms.supervisely,
    "V7 Darwin": forms.darwin,
    "Polygons as those of Cityscapes": forms.polygons,
    "Run lengths in a CSV table (Kaggle)": forms.rle_csv,
    "NIfTI volumes (nnU-Net, Medical Segmentation Decathlon)": forms.nifti,
    "DICOM": lambda root: copied("dicom", root),
}
MESSY: dict[str, Callable[[Path], object]] = {
    "photographs": messy.photographs,
    "soft_color_masks": messy.soft_color_masks,
    "coco_polygons": messy.coco_polygons,
    "five_bands": messy.five_bands,
    "twelve_bits": messy.twelve_bits,
}
QUICK = ("Folders of masks", "COCO")
"""Sections that are trained whenever the tests run; of the others what precedes the first step is run."""

SHORT = ("loop.steps=2", "loop.eval_every=2", "train.workers=0", "train.batch_size=2")
SMALL = (
    "model.neck=None",
    "model.head={'type':'UNetHead','channels':(8,)}",
    "model.aux=()",
    "losses=[{'type':'CrossEntropy','on':'logits','target':'mask'}]",
)


def sections() -> dict[str, list[str]]:
    """The commands at the top of each section of the page."""
    found = re.findall(r"^## ([^\n]+)\n\n```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return {title: text.splitlines() for title, text in found if title != "Three commands"}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(config: str) -> list[str]:
    """Options by which a semantic config trains a network of a few thousand parameters."""
    channels = load_config(config)["train"]["dataset"].get("dataset", {}).get("channels") or 3
    encoder = f"{{'type':'PlainEncoder','channels':(8,16),'in_channels':{channels}}}"
    return [*SHORT, f"model.backbone={encoder}", *SMALL]


def run(line: str, *, trains: bool) -> None:
    """Runs a command of the page; without training, what the command checks before the first step."""
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "new":
        words.append("--no-trial")
    if words[0] == "train":
        # networks of objects are never small: see the slow test
        is_semantic = "runner" not in load_config(words[1])
        words += [] if trains else ["--check"]
        words += ["--cfg-options", *(small(words[1]) if is_semantic else SHORT)]
    if words[0] != "predict" or trains:
        assert main(words) == 0, line


def name_of(lines: list[str]) -> str:
    return Path(shlex.split(lines[0], comments=True)[2]).name.partition(".")[0]


def check_section(title: str, *, trains: bool) -> None:
    lines = sections()[title]
    name = name_of(lines)
    FORMS[title](Path(name))
    if title == "YOLO":
        assert not Path(name).exists()
    for line in lines:
        run(line, trains=trains)
    config = Path(f"{name}.py").read_text(encoding="utf-8")
    assert len(config.splitlines()) <= 25 and all(len(line) <= 120 for line in config.splitlines())
    if trains and title not in ("YOLO",):
        assert list(Path("labelled/labels").rglob("*.png"))


def test_every_section_has_its_commands():
    assert sections().keys() == FORMS.keys()


@pytest.mark.parametrize("title", FORMS)
def test_a_section(title):
    if title == "DICOM":
        pytest.importorskip("pydicom")
    check_section(title, trains=title in QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("title", [title for title in FORMS if title not in QUICK])
def test_a_section_is_trained(title):
    check_section(title, trains=True)


@pytest.mark.parametrize("name", MESSY)
def test_messy_folders_take_three_commands(name):
    found = MESSY[name](Path(name))
    assert main(["new", name, "--no-trial"]) == 0
    assert main(["train", f"{name}.py", "--cfg-options", *small(f"{name}.py")]) == 0
    assert main(["predict", f"work_dirs/{name}/last.pt", f"{name}/images", "--out", "labelled"]) == 0
    for image, mask in found.masks.items():
        labels = np.asarray(Image.open(f"labelled/labels/{image}.png"))
        assert labels.shape == mask.shape and set(np.unique(labels)) <= {0, 1}


def chosen(name: str, *words: str) -> dict:
    """The sections of a config that segkit new writes for a folder."""
    assert main(["new", name, "--no-trial", "--force", *words]) == 0
    cfg = load_config(f"{name}.py")
    check(cfg)
    return cfg


def test_values_and_classes_of_messy_folders():
    messy.five_bands(Path("five"))
    cfg = chosen("five")
    inner = cfg["train"]["dataset"]["dataset"]
    assert (inner["channels"], inner["nodata"], inner["classes"]) == (5, -9999, ["background", "object"])
    assert cfg["model"]["backbone"]["in_channels"] == 5 and len(cfg["model"]["backbone"]["mean"]) == 5
    messy.twelve_bits(Path("twelve"))
    assert chosen("twelve")["train"]["dataset"]["dataset"]["scale"] == (0, 4095)
    messy.photographs(Path("photos"))
    assert chosen("photos")["train"]["dataset"]["dataset"]["exif"] is True
    messy.soft_color_masks(Path("soft"))
    cfg = chosen("soft")
    assert cfg["model"]["num_classes"] == 2 and cfg["train"]["dataset"]["dataset"]["classes"][1] == "#e69f00"


@pytest.mark.parametrize(
    ("task", "train", "val"),
    [
        ("semantic", "Labelled", "Labelled"),
        ("instances", "LabelledInstances", "LabelledInstances"),
        ("clicks", "LabelledClicks", "LabelledClicksEval"),
    ],
)
def test_tasks_of_outlines(task, train, val, capsys):
    forms.coco(Path("trees"))
    cfg = chosen("trees", "--task", task)
    assert cfg["train"]["dataset"]["dataset"]["type"] == train and cfg["val"]["dataset"]["dataset"]["type"] == val
    assert cfg["train"]["dataset"]["part"] == "train" and cfg["val"]["dataset"]["part"] == "val"
    assert "as asked" in capsys.readouterr().out


def test_boxes_are_learned_from_and_splits_of_the_data_kept(capsys):
    forms.roboflow_zip(Path("export"))
    assert main(["new", "export.zip", "--no-trial", "--dry-run"]) == 0
    assert not Path("export").exists() and not Path("export.py").exists()
    assert "instances: 6 of 6 objects are boxes alone" in capsys.readouterr().out
    assert main(["new", "export.zip", "--no-trial"]) == 0
    cfg = load_config("export.py")
    assert [cfg[part]["dataset"]["split"] for part in ("train", "val", "test")] == ["train", "val", "test"]
    assert cfg["losses"][0]["type"] == "Box2Mask" and cfg["train"]["dataset"]["boxes_only"]
    # the archive lies there unpacked, and the config is not replaced unasked
    assert main(["new", "export.zip", "--no-trial"]) == 2
    assert "export.py: is there already; replace it by --force" in capsys.readouterr().err
    assert main(["new", "export.zip", "--no-trial", "--force"]) == 0
    assert "unpacked before" in capsys.readouterr().out


def test_scenes_stay_together():
    for number in range(24):
        mask = messy.disc(number)
        for folder, picture in (("images", messy.picture(mask, number)), ("masks", mask)):
            Path("drives", folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(f"drives/{folder}/drive{number // 4}_{number % 4:03}.png")
    cfg = chosen("drives")
    assert cfg["train"]["dataset"]["by"] == r"^(.*?)[ _.-]*\d+$"
    from segkit.engine.setup import build_dataset

    train, val = (build_dataset(cfg[part]["dataset"]) for part in ("train", "val"))
    drives = [{name.partition("_")[0] for name in part.ids} for part in (train, val)]
    assert len(train) + len(val) == 24 and len(val) == 4 and not drives[0] & drives[1]


def test_copies_of_training_images_among_the_validation_images_are_told(capsys):
    for part, numbers in (("train", range(6)), ("val", (6, 7))):
        for number in numbers:
            mask = messy.disc(number)
            for folder, picture in (("images", messy.picture(mask, number)), ("masks", mask)):
                Path("twice", folder, part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(f"twice/{folder}/{part}/p{number}.png")
    said = "validation images looked at are like training images"
    chosen("twice")
    assert said not in capsys.readouterr().out
    shutil.copy("twice/images/train/p3.png", "twice/images/val/p7.png")
    chosen("twice")
    assert f"1 of 2 {said} (p7.png like p3.png)" in capsys.readouterr().out
    assert not Path("work_dirs").exists()


def test_images_alone_are_prepared_for_labels(capsys):
    forms.pictures(Path("photos"))
    assert main(["new", "photos"]) == 2
    assert "to label these images: segkit new --images photos" in capsys.readouterr().err
    assert main(["new", "--images", "photos", "--classes", "road,car"]) == 0
    assert Path("photos/classes.txt").read_text() == "background\nroad\ncar\n"
    assert "labelme photos --labels photos/classes.txt" in capsys.readouterr().out
    for words, message in (
        (["--images", "photos", "--classes", "a,a"], "--classes a,a: must be names with commas between them"),
        (["--images", "photos", "--classes", "tree"], "is there already with other names"),
        (["--images", "photos", "trees"], "is for images without labels"),
        (["--images", "nowhere"], "--images nowhere: no such folder"),
    ):
        assert main(["new", *words]) == 2
        assert message in capsys.readouterr().err


def refused(capsys, *words: str) -> str:
    assert main(["new", *words, "--no-trial"]) == 2
    assert not list(Path().glob("*.py"))
    return capsys.readouterr().err


def test_what_cannot_be_read_is_named(place, capsys):
    assert "gone: no such folder or file" in refused(capsys, "gone")
    Path("empty").mkdir()
    assert "empty: the folder is empty" in refused(capsys, "empty")
    Path("odd").mkdir()
    Path("odd/a.json").write_text("{}")
    text = refused(capsys, "odd")
    assert "tried labelme, cvat" in text and "nearest: .json files are those of COCO, labelme" in text
    forms.coco(Path("two"))
    forms.cvat(Path("two"))
    assert "2 formats fit: cvat" in (text := refused(capsys, "two")) and "--format cvat" in text
    Path("labels").mkdir()
    Path("labels/annotations.json").write_bytes(Path("two/annotations.json").read_bytes())
    assert "images" in refused(capsys, "labels")
    Path("broken.zip").write_bytes(b"PK\3\4 cut off")
    assert "broken.zip: a damaged archive" in refused(capsys, "broken.zip")
    Path("old.rar").write_bytes(b"Rar!")
    assert "old.rar: this kind of archive is not unpacked; unpack it" in refused(capsys, "old.rar")
    assert "--out x.yaml: must end in .py" in refused(capsys, "two", "--out", "x.yaml")


def test_tasks_that_labels_cannot_teach(capsys):
    forms.roboflow_zip(Path("boxes"))
    text = refused(capsys, "boxes.zip", "--task", "semantic")
    assert "--task semantic: 6 of 6 objects of boxes are boxes without an outline" in text
    assert "--task clicks: the 6 objects of boxes are boxes" in refused(capsys, "boxes.zip", "--task", "clicks")
    for number in range(3):
        for folder, value in (("images", 90), ("masks", 0)):
            Path("plain", folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, 40), value, np.uint8)).save(f"plain/{folder}/{number}.png")
    assert "plain: one class only (background) in 3 labelled images" in refused(capsys, "plain")
    for folder in ("images", "masks"):
        Path("single", folder).mkdir(parents=True)
        Image.fromarray(messy.disc(0) * (255 if folder == "images" else 1)).save(f"single/{folder}/a.png")
    assert "single: 1 labelled image; training and scoring need 2 at least" in refused(capsys, "single")
