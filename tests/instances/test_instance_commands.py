"""train, test and predict of a model of instances, from a config file, on the embedded data set."""

import json

import numpy as np
import pytest

from segkit.cli import predict, test, train
from segkit.files import DataError
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from segkit.runners.instances.tables import instance_tables
from segkit.runners.instances.writer import InstanceWriter
from segkit.viz.draw import save_png
from tests.instances.test_box_runner import sections


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """-> a folder with run.py and, below work, the checkpoint of two steps; scores are so low that all is found."""
    folder = tmp_path_factory.mktemp("run")
    cfg = sections("BoxLevelSet")
    cfg["model"]["head"] |= dict(score_threshold=0.0, keep_score=0.0, mask_threshold=0.3, limit=4)
    cfg["metrics"] = [dict(type="CocoAP"), dict(type="VocAP"), dict(type="CocoAP", filled=True)]
    cfg["runner"]["growth"] = 1
    cfg["loop"] |= dict(steps=2)
    (folder / "run.py").write_text(dump(cfg))
    assert train.main([str(folder / "run.py"), "--work-dir", str(folder / "work"), "--device", "cpu"]) == 0
    return folder


def test_test_prints_tables_and_writes_sections(run, capsys):
    out = run / "scores.json"
    arguments = ["none", str(run / "work" / "last.pt"), "--device", "cpu", "--split", "val", "--out", str(out)]
    assert test.main([*arguments, "--show", str(run / "show"), "--show-count", "2"]) == 0
    scores, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert {"AP", "AP50", "AP75", "per_class"} <= scores["segm"].keys() and {"AP25", "AP70"} <= scores["VOC"].keys()
    assert "segm (masks)" in printed and "VOC (" in printed and "filled (" in printed and "striped disk" in printed
    assert (run / "work" / "growth.png").exists()
    assert sorted(file.name for file in (run / "show").iterdir()) == [
        "overview.png",
        "val_000000.png",
        "val_000001.png",
    ]


def test_predict_writes_results_and_overlays(run):
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    save_png(run / "photos" / "one.png", image)
    common = ["none", str(run / "work" / "last.pt"), str(run / "photos"), "--device", "cpu", "--score", "0"]
    assert predict.main([*common, "--out", str(run / "found")]) == 0
    results = json.loads((run / "found" / "results.json").read_text())
    assert results and (run / "found" / "overlays" / "one.png").exists() and not (run / "found" / "labels").exists()
    for one in results:
        assert one["image_id"] == "one" and 1 <= one["category_id"] <= 5 and one["segmentation"]["size"] == [40, 56]
        assert 0 <= one["score"] <= 1 and len(one["bbox"]) == 4
    names = ["dotted square", "checked star", "striped star", "checked disk", "striped disk"]
    file = run / "ids.json"
    content = dict(
        images=[dict(id=77, file_name="a/one.png")],
        categories=[dict(id=10 * i, name=name) for i, name in enumerate(names, 1)],
    )
    file.write_text(json.dumps(content))
    assert predict.main([*common, "--out", str(run / "again"), "--annotations", str(file)]) == 0
    again = json.loads((run / "again" / "results.json").read_text())
    wanted = {1: 50, 2: 40, 3: 30, 4: 20, 5: 10}  # the classes' order is that of Shapes, the file has it reversed
    assert [(one["image_id"], one["category_id"]) for one in again] == [
        (77, wanted[one["category_id"]]) for one in results
    ]


def test_annotations_that_do_not_fit(tmp_path):
    file = tmp_path / "ids.json"
    file.write_text(json.dumps(dict(images=[], categories=[dict(id=1, name="cat")])))
    with pytest.raises(ConfigError, match="no category 'dog'"):
        InstanceWriter(tmp_path, ("dog",), annotations=file)
    writer = InstanceWriter(tmp_path, ("cat",), annotations=file)
    with pytest.raises(ConfigError, match="the checkpoint does not name its classes"):
        InstanceWriter(tmp_path, (), annotations=file)
    with pytest.raises(DataError, match="list no image of this name"):
        image = np.zeros((4, 4, 3), np.uint8)
        writer.add(tmp_path / "one.png", "one", image, dict(masks=[], scores=[], labels=[], boxes=[]))
    file.write_text(json.dumps(dict(images=[dict(id=7)], categories=[dict(id=1, name="cat")])))
    with pytest.raises(ConfigError, match="image 7 has no file_name"):
        InstanceWriter(tmp_path, ("cat",), annotations=file)


def test_ids_of_lvis_whose_images_have_an_address_alone(tmp_path):
    file = tmp_path / "lvis.json"
    images = [dict(id=5, coco_url="http://images.cocodataset.org/val2017/000000000005.jpg")]
    file.write_text(json.dumps(dict(images=images, categories=[dict(id=3, name="cat")])))
    writer = InstanceWriter(tmp_path, ("cat",), annotations=file)
    mask = dict(size=[4, 4], counts=b"0`0")
    found = dict(masks=[mask], scores=[0.5], labels=[0], boxes=[[0, 0, 2, 2]])
    writer.add(tmp_path / "000000000005.jpg", "x", np.zeros((4, 4, 3), np.uint8), found)
    assert [(entry["image_id"], entry["category_id"]) for entry in writer.entries] == [(5, 3)]
    assert json.loads(writer.close().read_text()) == writer.entries


def test_tables_show_unknown_values_and_classes():
    scores = dict(
        segm={"AP": 12.5, "AP50": None, "per_class": {"cat": {"AP": 20.0}, "dog": {"AP": None}}},
        matched={"recall": 50.0, "objects": 4},
        images=3,
    )
    assert instance_tables(scores).split("\n") == [
        "cat    20.00",
        "dog        -",
        "",
        "segm (masks)",
        "      AP    AP50",
        "   12.50       -",
        "",
        "matched (masks of objects whose box is found)",
        "  recall  objects",
        "   50.00        4",
        "",
    ]
    assert instance_tables(dict(mIoU=3.0)) == ""
