"""segkit audit: the page, audit.json, copies, folds, and what is said of bad input."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit.audit.judges import NetworkJudge, Trained
from segkit.cli.main import main
from segkit.data.files.pseudo_manifest import image_key
from segkit.data.instances.penn_fudan import PennFudanInstances
from segkit.data.semantic.folder import Folder
from segkit.files import DataError
from segkit.readers.probabilities import read_probabilities
from segkit.registry import ConfigError, build_model
from segkit.runners.writers import save_probabilities
from tests.test_audit import CLASSES, certain, objects, scene, without_car
from tests.tiny import sections

CONFIG = """
_data = dict(type="Folder", root={root!r}, classes=("ground", "sky", "car", "person"))
train = dict(dataset=dict(**_data, images="images/train", masks="masks/train"))
val = dict(dataset=dict(**_data, images="images/val", masks="masks/val"))
test = train
"""


def picture(number: int) -> np.ndarray:
    """The scene in its colors under noise of its own, uint8 [48,80,3]."""
    rng = np.random.default_rng(number)
    colors = np.array([[90, 90, 90], [120, 160, 220], [200, 40, 40], [30, 160, 60]])
    cells = cv2.resize(rng.integers(-80, 80, (5, 8, 3)).astype(np.float32), (80, 48))
    return np.clip(colors[scene()] + cells, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Three training images, the second without the label of its car and the third a copy; a copy in val, too."""
    folder = tmp_path_factory.mktemp("audit")
    for part, numbers in (("train", (0, 1, 0)), ("val", (1, 5))):
        for kind in ("images", "masks"):
            (folder / kind / part).mkdir(parents=True)
        for k, number in enumerate(numbers):
            labels = without_car() if (part, k) == ("train", 1) else scene()
            cv2.imwrite(str(folder / f"images/{part}/{part}{k}.png"), picture(number)[..., ::-1])
            cv2.imwrite(str(folder / f"masks/{part}/{part}{k}.png"), labels)
            save_probabilities(folder / f"predictions/{part}{k}.npz", certain(scene()), CLASSES)
    (folder / "data.py").write_text(CONFIG.format(root=str(folder)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def result(place, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "page.html"
    arguments = [str(place / "data.py"), "--predictions", str(place / "predictions"), "--out", str(out)]
    assert main(["audit", *arguments, "--least", "16"]) == 0
    return out


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path_factory.getbasetemp() / "audit_cache"))


def test_findings_copies_and_leaks_stand_in_the_file(place, result):
    content = json.loads((result.parent / "audit.json").read_text(encoding="utf-8"))
    assert content["folder"] == (place / "images/train").as_posix()
    (finding,) = content["findings"]
    score = finding.pop("score")
    assert 0.9 < score < 1
    assert finding == {
        "image": "train1.png",
        "box": [10, 30, 30, 42],
        "kind": "missing",
        "class": "ground",
        "predicted": "car",
        "seen": None,
    }
    assert content["images"][0]["image"] == "train1.png"
    assert len(content["images"]) == 3
    (pair,) = content["duplicates"]
    assert (pair["first"], pair["second"], pair["equal"]) == ("train0.png", "train2.png", True)
    (leak,) = [leak for leak in content["leaks"] if leak["section"] == "val"]
    assert (leak["first"], leak["equal"]) == ("train1.png", True)
    assert Path(leak["second"]) == place / "images/val/val0.png"
    # section `test` names the files of `train`: each is a leak by itself, and by its copy
    pairs = {(leak["first"], leak["second"]) for leak in content["leaks"] if leak["section"] == "test"}
    names = [f"train{k}.png" for k in range(3)]
    assert pairs == {*zip(names, names), (names[0], names[2]), (names[2], names[0])}


def test_the_page_needs_no_network_and_filters_by_kind(result):
    text = result.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert 'http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;; img-src data:;' in text
    assert text.count("<article") == 1
    assert text.count("<img") == 4  # image, label, prediction, and the empty one of the dialog
    assert 'data-kind="missing"' in text
    assert 'value="missing"' in text
    assert "labelled ground; seen car; box 10, 30, 30, 42" in text


def test_a_folder_of_labelled_images_is_data_too(place, tmp_path, capsys):
    for k in range(2):
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            content = (place / kind / "train" / f"train{k}.png").read_bytes()
            (tmp_path / "data" / kind / f"train{k}.png").write_bytes(content)
    (tmp_path / "data" / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    arguments = [str(tmp_path / "data"), "--predictions", str(place / "predictions"), "--no-copies", "--least", "16"]
    assert main(["audit", *arguments, "--out", str(tmp_path / "a.html")]) == 0, capsys.readouterr().err
    content = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert [(entry["image"], entry["kind"]) for entry in content["findings"]] == [("train1.png", "missing")]


def test_objects_are_judged_by_results_in_a_file(tmp_path):
    root = tmp_path / "PennFudanPed"
    for folder in ("PNGImages", "PedMasks"):
        (root / folder).mkdir(parents=True)
    labelled = np.zeros((60, 80), np.uint8)
    labelled[10:40, 5:25] = 1
    results = []
    for k in range(2):
        mask = labelled.copy()
        if k == 0:
            mask[20:50, 50:70] = 2
        cv2.imwrite(str(root / f"PNGImages/Fudan{k}.png"), np.full((60, 80, 3), 90 + 40 * k, np.uint8))
        cv2.imwrite(str(root / f"PedMasks/Fudan{k}_mask.png"), mask)
        found = objects((5, 10, 25, 40, 0, 0.9), (50, 20, 70, 50, 0, 0.9))
        for box, code in zip(found.boxes.tolist(), found.masks):
            x0, y0, x1, y1 = box
            shape = {"size": [60, 80], "counts": code["counts"].decode()}
            bbox = [x0, y0, x1 - x0, y1 - y0]
            results.append(dict(image_id=f"Fudan{k}", category_id=1, score=0.9, bbox=bbox, segmentation=shape))
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    config = tmp_path / "penn.py"
    row = f'dict(dataset=dict(type="PennFudanInstances", root={str(root)!r}, split="all"))'
    config.write_text(f"train = {row}\n", encoding="utf-8")
    out = tmp_path / "page.html"
    assert main(["audit", str(config), "--predictions", str(tmp_path), "--out", str(out), "--no-copies"]) == 0
    (finding,) = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))["findings"]
    assert (finding["image"], finding["kind"], finding["box"]) == ("Fudan1.png", "missing", [50, 20, 70, 50])
    assert (finding["class"], finding["predicted"]) == (None, "pedestrian")
    assert finding["score"] == pytest.approx(1)
    assert len(PennFudanInstances(str(root), "all")) == 2


def test_each_image_is_judged_by_the_folds_that_did_not_train_on_it(place):
    dataset = Folder(str(place), CLASSES, images="images/train", masks="masks/train")
    keys = [image_key(dataset.path(index)) for index in range(3)]
    networks = []
    for seen in ({keys[0], keys[2]}, {keys[1], keys[2]}):
        torch.manual_seed(len(networks))
        cfg = sections()
        cfg["model"]["num_classes"], cfg["model"]["aux"] = 4, []
        model = build_model(cfg["model"]).eval()
        model.config, model.classes = cfg | {"inference": {}}, CLASSES
        networks.append(Trained(f"fold{len(networks)}.pt", model, seen))
    judge, singly = NetworkJudge(networks, CLASSES), [NetworkJudge([one], CLASSES) for one in networks]
    maps = [judge.maps(dataset, index, dataset.image(index)) for index in range(3)]
    assert [seen for _, seen in maps] == [False, False, True]
    alone = [[one.maps(dataset, index, dataset.image(index))[0] for one in singly] for index in range(3)]
    assert np.array_equal(maps[0][0], alone[0][1])
    assert np.array_equal(maps[1][0], alone[1][0])
    assert not np.array_equal(alone[2][0], alone[2][1])
    assert maps[2][0] == pytest.approx((alone[2][0] + alone[2][1]) / 2)
    unknown = NetworkJudge([networks[0]._replace(seen=None)], CLASSES)
    assert unknown.maps(dataset, 0, dataset.image(0))[1] is None
    with pytest.raises(ConfigError, match=r"fold0.pt: has the classes ground, sky.* and the data a, b"):
        NetworkJudge(networks, ("a", "b"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "page.html"], "give checkpoints, or --predictions DIR"),
        (["--out", "page.txt", "--predictions", "."], "ends in .html"),
        (["--out", "page.html", "--predictions", "nowhere"], "--predictions nowhere: no such folder"),
        (["--out", "page.html", "--predictions", ".", "--least", "0"], "--least 0: must be 1 or more"),
        (["--out", "page.html", "--predictions", "."], "no such file for"),
        (["--out", "page.html", "--predictions", ".", "--split", "val"], "val0.npz: no such file"),
    ],
)
def test_bad_input_is_told_in_a_sentence(place, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", str(place / "data.py"), *options]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "audit.json").exists()


def test_files_of_probabilities_are_checked(tmp_path):
    path, values = tmp_path / "a.npz", certain(scene())
    save_probabilities(path, values, CLASSES)
    assert read_probabilities(path, (4, 48, 80)) == pytest.approx(values, abs=1e-3)
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(read_probabilities(tmp_path / "a.npy", (4, 48, 80)), values)
    with pytest.raises(DataError, match=r"holds float16 \(4, 48, 80\), and probabilities of shape \(4, 48, 81\)"):
        read_probabilities(path, (4, 48, 81))
    with pytest.raises(DataError, match=r"needs more than 65,568 bytes"):
        save_probabilities(tmp_path / "large.npz", np.zeros((40, 60, 60)), CLASSES)
        read_probabilities(tmp_path / "large.npz", (1, 2, 2))
    np.save(tmp_path / "logits.npy", 9 * values)
    with pytest.raises(DataError, match=r"probabilities lie in 0..1, so apply a softmax"):
        read_probabilities(tmp_path / "logits.npy", (4, 48, 80))
    np.savez(tmp_path / "other.npz", a=values)
    with pytest.raises(DataError, match=r"holds no array 'probabilities'"):
        read_probabilities(tmp_path / "other.npz", (4, 48, 80))
    content = path.read_bytes()
    for end in (0, 30, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=r"a.npz"):
            read_probabilities(path, (4, 48, 80))
