"""Panoptic segmentation: segments of queries, data in COCO's format, and train, test and predict on made images."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit import dist
from segkit.cli import audit, predict, test, train
from segkit.config import load_config
from segkit.data.files.panoptic import colors_of, read_ids
from segkit.data.instances.panoptic import ADE20KPanoptic, CityscapesPanoptic, COCOPanoptic
from segkit.data.semantic.shapes import Shapes
from segkit.engine.setup import DataSets
from segkit.files import DataError
from segkit.metrics.pq import PQ
from segkit.models.bases import QueryHead
from segkit.ops.instances.segments import merged_segments, segment_map, sure_queries
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from segkit.runners.base import build_runner
from segkit.runners.instances.panoptic_writer import PanopticWriter
from segkit.viz.draw import save_png
from tests.instances.test_box_runner import sections

SIZE = (48, 64)


def published(class_logits, mask_logits, things, score, overlap):
    """The paper's inference by loops over queries and pixels -> id map, and (label, score) of each segment."""
    queries = []
    for q, logits in enumerate(class_logits.tolist()):
        exps = np.exp(np.array(logits) - max(logits))
        shares = exps / exps.sum()
        if shares.argmax() < len(logits) - 1 and shares.max() > score:
            queries.append((q, int(shares.argmax()), shares.max()))
    height, width = mask_logits.shape[1:]
    result, segments, stuff = np.zeros((height, width), int), [], {}
    chance = 1 / (1 + np.exp(-mask_logits.double().numpy()))
    owner = {}
    for y in range(height):
        for x in range(width):
            values = [s * chance[q, y, x] for q, _, s in queries]
            owner[y, x] = int(np.argmax(values)) if values else -1
    for k, (q, label, value) in enumerate(queries):
        kept = [place for place, index in owner.items() if index == k]
        own = int((chance[q] >= 0.5).sum())
        shown = [place for place in kept if chance[q][place] >= 0.5]
        if not kept or not own or not shown or len(kept) / own < overlap:
            continue
        number = stuff.get(label) if label not in things else None
        if number is None:
            segments.append((label, value))
            number = stuff[label] = len(segments)
        for place in shown:
            result[place] = number
    return result, segments


def test_segments_are_those_of_the_paper():
    kinds = set()
    for seed in range(8):
        rng = torch.Generator().manual_seed(seed)
        classes = 4 * torch.randn(9, 5, generator=rng)
        small = torch.nn.functional.interpolate(torch.randn(1, 9, 3, 4, generator=rng), (9, 14), mode="bilinear")[0]
        masks = 3 * small
        expected, segments = published(classes, masks, {0, 1}, 0.5, 0.6)
        kept, scores, labels = sure_queries(classes, 0.5)
        found = merged_segments(scores, labels, masks[kept], things=(0, 1), overlap=0.6)
        order = sorted(range(len(segments)), key=lambda k: -segments[k][1])
        assert found.labels.tolist() == [segments[k][0] for k in order]
        assert found.scores.tolist() == pytest.approx([segments[k][1] for k in order], abs=1e-6)
        for k, mask in zip(order, found.masks):
            assert (mask.numpy() == (expected == k + 1)).all()
        kinds |= {found.labels.tolist().count(0) > 1, len(kept) > len(found.scores)}
    assert kinds == {True, False}


def test_no_query_is_sure():
    _, scores, labels = sure_queries(torch.zeros(3, 4), 0.8)
    found = merged_segments(scores, labels, torch.zeros(0, 2, 3), things=(), overlap=0.8)
    assert found.masks.shape == (0, 2, 3) and found.boxes.shape == (0, 4)
    outputs = dict(
        image=torch.zeros(1, 3, 8, 8), class_logits=[torch.zeros(1, 3, 4)], mask_logits=[torch.zeros(1, 3, 2, 2)]
    )
    (found,) = QueryHead().segments(outputs, [dict(size=(5, 6))], things=(), score=0.8, overlap=0.8)
    assert found.masks.shape == (0, 5, 6)


def test_maps_and_colors():
    masks = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [1, 1]]])
    assert segment_map(masks, (2, 2), "x").tolist() == [[1, 0], [2, 2]]
    assert segment_map([], (2, 2), "x").tolist() == [[0, 0], [0, 0]]
    colors = colors_of(np.array([[0, 300, 65536 * 3 + 256 * 2 + 1]]))
    assert colors.tolist() == [[[0, 0, 0], [44, 1, 0], [1, 2, 3]]]


def made(folder: Path, split: str, length: int) -> None:
    """Writes images of Shapes as COCO panoptic: 5 classes of things, and the background split into two of stuff."""
    shapes = Shapes(split, length, size=SIZE, background=False)
    images, annotations = [], []
    for index in range(length):
        sample = shapes.sample(index)
        ids = np.where(np.arange(SIZE[1]) < 30, 7_000_000, 300)[None].repeat(SIZE[0], 0)
        kinds = {7_000_000: 60, 300: 70}
        ids[:2] = 0  # void
        for number, (mask, label) in enumerate(zip(sample["masks"], sample["labels"].tolist()), 1):
            ids[mask > 0] = 65536 * number + 9
            kinds[65536 * number + 9] = 10 * (label + 1)
        name = f"{index:012d}"
        save_png(folder / split / f"{name}.png", sample["image"])
        save_png(folder / f"annotations/panoptic_{split}" / f"{name}.png", colors_of(ids))
        segments = []
        for number in np.unique(ids)[1:].tolist():
            rows, columns = np.nonzero(ids == number)
            x, y = int(columns.min()), int(rows.min())
            box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
            crowd = int(number < 7_000_000 and number > 300 and index == 1 and not any(s["iscrowd"] for s in segments))
            segments.append(dict(id=number, category_id=kinds[number], area=len(rows), bbox=box, iscrowd=crowd))
        height, width = SIZE
        images.append(dict(id=100 + index, file_name=f"{name}.png", height=height, width=width))
        annotations.append(dict(image_id=100 + index, file_name=f"{name}.png", segments_info=segments))
    names = ("a", "b", "c", "d", "e", "left", "right")
    categories = [dict(id=10 * (k + 1), name=name, isthing=int(k < 5)) for k, name in enumerate(names)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / f"annotations/panoptic_{split}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    made(folder, "train", 4)
    made(folder, "val", 3)
    return folder


def test_samples_hold_the_segments(root):
    dataset = COCOPanoptic(str(root), "val")
    assert dataset.classes == ("a", "b", "c", "d", "e", "left", "right")
    assert dataset.things == (True,) * 5 + (False,) * 2 and len(dataset) == 3 and dataset.ids[0] == "100"
    rng = np.random.default_rng(0)
    content = json.loads((root / "annotations/panoptic_val.json").read_text())
    for index, entry in enumerate(content["annotations"]):
        sample = dataset.sample(index, rng)
        ids = read_ids(root / "annotations/panoptic_val" / entry["file_name"])
        numbers = [segment["id"] for segment in entry["segments_info"]]
        drawn = segment_map(sample["masks"], SIZE, "x")
        assert (np.array([0, *numbers])[drawn] == ids).all()
        assert [10 * (label + 1) for label in sample["labels"]] == [s["category_id"] for s in entry["segments_info"]]
        assert sample["crowd"].tolist() == [bool(s["iscrowd"]) for s in entry["segments_info"]]
        assert dataset.areas(index) == [s["area"] for s in entry["segments_info"]]
    assert dataset.sample(1, rng)["crowd"].sum() == 1
    trained = COCOPanoptic(str(root), "val", filtered=True, classes=["right", "a"])
    assert trained.things == (False, True) and not trained.sample(1, rng)["crowd"].any()
    truth = dataset.annotations
    assert len(truth["annotations"]) == sum(len(e["segments_info"]) for e in content["annotations"])


def changed(root: Path, folder: Path, change) -> Path:
    """A copy of the val split whose JSON file is changed in place by a function."""
    path = folder / "panoptic.json"
    content = json.loads((root / "annotations/panoptic_val.json").read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["annotations"][0]["segments_info"].pop(), "segment .* is not listed in .*from one release"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=5), "segment"),
        (
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=5),
            "has category 5, which is not listed",
        ),
        (lambda c: c["annotations"][0].update(image_id=5), "is of image 5, which is not listed"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "image 100 is annotated twice"),
        (lambda c: c["images"].append(c["images"][0]), "two images have the same id"),
        (lambda c: c["annotations"][0].pop("segments_info"), "no panoptic annotations"),
        (lambda c: c["annotations"][0].update(file_name="../x.png"), "outside of"),
        (lambda c: c["annotations"][0]["segments_info"][0].pop("bbox"), "it has no bbox"),
        (lambda c: [i.update(height=9) for i in c["images"]], "64x48 pixels, and .* says 64x9"),
        (lambda c: c.pop("categories"), "no panoptic annotations"),
    ],
)
def test_files_that_do_not_fit_are_refused(root, tmp_path, change, message):
    path = changed(root, tmp_path, change)
    with pytest.raises(DataError, match=message):
        dataset = COCOPanoptic(
            annotations=str(path), segments=str(root / "annotations/panoptic_val"), images=str(root / "val")
        )
        if "64x9" in message:
            dataset._masks[0]
        dataset.sample(0, np.random.default_rng(0))


def test_missing_folders(root):
    with pytest.raises(DataError, match=r"panoptic_test\.json"):
        COCOPanoptic(str(root), "test")
    with pytest.raises(DataError, match="no such folder; it holds the PNGs"):
        COCOPanoptic(str(root), "val", segments=str(root / "none"))


def test_cityscapes_finds_images_by_their_ids(root, tmp_path):
    content = json.loads((root / "annotations/panoptic_val.json").read_text())
    for number, (image, entry) in enumerate(zip(content["images"], content["annotations"])):
        name = f"bonn_{number:06d}_000019"
        picture = root / "val" / image["file_name"]
        target = tmp_path / "leftImg8bit/val/bonn" / f"{name}_leftImg8bit.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.read_bytes())
        folder = tmp_path / "gtFine/cityscapes_panoptic_val"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}_gtFine_panoptic.png").write_bytes(
            (root / "annotations/panoptic_val" / entry["file_name"]).read_bytes()
        )
        image.update(id=name, file_name=f"{name}_gtFine_leftImg8bit.png")
        entry.update(image_id=name, file_name=f"{name}_gtFine_panoptic.png")
    (tmp_path / "gtFine/cityscapes_panoptic_val.json").write_text(json.dumps(content))
    dataset = CityscapesPanoptic(str(tmp_path), "val")
    sample = dataset.sample(2, np.random.default_rng(0))
    assert sample["meta"]["id"] == "bonn_000002_000019" and len(sample["masks"]) == len(sample["labels"]) > 2


def test_ade20k_finds_images_by_the_names_of_their_labels(root, tmp_path):
    content = json.loads((root / "annotations/panoptic_val.json").read_text())
    for image in content["images"]:
        picture = cv2.imread(str(root / "val" / image["file_name"]))
        target = tmp_path / "images/validation" / Path(image["file_name"]).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(target), picture)
        image["file_name"] = f"{Path(image['file_name']).stem}.png"
    (tmp_path / "ade20k_panoptic_val.json").write_text(json.dumps(content))
    shutil.copytree(root / "annotations/panoptic_val", tmp_path / "ade20k_panoptic_val")
    sample = ADE20KPanoptic(str(tmp_path), "val").sample(2, np.random.default_rng(0))
    assert len(sample["masks"]) == len(sample["labels"]) > 2
    with pytest.raises(DataError, match="'test'"):
        ADE20KPanoptic(str(tmp_path), "test")


def config(root: Path) -> dict:
    cfg = sections("Mask2FormerMasks")
    cfg["model"]["num_classes"] = 7
    data = dict(type="COCOPanoptic", root=str(root))
    cfg["train"] |= dict(dataset=dict(**data, split="train", filtered=True), transforms=[dict(type="Flip")])
    cfg["val"] |= dict(dataset=dict(**data, split="val"), transforms=[dict(type="Resize", size=(40, 56))])
    cfg["runner"] = dict(type="Panoptic", things=(0, 1, 2, 3, 4), score=0.05, overlap=0.1, divisor=16)
    cfg["metrics"] = [dict(type="PQ"), dict(type="CocoAP")]
    cfg["loop"] |= dict(steps=2, save_every=2, monitor="PQ")
    return cfg


@pytest.fixture(scope="module")
def run(root) -> Path:
    (root / "run.py").write_text(dump(config(root)))
    assert train.main([str(root / "run.py"), "--work-dir", str(root / "work"), "--device", "cpu"]) == 0
    return root


def entries(path: Path) -> dict:
    return {entry["file_name"]: entry for entry in json.loads(path.read_text())["annotations"]}


def test_test_scores_and_writes_segments(run, capsys):
    ids = str(run / "annotations/panoptic_val.json")
    line = ["none", str(run / "work/last.pt"), "--device", "cpu", "--split", "val", "--out", str(run / "scores.json")]
    line += ["--predictions", str(run / "found"), "--annotations", ids, "--show", str(run / "show"), "--per-image"]
    assert test.main(line) == 0
    printed, scores = capsys.readouterr().out, json.loads((run / "scores.json").read_text())
    assert "PQ" in printed and "right" in printed and "segm (masks)" in printed
    assert 0 <= scores["PQ"] <= 100 and {"PQ_things", "SQ_stuff", "per_class", "segm"} <= scores.keys()
    assert (run / "show/overview.png").exists() and (run / "scores_per_image.csv").exists()
    found = entries(run / "found/panoptic.json")
    assert sorted(found) == ["100.png", "101.png", "102.png"]
    # the files give the same scores again
    dataset, metric = COCOPanoptic(str(run), "val"), PQ()
    metric.start(dataset)
    metric.reset()
    segments = 0
    for index in range(3):
        entry = found[f"{dataset.ids[index]}.png"]
        assert entry["image_id"] == 100 + index
        drawn, sample = read_ids(run / "found/panoptic" / entry["file_name"]), dataset.sample(index, None)
        rows = entry["segments_info"]
        masks = np.stack([drawn == row["id"] for row in rows]) if rows else np.zeros((0, *SIZE))
        assert [int(mask.sum()) for mask in masks] == [row["area"] for row in rows] and drawn.max() == len(rows)
        segments += len(rows)
        labels = torch.tensor([row["category_id"] // 10 - 1 for row in rows], dtype=torch.long)
        batch = dict(
            meta=[sample["meta"]],
            masks=[sample["masks"]],
            labels=[torch.as_tensor(sample["labels"])],
            crowd=[torch.as_tensor(sample["crowd"])],
        )
        metric.update([dict(masks=masks, labels=labels)], batch)
    again = metric.compute()
    assert segments > 0 and {k: scores[k] for k in again} == again


@pytest.mark.parametrize(
    "option, text", [("--intervals", "runner Panoptic have no counts"), ("--calibration", "predicts no probabilities")]
)
def test_what_test_cannot_say_of_segments_is_a_sentence(run, tmp_path, capsys, option, text):
    line = ["none", str(run / "work/last.pt"), "--device", "cpu", "--split", "val", option]
    assert test.main([*line, "--out", str(tmp_path / "scores.json")]) == 2
    said = capsys.readouterr().err
    assert text in said and "Traceback" not in said and option in said and not any(tmp_path.iterdir())


def test_segments_are_audited_as_objects(run, tmp_path, monkeypatch):
    """Predictions that are the labels, but for one segment of stuff that is another one: its label is in doubt."""
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    dataset, results = COCOPanoptic(str(run), "val"), []
    for index in range(3):
        sample = dataset.sample(index, np.random.default_rng(0))
        for box, label, mask in zip(sample["boxes"].tolist(), sample["labels"].tolist(), sample["masks"]):
            label = 5 if (index, label) == (2, 6) else label
            counts = mask["counts"]
            shape = dict(size=mask["size"], counts=counts.decode() if isinstance(counts, bytes) else counts)
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append(
                dict(image_id=dataset.ids[index], category_id=label + 1, score=0.9, bbox=bbox, segmentation=shape)
            )
    (tmp_path / "results.json").write_text(json.dumps(results))
    line = [str(run / "run.py"), "--split", "val", "--no-copies", "--out", str(tmp_path / "page.html")]
    assert audit.main([*line, "--predictions", str(tmp_path)]) == 0
    (finding,) = json.loads((tmp_path / "audit.json").read_text())["findings"]
    assert (finding["image"], finding["kind"]) == ("000000000002.png", "wrong_class")
    assert (finding["class"], finding["predicted"], finding["score"]) == ("right", "left", 1)
    # and by the network, whose segments have scores and masks as well
    assert audit.main([*line, str(run / "work/last.pt"), "--device", "cpu"]) == 0
    images = json.loads((tmp_path / "audit.json").read_text())["images"]
    assert len(images) == 3 and all(0 <= image["quality"] <= 1 and image["seen"] is False for image in images)


def test_predict_writes_the_format(run):
    line = ["none", str(run / "work/last.pt"), str(run / "val"), "--device", "cpu", "--out", str(run / "predicted")]
    assert predict.main(line) == 0
    content = json.loads((run / "predicted/panoptic.json").read_text())
    assert [c["isthing"] for c in content["categories"]] == [1] * 5 + [0] * 2
    assert {e["image_id"] for e in content["annotations"]} == {f"{k:012d}" for k in range(3)}
    assert (run / "predicted/overlays/000000000000.png").exists()
    # segkit test has found the same
    known = entries(run / "found/panoptic.json")
    for entry in content["annotations"]:
        other = known[f"{100 + int(entry['image_id'])}.png"]
        assert [row["area"] for row in entry["segments_info"]] == [row["area"] for row in other["segments_info"]]


def test_things_must_be_those_of_the_data(root):
    cfg = config(root)
    with pytest.raises(ConfigError, match=r"runner\.things: class 4 of COCOPanoptic, 'e', is missing in the list"):
        build_runner({**cfg, "runner": dict(type="Panoptic", things=(0, 1, 2, 3))}).stages(cfg, DataSets())
    with pytest.raises(ConfigError, match="class 9 of COCOPanoptic, which it does not have, is in the list"):
        build_runner({**cfg, "runner": dict(type="Panoptic", things=(0, 1, 2, 3, 4, 9))}).stages(cfg, DataSets())
    cfg["train"]["dataset"] = dict(type="ShapesInstances", length=2)
    with pytest.raises(ConfigError, match="'ShapesInstances': does not know which of its classes are things"):
        build_runner(cfg).stages(cfg, DataSets())


@pytest.mark.parametrize("name, things", [("r50_50e_coco", range(80)), ("r50_90k_cityscapes_512x1024", range(11, 19))])
def test_published_settings(name, things):
    folder = Path(__file__).parents[2] / "configs/mask2former"
    cfg = load_config(folder / f"mask2former_panoptic_{name}.py")
    assert list(cfg["runner"]["things"]) == list(things) and cfg["runner"].get("score", 0.8) == 0.8
    assert cfg["losses"] == [dict(type="Mask2FormerMasks")] and cfg["loop"]["clip"] == 0.01
    assert cfg["model"]["num_classes"] == (133 if "coco" in name else 19)


def test_segments_of_several_processes_stand_in_the_images_order(tmp_path, monkeypatch):
    """The first of two processes had images a and c, the second b; without an order they stand as they come."""
    nothing = dict(masks=[], scores=np.zeros(0), labels=np.zeros(0, int), boxes=np.zeros((0, 4)))
    first, second = PanopticWriter(tmp_path, ("sky",)), PanopticWriter(tmp_path, ("sky",))
    for writer, names in ((first, "ac"), (second, "b")):
        for name in names:
            writer.add(Path(f"{name}.jpg"), name, np.zeros((4, 6, 3), np.uint8), nothing)
    monkeypatch.setattr(dist, "gather_objects", lambda entries: [entries, second.entries])
    for order, expected in ((("a", "b", "c"), "abc"), ((), "acb")):
        content = json.loads(first.close(order).read_text(encoding="utf-8"))
        assert [entry["image_id"] for entry in content["annotations"]] == [*expected]
