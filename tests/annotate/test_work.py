"""Edits, journals and results of `segkit annotate`: nothing is lost, all can be undone, and the model is asked."""

import csv
import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from segkit.annotate.assistant import Assistant, Probabilities, seen_size, whole_or_part
from segkit.annotate.edits import EditError
from segkit.annotate.existing import existing_masks
from segkit.annotate.journal import Journal, last_record, line_of, read_journal
from segkit.annotate.pixels import Pixels
from segkit.annotate.project import Project, find_images, findings_of, open_project
from segkit.annotate.workspace import Stale
from segkit.data.files.images import read_image
from segkit.data.formats.legend import read_legend
from segkit.data.instances.coco import COCOInstances
from segkit.data.interactive.folder import FolderClicks
from segkit.data.semantic.folder import Folder
from segkit.files import DataError
from segkit.registry import ConfigError
from tests.annotate.made import INPUTS, do, mask, outputs, photographs, predictor, project, workspace


@pytest.fixture
def folder(tmp_path):
    return photographs(tmp_path / "photos")


def states(space, index: int = 0) -> tuple:
    sheet = space.work_on(space.entries[index]).sheet
    return sheet.state, dict(sheet.objects)


def test_the_list_and_an_image(folder):
    space = workspace(folder)
    assert [row["name"] for row in space.listed()] == ["1.jpg", "2.png", "sub/0.png"]
    assert all(row["state"] == "new" and row["score"] is None for row in space.listed())
    assert [row["name"] for row in space.listed(search="SUB")] == ["sub/0.png"] and space.listed("done") == []
    turned = space.described(space.work_on(space.entries[0]))
    assert turned["size"] == [200, 180] and turned["levels"] == 1  # stored as 180 x 200
    np.testing.assert_array_equal(space.pixels(space.entries[0]).tile(0, 0, 0), read_image(folder / "1.jpg", exif=True))


def test_a_click_is_click_predictors(folder):
    space, reference = workspace(folder), predictor()
    reference.set_image(read_image(folder / "sub/0.png"))
    for number in (1, 2):  # the second object shares what the model has seen
        assert do(space, 2, do="add", **{"class": 0})["object"] == number
        reference.reset()
        for x, y, positive in ((40.5, 30.9, True), (46.2, 22.0, True), (60.0, 50.5, False)):
            answer = do(space, 2, do="click", object=number, x=x, y=y, positive=positive)
            expected = reference.click(int(y), int(x), positive)
            np.testing.assert_array_equal(mask(space, 2, number), expected)
        item = answer["objects"][number - 1]
        assert item["source"] == "model" and len(item["clicks"]) == 3 and item["seconds"] == 6.0
    changed = do(space, 2, do="threshold", object=2, value=0.7)
    np.testing.assert_array_equal(mask(space, 2, 2), reference.probabilities > 0.7)
    assert changed["objects"][1]["threshold"] == 0.7
    do(space, 2, do="undo")
    do(space, 2, do="undo")
    answer = do(space, 2, do="click", object=2, x=60.0, y=50.5, positive=False)
    np.testing.assert_array_equal(mask(space, 2, 2), expected)
    # a new process, which has seen nothing
    again = workspace(folder)
    do(again, 2, do="click", object=2, x=20, y=20, positive=True)
    np.testing.assert_array_equal(mask(again, 2, 2), reference.click(20, 20, True))
    assert answer["version"] + 1 == again.work_on(again.entries[2]).version


def test_a_click_corrects_a_mask_that_was_drawn(folder):
    space, reference = workspace(folder), predictor()
    do(space, 2, do="add", **{"class": 1})
    do(space, 2, do="polygon", object=1, add=True, points=[[20, 10], [50, 10], [50, 40], [20, 40]])
    start = mask(space, 2, 1)
    assert start.sum() == 900
    reference.set_image(read_image(folder / "sub/0.png"))
    reference.set_mask(start)
    do(space, 2, do="click", object=1, x=40, y=30, positive=True)
    np.testing.assert_array_equal(mask(space, 2, 1), reference.click(30, 40, True))
    again = workspace(folder)
    do(again, 2, do="click", object=1, x=45, y=35, positive=False)
    np.testing.assert_array_equal(mask(again, 2, 1), reference.click(35, 45, False))


def test_a_box_without_a_model_of_boxes_and_without_a_model(folder):
    space = workspace(folder)
    do(space, 2, do="add", **{"class": 0})
    answer = do(space, 2, do="box", object=1, x0=50, y0=40, x1=30, y1=20, model=True)
    (item,) = answer["objects"]
    assert item["clicks"] == [{"x": 40.0, "y": 30.0, "positive": True}]
    x0, y0, x1, y1 = item["bbox"]
    assert x0 >= 30 and y0 >= 20 and x1 <= 50 and y1 <= 40 and item["area"] > 0
    plain = workspace(folder, has_model=False)
    with pytest.raises(EditError, match="there is no model"):
        do(plain, 2, do="click", object=1, x=1, y=1, positive=True)
    assert do(plain, 2, do="box", object=1, x0=0, y0=0, x1=64, y1=64, model=False)["changed"] == [0, 0, 64, 64]


def test_edits_by_hand(folder):
    space = workspace(folder, has_model=False)
    do(space, do="add", **{"class": 0})
    do(space, do="brush", object=1, add=True, radius=1, points=[[2.5, 2.5]])
    answer = do(space, do="brush", object=1, add=True, radius=1, points=[[12.5, 2.5]])
    assert answer["objects"][0]["area"] == 10 and answer["changed"] == [11, 1, 14, 4]
    answer = do(space, do="split", object=1)
    assert [(item["id"], item["area"]) for item in answer["objects"]] == [(1, 5), (2, 5)]
    answer = do(space, do="merge", objects=[2, 1])
    assert [(item["id"], item["area"], item["bbox"]) for item in answer["objects"]] == [(2, 10, [1, 1, 14, 4])]
    do(space, do="box", object=2, x0=20, y0=20, x1=30, y1=30, model=False)
    do(space, do="brush", object=2, add=False, radius=0.5, points=[[25.5, 25.5]])
    assert mask(space, 0, 2).sum() == 109
    do(space, do="holes", object=2)
    assert mask(space, 0, 2).sum() == 110
    do(space, do="smooth", object=2, radius=2)
    assert mask(space, 0, 2)[20:30, 20:30].sum() == 96  # without the four corners
    do(space, do="class", object=2, **{"class": 2})
    do(space, do="order", object=2, order=7)
    answer = do(space, do="visible", object=2, visible=False)
    assert (answer["objects"][0]["class"], answer["objects"][0]["order"], answer["objects"][0]["visible"]) == (
        2,
        7,
        False,
    )
    with pytest.raises(EditError, match="masks are copied at one size"):
        do(space, 1, do="copy", **{"from": space.entries[0].id})
    answer = do(space, 0, do="copy", **{"from": space.entries[0].id})
    assert [item["id"] for item in answer["objects"]] == [2, 3] and answer["objects"][1]["order"] == 8
    assert [item["id"] for item in do(space, do="delete", object=2)["objects"]] == [3]
    assert do(space, do="state", state="done")["state"] == "done"
    assert do(space, do="undo")["state"] == "started" and do(space, do="redo")["state"] == "done"


def random_edit(rng: np.random.Generator, numbers: list[int]) -> dict:
    number = int(rng.choice(numbers)) if numbers else 0
    points = rng.uniform(0, 180, (3, 2)).tolist()
    edits = [
        dict(do="add", **{"class": int(rng.integers(3))}),
        dict(do="brush", object=number, add=bool(rng.integers(2)), radius=float(rng.uniform(1, 20)), points=points),
        dict(do="polygon", object=number, add=bool(rng.integers(2)), points=points),
        dict(do="click", object=number, x=points[0][0], y=points[0][1], positive=bool(rng.integers(2))),
        dict(do="threshold", object=number, value=float(rng.uniform(0, 1))),
        dict(do="split", object=number),
        dict(do="merge", objects=numbers[:2]),
        dict(do="smooth", object=number, radius=2),
        dict(do="order", object=number, order=int(rng.integers(9))),
        dict(do="class", object=number, **{"class": int(rng.integers(3))}),
        dict(do="delete", object=number),
        dict(do="state", state=str(rng.choice(["done", "rejected", "started"]))),
    ]
    return edits[int(rng.choice(len(edits), p=[0.15, 0.25, 0.15, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.04, 0.02, 0.04]))]


def test_200_random_edits_are_undone_made_again_and_read_again(folder, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # 600 times take a while
    rng, space, seen = np.random.default_rng(3), workspace(folder), []
    start = states(space)
    while len(seen) < 200:
        try:
            do(space, **random_edit(rng, sorted(states(space)[1])))
        except EditError:
            continue
        seen.append(states(space))
    for expected in [*reversed(seen[:-1]), start]:
        do(space, do="undo")
        assert states(space) == expected
    with pytest.raises(EditError, match="nothing to undo"):
        do(space, do="undo")
    for expected in seen:
        do(space, do="redo")
        assert states(space) == expected
    again = workspace(folder)
    opened = again.work_on(again.entries[0])
    assert states(again) == seen[-1] and opened.version == 600 and len(opened.done) == 200
    do(again, do="undo")
    assert states(again) == seen[-2] and again.listed()[0]["state"] == seen[-2][0]


def test_a_journal_that_was_cut(folder):
    space = workspace(folder)
    do(space, do="add", **{"class": 0})
    do(space, do="box", object=1, x0=0, y0=0, x1=9, y1=9, model=False)
    before = states(space)
    path = space.project.journal(space.entries[0])
    length = path.stat().st_size
    do(space, do="brush", object=1, add=True, radius=5, points=[[50, 50]])
    whole = path.read_bytes()
    for cut in (length + 1, (length + len(whole)) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert last_record(path)["version"] == 2
        again = workspace(folder)
        assert states(again) == before and again.listed()[0]["objects"] == 1
        do(again, do="add", **{"class": 1})  # what was cut is gone, and the journal is whole
        assert len(read_journal(path).records) == 4 and states(workspace(folder)) == states(again)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:20] + b"X" + lines[1][21:], *lines[2:]]))
    with pytest.raises(DataError, match=r"\.jsonl, line 2: damaged; restore"):
        workspace(folder).work_on(space.entries[0])


def test_a_full_disk_changes_nothing(folder, monkeypatch):
    space = workspace(folder)
    do(space, do="add", **{"class": 0})
    before, path = states(space), space.project.journal(space.entries[0])
    content = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for edit in (dict(do="add", **{"class": 1}), dict(do="undo")):
        with pytest.raises(DataError, match=r"No space left on device.*the edit is not made"):
            do(space, **edit)
        assert states(space) == before and path.read_bytes() == content
    monkeypatch.undo()
    assert do(space, do="add", **{"class": 1})["version"] == 2 and states(workspace(folder)) == states(space)


def test_two_tabs_do_not_overwrite_each_other(folder):
    space = workspace(folder)
    entry = space.entries[0]
    first = space.edit(entry, {"version": 0, "edit": {"do": "add", "class": 0}})
    with pytest.raises(Stale) as found:
        space.edit(entry, {"version": 0, "edit": {"do": "add", "class": 1}})
    assert found.value.version == first["version"] == 1 and len(states(space)[1]) == 1
    assert space.edit(entry, {"version": 1, "edit": {"do": "undo"}})["version"] == 2


def annotated(folder, kind):
    """Three images with two objects each, the second above the first; the last also has an empty object."""
    space = workspace(folder, kind, has_model=False)
    for index in range(3):
        do(space, index, do="add", **{"class": 0})
        do(space, index, do="add", **{"class": 2})
        do(space, index, do="box", object=1, x0=5, y0=5, x1=30, y1=20, model=False)
        do(space, index, do="box", object=2, x0=20, y0=10, x1=40, y1=40, model=False)
    do(space, 2, do="add", **{"class": 1})
    return space


def test_results_are_read_by_folder(folder):
    space = annotated(folder, "semantic")
    assert outputs(space).update(space.entries)["objects"] == 6
    out = space.project.out
    names = (out / "classes.txt").read_text().splitlines()
    assert names == ["background", "cat", "dog", "tree"]
    found = Folder(str(out), names, images=str(folder), exif=True)
    assert found.ids == ["1", "2", "sub/0"]
    expected = np.zeros((200, 180), np.uint8)
    expected[5:20, 5:30], expected[10:40, 20:40] = 1, 3
    np.testing.assert_array_equal(found.mask(0), expected)
    assert found.image(0).shape[:2] == (200, 180)
    rows = list(csv.DictReader((out / "annotate.log.csv").open()))
    assert [(row["image"], row["class"], row["clicks"], row["seconds"]) for row in rows[:2]] == [
        ("1.jpg", "cat", "0", "3.0"),
        ("1.jpg", "tree", "0", "3.0"),
    ]
    do(space, 0, do="state", state="rejected")
    assert outputs(space).update(space.entries)["objects"] == 4 and not (out / "masks/1.png").exists()


def test_results_are_read_by_coco_instances(folder):
    space = annotated(folder, "instances")
    outputs(space).update(space.entries)
    found = COCOInstances(
        annotations=str(space.project.out / "objects.json"), images=str(folder), boxes_only=False, exif=True
    )
    assert found.classes == ("cat", "dog", "tree") and len(found) == 3
    sample = found.sample(0, np.random.default_rng(0))
    np.testing.assert_array_equal(sample["labels"], [0, 2])
    np.testing.assert_array_equal(sample["boxes"], [[5, 5, 30, 20], [20, 10, 40, 40]])
    from pycocotools import mask as coco_mask

    for number, code in enumerate(sample["masks"], 1):
        np.testing.assert_array_equal(coco_mask.decode(code) > 0, mask(space, 0, number))


def test_results_are_read_by_folder_clicks(folder):
    (folder / "2_1.png").write_bytes((folder / "2.png").read_bytes())  # its name is that of an object's mask
    space = workspace(folder, "clicks", has_model=False)
    for index in range(4):
        do(space, index, do="add", **{"class": 0})
        do(space, index, do="box", object=1, x0=5, y0=5, x1=30, y1=20, model=False)
    do(space, 0, do="add", **{"class": 0})
    do(space, 0, do="box", object=2, x0=20, y0=10, x1=40, y1=40, model=False)
    results = outputs(space)
    results.update(space.entries)
    found = FolderClicks(str(space.project.out), images=str(folder), exif=True)
    packed = found.packed(0, np.random.default_rng(0))
    assert found.ids == ["1", "2", "2_1", "sub/0"] and found.notes == () and len(packed.objects) == 2
    for number in (1, 2):  # they overlap, and are whole
        np.testing.assert_array_equal(packed.layers[..., number - 1] > 0, mask(space, 0, number))
    do(space, 0, do="delete", object=1)
    results.update(space.entries[:1])
    assert sorted(path.name for path in (space.project.out / "masks").glob("1_*.png")) == ["1_1.png"]


def test_results_follow_the_journals_after_a_kill(folder):
    space = annotated(folder, "semantic")
    outputs(space).start()
    out = space.project.out
    mask_file, listed = out / "masks/1.png", out / "objects.json"
    old, others = mask_file.read_bytes(), (out / "masks/2.png").stat().st_mtime_ns
    do(space, 0, do="delete", object=2)  # and then the process is killed
    again = workspace(folder, has_model=False)
    results = outputs(again)
    results.start()
    assert mask_file.read_bytes() != old and len(json.loads(listed.read_text())["annotations"]) == 5
    assert (out / "masks/2.png").stat().st_mtime_ns == others and len(results) == 3  # what is right stays
    listed.write_text("{")
    outputs(again).start()
    assert len(json.loads(listed.read_text())["annotations"]) == 5


def test_a_class_map_with_a_background_of_its_own(folder):
    space = workspace(folder, "semantic", ("background", "road"), has_model=False)
    do(space, do="add", **{"class": 1})
    do(space, do="add", **{"class": 0})
    do(space, do="box", object=1, x0=0, y0=0, x1=10, y1=10, model=False)
    do(space, do="box", object=2, x0=0, y0=0, x1=5, y1=10, model=False)
    outputs(space).update(space.entries[:1])
    labels = Folder(str(space.project.out), ("background", "road"), images=str(folder), exif=True, skip_unlabelled=True)
    assert labels.mask(0).sum() == 50 and labels.mask(0)[:10, 5:10].all()


def test_masks_that_are_there_are_corrected(folder, tmp_path):
    first = annotated(folder, "semantic")
    outputs(first).update(first.entries)
    drafts = tmp_path / "drafts"
    first.project.out.rename(drafts)
    (drafts / "drafts.json").write_text(json.dumps({"images": [{"image": "2.png", "score": 0.25}]}))
    found = existing_masks(drafts, "draft", project(folder))
    space = workspace(folder, existing=found)
    assert space.is_review and [row["score"] for row in space.listed()] == [None, 0.25, None]
    assert [row["state"] for row in space.listed()] == ["draft"] * 3
    answer = space.described(space.work_on(space.entries[0]))
    assert [(item["class"], item["source"], item["area"]) for item in answer["objects"]] == [
        (0, "draft", 375 - 100),
        (2, "draft", 600),
    ]
    do(space, 0, do="delete", object=1)
    again = workspace(folder)  # the drafts are gone, and what was made of them is there
    assert states(again) == states(space) and again.listed()[0]["state"] == "started"
    do(again, 0, do="undo")
    assert len(states(again)[1]) == 2
    of_objects = replace(project(folder), kind="instances")
    coco = existing_masks(drafts / "objects.json", "file", of_objects)
    objects = coco.sheet(space.entries[0], (200, 180), of_objects).objects
    assert [item.mask.area for item in objects.values()] == [375, 600] and objects[1].score == 1.0
    with pytest.raises(DataError, match="label 3 is no class of this project"):
        found.value_names = ()
        found.sheet(space.entries[0], (200, 180), open_project(folder, tmp_path / "x", "semantic", ("cat",), None))
    with pytest.raises(DataError, match="a mask of 180x200 pixels for an image of 7x7"):
        found.sheet(space.entries[0], (7, 7), project(folder))
    for text, message in (
        ("{}", "no list 'images'"),
        ('{"images": [{"image": "a", "score": 2}]}', "score from 0 to 1"),
    ):
        (drafts / "drafts.json").write_text(text)
        with pytest.raises(DataError, match=message):
            existing_masks(drafts, "draft", project(folder))
    (tmp_path / "cache").mkdir()
    with pytest.raises(DataError, match="neither label maps"):
        existing_masks(tmp_path / "cache", "file", project(folder))


def test_findings_choose_and_order_the_images(folder, tmp_path):
    path, entries = tmp_path / "audit.json", find_images(folder, tmp_path / "out")
    findings = [
        {"image": "sub/0.png", "box": [1, 2, 30, 40], "kind": "missing", "score": 0.876, "class": "cat"},
        {"image": "gone.png", "box": None, "kind": "x", "score": 1, "class": None},
        {"image": "1.jpg", "box": None, "kind": "swapped", "score": 0.5, "class": None},
        {"image": "sub/0.png", "box": [5, 5, 6, 6], "kind": "spurious", "class": "dog", "predicted": None},
    ]
    path.write_text(json.dumps({"findings": findings}))
    found = findings_of(path, entries)
    assert [entry.name for entry in found] == ["sub/0.png", "1.jpg"]
    assert found[0].places == (
        ((1, 2, 30, 40), "missing cat (0.88)"),
        ((5, 5, 6, 6), "spurious: labelled dog, seen nothing"),
    )
    assert found[1].places == ((None, "swapped (0.50)"),)
    for content, message in (
        ({}, "no list 'findings'"),
        ({"findings": [{"box": None}]}, "finding 1: names no image"),
        ({"findings": [{"image": "1.jpg", "box": [1, 2, 3]}]}, r"box \[1, 2, 3\] is no"),
        ({"findings": [{"image": "1.jpg", "box": [1e400, 2, 3, 4]}]}, "is no"),
        ({"findings": [{"image": "../1.jpg"}]}, "none of its 1 findings"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            findings_of(path, entries)


def test_a_project_is_gone_on_with(folder, tmp_path):
    made = project(folder)
    made.save()
    assert project(folder) == made
    assert open_project(folder, made.out, None, None, None) == made
    more = open_project(folder, made.out, None, ("cat", "dog", "tree", "car"), None)
    assert more.classes[-1] == "car" and more.palette[:3] == made.palette
    for arguments, message in (
        ((made.out, "clicks", None), "is a project of kind 'semantic'"),
        ((made.out, None, ("dog",)), "has the classes cat,dog,tree"),
        ((folder, None, None), "is the folder of the images"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_project(folder, *arguments, None)
    (made.out / "project.json").write_text('{"kind": "x"}')
    with pytest.raises(DataError, match="no project of segkit annotate"):
        project(folder)


def test_results_inside_the_folder_are_no_images(folder):
    out = folder / "results"
    cv2.imwrite(str(folder / "sub/z.png"), np.zeros((4, 4), np.uint8))
    out.mkdir()
    cv2.imwrite(str(out / "mask.png"), np.zeros((4, 4), np.uint8))
    assert [entry.name for entry in find_images(folder, out)] == ["1.jpg", "2.png", "sub/0.png", "sub/z.png"]


def test_what_a_model_sees_of_a_large_image():
    assert whole_or_part((5, 5, 6, 6), (0, 0, 9, 9), (1024, 700)) == (0, 0, 700, 1024)
    size = (9000, 12000)
    assert whole_or_part((5, 8990, 6, 8991), None, size) == (0, 7976, 1024, 9000)
    assert whole_or_part((6000, 4000, 6001, 4001), (5990, 3990, 6010, 4010), size) == (5808, 3808, 6192, 4192)
    assert whole_or_part((6000, 4000, 6001, 4001), (-50, -50, 99999, 99999), size) == (0, 0, 12000, 9000)
    assert seen_size((0, 0, 12000, 9000)) == (768, 1024) and seen_size((5, 5, 389, 389)) == (384, 384)
    values = np.array([[0, 1], [0, 1]], np.float32)
    half = Probabilities(values, (8, 0, 12, 4))  # each pixel stands for 2 x 2; linear between their centres
    np.testing.assert_allclose(half.at(np.array([0]), np.arange(7, 13)), [[0, 0, 0.25, 0.75, 1, 0]])
    assert half.mask(0.5).box == (10, 0, 12, 4) and half.mask(0.2).box == (9, 0, 12, 4)


def test_a_click_on_an_image_larger_than_the_model_sees(folder, monkeypatch):
    monkeypatch.setattr("segkit.annotate.assistant.VIEW", 100)
    monkeypatch.setattr("segkit.annotate.assistant.LEAST", 40)
    pixels = Pixels(folder / "2.png", INPUTS)  # 240 x 320
    space = workspace(folder)
    do(space, 1, do="add", **{"class": 0})
    answer = do(space, 1, do="click", object=1, x=120.5, y=90.5, positive=True, view=[80, 60, 160, 140])
    reference = predictor()
    reference.set_image(pixels.window((80, 60, 160, 140)))
    expected = np.zeros((240, 320), bool)
    expected[60:140, 80:160] = reference.click(30, 40, True)
    np.testing.assert_array_equal(mask(space, 1, 1), expected)
    assert expected.any() and answer["objects"][0]["bbox"][0] >= 80
    # a click outside of that part begins anew from the mask, with a part around both
    do(space, 1, do="click", object=1, x=200, y=200, positive=True)
    view = space.work_on(space.entries[1]).sheet.objects[1].prompt.view
    assert view[0] < 100 and view[2] > 200 and view[3] > 200
    assert space.work_on(space.entries[1]).sheet.objects[1].prompt.start.area == expected.sum()


def test_the_next_image_is_prepared(folder):
    assistant = Assistant(predictor(), "echo")
    pixels = Pixels(folder / "sub/0.png", INPUTS)
    assistant.prepare("a", pixels)
    (base,) = assistant._images.values()
    assert base.look is not None and base.clicks == ()


def test_boxes_go_to_a_model_that_takes_them(folder):
    space = workspace(folder)
    assert space.assistant is not None

    class Boxed(type(space.assistant._predictor)):
        takes_boxes = True

        def set_box(self, y0, x0, y1, x1):
            self.asked = (y0, x0, y1, x1)
            following = self.session.__class__(self.session.image[0])
            following.probabilities[..., int(y0) : int(y1), int(x0) : int(x1)] = 0.9
            self._session = following
            return self.mask

    space.assistant._predictor.__class__, space.assistant.has_box = Boxed, True
    do(space, 1, do="add", **{"class": 0})
    answer = do(space, 1, do="box", object=1, x0=10, y0=20, x1=50, y1=60, model=True)
    assert space.assistant._predictor.asked == (20, 10, 60, 50)
    assert answer["objects"][0]["area"] == 1600 and answer["objects"][0]["clicks"] == []
    do(space, 1, do="threshold", object=1, value=0.95)
    assert not mask(space, 1, 1).any()


def test_images_are_read_in_windows_as_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (150, 217, 3), dtype=np.uint8)
    for value in range(1, 9):
        for suffix in ("png", "tif"):
            path = tmp_path / f"{value}.{suffix}"
            image = Image.fromarray(picture)
            exif = image.getexif()
            exif[274] = value
            image.save(path, exif=exif)
            whole = Pixels(path, INPUTS)
            with monkeypatch.context() as small:
                small.setattr("segkit.annotate.pixels.WHOLE", 10)
                small.setattr("segkit.annotate.pixels.OVERVIEW", 3000)
                parts = Pixels(path, INPUTS)
                assert parts.size == whole.size
                np.testing.assert_array_equal(parts.window((5, 7, 100, 120)), whole.window((5, 7, 100, 120)))
                for level in range(4):
                    height, width = -(-whole.size[0] >> level), -(-whole.size[1] >> level)
                    a, b = (one.at_level(level, (0, 0, width, height)).astype(int) for one in (whole, parts))
                    assert a.shape == (height, width, 3) and np.abs(a - b).max() <= 2  # means of means


def test_journals_hold_lines(tmp_path):
    journal = Journal(tmp_path / "a/b.jsonl")
    journal.append({"a": 1}, {"b": "x" * 100_000})
    journal.append({"c": [None, True]})
    assert read_journal(tmp_path / "a/b.jsonl").records == [{"a": 1}, {"b": "x" * 100_000}, {"c": [None, True]}]
    assert last_record(tmp_path / "a/b.jsonl") == {"c": [None, True]}
    (tmp_path / "empty").write_bytes(b"")
    assert last_record(tmp_path / "empty") is None and read_journal(tmp_path / "empty").records == []


@pytest.mark.parametrize(
    "content",
    [
        '{"images": [{"id": 1, "file_name": "1.jpg", "version": 1e999, "height": 9, "width": 9, "log": []}]}',
        '{"images": [{"id": 1, "file_name": "1.jpg", "version": %d, "height": 9, "width": 9, "log": [5]}]}',
        '{"images": [{"id": 1, "file_name": "1.jpg", "version": %d, "height": 1e999, "width": 9, "log": []}]}',
    ],
)
def test_results_that_somebody_else_has_changed_are_written_anew(folder, content):
    space = annotated(folder, "semantic")
    results = outputs(space)
    results.update(space.entries)
    path = space.project.out / "objects.json"
    expected = path.read_text()
    version = space.work_on(space.entries[0]).version
    path.write_text(content.replace("%d", str(version)).replace("}]}", '}], "annotations": []}'))
    outputs(space).start()
    assert path.read_text() == expected


@pytest.mark.parametrize("record", [{"count": "x"}, {"version": [1]}, {"version": 1e300, "state": ["done"]}, {}])
def test_a_journal_of_somebody_else_is_listed_and_refused_when_opened(folder, record):
    space = workspace(folder, has_model=False)
    path = space.project.journal(space.entries[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(line_of(record))
    again = workspace(folder, has_model=False)
    assert again.listed()[0]["objects"] == 0
    with pytest.raises(DataError, match="restore the image, or remove the journal"):
        again.work_on(again.entries[0])


def test_classes_whose_names_are_read_as_comments(folder):
    space = workspace(folder, classes=("#cat", "//dog"), has_model=False)
    do(space, 0, do="add", **{"class": 1})
    do(space, 0, do="box", object=1, x0=5, y0=5, x1=30, y1=20, model=False)
    outputs(space).update(space.entries[:1])
    out = space.project.out
    assert read_legend(out / "classes.txt").names == ("background", "#cat", "//dog")
    other = Project(folder, folder.parent / "other", "semantic", ("//dog", "#cat"), ((1, 2, 3), (4, 5, 6)))
    sheet = existing_masks(out, "draft", other).sheet(space.entries[0], space.work_on(space.entries[0]).size, other)
    assert [item.label for item in sheet.objects.values()] == [0]  # by its name, not by its number
