"""Tasks, label tables and image lists equal those of the published code bases; bad tasks are refused by name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from segkit.data.dataset import Dataset
from segkit.data.files import mask_scan
from segkit.data.incremental.class_steps import ClassSteps
from segkit.data.incremental.orders import ALIASES, TASKS
from segkit.data.incremental.plan import ClassPlan, label_table, make_plan, remap_table
from segkit.data.incremental.selection import balanced_images, classes_of_images, read_lists, select_images, values_of
from segkit.data.semantic.camvid import CamVid
from segkit.files import DataError
from segkit.registry import DATASETS, ConfigError, build

STORED = np.load(Path(__file__).parents[1] / "fixtures/mib/class_steps.npz")
VOC_NAMES = ("background", *(f"voc{i}" for i in range(1, 21)))
ADE_NAMES = tuple(f"ade{i}" for i in range(1, 151))


class Maps(Dataset):
    """masks: uint8 [n,H,W] in memory."""

    def __init__(self, masks: np.ndarray, classes: tuple[str, ...], name: str):
        self.masks, self.classes, self.ids = masks, classes, [f"{name}{i}" for i in range(len(masks))]

    def mask(self, index):
        return self.masks[index]

    def image(self, index):
        return np.full((*self.masks[index].shape, 3), 9, np.uint8)


VOC = Maps(STORED["voc"], VOC_NAMES, "voc")
# The published files count ADE20K's classes from 1; data sets of segkit ignore their 0 and count from 0.
ADE = Maps(STORED["ade"] - np.uint8(1), ADE_NAMES, "ade")
SETS = {"voc": VOC, "ade": ADE}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def plan_of(name: str, task: str) -> ClassPlan:
    return make_plan(SETS[name], f"{name}_{task}")


def test_tasks_are_the_published_ones():
    published = json.loads(str(STORED["tasks"]))
    for name, tasks in published.items():
        for task, steps in tasks.items():
            plan = plan_of(name, task)
            assert [0, *plan.steps[0]] == steps["0"]
            assert [list(classes) for classes in plan.steps[1:]] == [steps[str(i)] for i in range(1, len(steps))]
    assert len(TASKS["voc_10-1"]) == len(TASKS["ade_100-5"]) == 11
    shuffled = [name for name in TASKS if name.startswith("voc_15-5s_")]
    assert len(shuffled) == 22
    assert all(sorted(sum(TASKS[name], ())) == list(range(1, 21)) for name in shuffled)
    assert TASKS["voc_15-5s_b"][0][:3] == (12, 9, 20) and TASKS["voc_15-5s_w"][1:] == ((3,), (15,), (6,), (5,), (17,))
    assert all(target in TASKS for target in ALIASES.values())


PARTS = {
    "train": ("train", "disjoint"),
    "val": ("val", "disjoint"),
    "test": ("test", "disjoint"),
    "train_no_mask": ("train", "sequential"),
    "val_no_mask": ("val", "sequential"),
}


def test_all_256_values_of_every_task_and_step():
    names = str(STORED["remap_names"]).split("\n")
    assert len(names) == len(STORED["remap"]) == 50 * 5 + 45 * 2
    for key, table in zip(names, STORED["remap"]):
        convention, name, task, step, kind = key.split("/")
        part, setting = PARTS[kind]
        plan = plan_of(name, task)
        ours = remap_table(plan, int(step), part=part, setting=setting, convention=convention)
        assert np.array_equal(ours, table), key
        # From the labels of the data set: the published value of its label k is k or, for ADE20K, k + 1.
        raw = np.arange(256, dtype=np.uint8) + np.uint8(name == "ade")
        known = [*range(len(SETS[name].classes)), 255]
        own = label_table(plan, int(step), part=part, setting=setting, convention=convention)
        assert np.array_equal(own[known], table[raw[known]]), key


def test_images_of_every_task_and_step():
    present = {name: classes_of_images(data, make_plan(data, f"{name}_offline")) for name, data in SETS.items()}
    names = str(STORED["select_names"]).split("\n")
    assert len(names) == 50 * 4 + 45 * 4
    for key, bits in zip(names, STORED["select"]):
        convention, name, task, step, kind = key.split("/")
        part, _, setting = kind.partition("_")
        setting = {"overlap": "overlapped", "": "disjoint"}.get(setting, setting)
        chosen = select_images(present[name], plan_of(name, task), part=part, setting=setting, convention=convention)
        assert chosen[int(step)].tolist() == np.flatnonzero(np.unpackbits(bits)).tolist(), key


def test_values_are_found_wherever_they_lie():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (3, 3), (5, 8), (16, 24)):
        for _ in range(20):
            mask = np.repeat(rng.integers(0, 256, shape), 9, axis=1)[:, : shape[1]].astype(np.uint8)
            mask.flat[rng.integers(mask.size)] = 200
            assert values_of(mask).tolist() == np.unique(mask).tolist()
    turned = np.arange(64, dtype=np.uint8).reshape(8, 8).T
    assert values_of(turned).tolist() == list(range(64))
    assert values_of(np.array([[-1, 300]], np.int16)).tolist() == [-1, 300]


def test_disjoint_steps_share_no_image_and_leave_none_out():
    plan = plan_of("voc", "15-5s")
    present = classes_of_images(VOC, plan)
    chosen = np.concatenate(select_images(present, plan))
    assert len(set(chosen.tolist())) == len(chosen) == present.any(1).sum()
    sequential = np.concatenate(select_images(present, plan, setting="sequential"))
    assert np.array_equal(chosen, sequential)


def step_of(dataset: Dataset, task: str, step: int, **options) -> ClassSteps:
    return ClassSteps(dataset, task, step, workers=0, **options)


def test_the_data_set_of_a_step():
    data = step_of(VOC, "voc_19-1b", 1)
    assert data.classes == (*VOC_NAMES[:5], *VOC_NAMES[6:], "voc5")
    assert len(data.palette) == 21 and data.palette[20] != data.palette[5]
    assert len(data) == len(data.ids) == sum((mask == 5).any() for mask in VOC.masks)
    first = VOC.ids.index(data.ids[0])
    sample = data.sample(0, np.random.default_rng(0))
    assert sample["meta"]["id"] == data.ids[0]
    expected = np.where(VOC.masks[first] == 5, 20, 0)
    assert np.array_equal(sample["mask"], expected) and np.array_equal(data.mask(0), expected)
    assert data.mask(0).dtype == np.uint8
    test = step_of(VOC, "voc_19-1b", 0, part="test")
    assert test.classes == (*VOC_NAMES[:5], *VOC_NAMES[6:])
    both = np.concatenate([test.mask(i).ravel() for i in range(len(test))])
    assert set(np.unique(both)) == {*range(20), 255}


def test_a_set_without_background_gets_one_from_what_it_ignores():
    data = step_of(ADE, "ade_100-50", 1)
    assert data.classes[:2] == ("background", "ade1") and len(data.classes) == 151 and data.palette[0] == (0, 0, 0)
    raw = STORED["ade"][data.indices[0]]
    assert np.array_equal(data.mask(0), np.where(raw > 100, raw, 0))
    test = step_of(ADE, "ade_100-50", 0, part="test")
    raw = STORED["ade"][test.indices[0]]
    assert np.array_equal(test.mask(0), np.where((raw > 0) & (raw <= 100), raw, 255))


def test_dkd_scores_what_is_not_learned_as_background_and_ignores_it_without_a_background():
    plan, known = plan_of("voc", "15-5s"), np.array([*range(21), 255])
    train, test = (label_table(plan, 1, part=part, convention="dkd")[known] for part in ("train", "test"))
    assert train.tolist() == [0] * 16 + [16, 0, 0, 0, 0, 255]
    assert test.tolist() == [*range(17), 0, 0, 0, 0, 255]
    plan, known = plan_of("ade", "100-50"), np.array([*range(150), 255])
    train, test = (label_table(plan, 1, part=part, convention="dkd")[known] for part in ("train", "test"))
    assert train.tolist() == [0] * 100 + [*range(101, 151), 0]
    assert test.tolist() == [*range(1, 151), 255]
    before = label_table(plan, 0, part="test", convention="dkd")[known]
    assert before.tolist() == [*range(1, 101)] + [255] * 51
    assert step_of(VOC, "voc_15-5", 0, part="test", convention="dkd").absent == "zero"
    assert len(step_of(VOC, "voc_15-5", 0, part="test", convention="dkd")) == len(
        step_of(VOC, "voc_15-5", 0, part="test")
    )


def test_names_numbers_and_a_background_elsewhere():
    masks = np.array([[[0, 1], [2, 255]], [[3, 3], [0, 0]]], np.uint8)
    data = Maps(masks, ("cat", "dog", "void", "bird"), "own")
    steps = [["void", "bird"], [1, "dog"]]
    one = ClassSteps(data, steps=steps, background="void", step=1, part="test", workers=0)
    # Numbers: 0 void, 1 cat, 2 dog, 3 bird; outputs: void, bird, cat, dog.
    assert one.classes == ("void", "bird", "cat", "dog")
    assert [one.mask(i).tolist() for i in range(2)] == [[[2, 3], [0, 255]], [[1, 1], [2, 2]]]
    assert one.plan.sizes(1) == (2, 2) and one.plan.background == 2
    by_index = ClassSteps(data, steps=steps, background=2, step=1, part="test", workers=0)
    assert by_index.plan == one.plan
    added = ClassSteps(data, steps=[[1, 2], ["void", "bird"]], background=None, setting="overlapped", workers=0)
    assert added.plan.names == ("background", "cat", "dog", "void", "bird")
    assert added.mask(0).tolist() == [[1, 2], [0, 0]]


def test_one_pass_serves_all_steps_parts_and_settings(monkeypatch):
    passes, measure = [], mask_scan._measure_all
    monkeypatch.setattr(mask_scan, "_measure_all", lambda *args: passes.append(1) or measure(*args))
    for step in range(6):
        for part, setting in (("train", "overlapped"), ("train", "disjoint"), ("test", "disjoint")):
            step_of(VOC, "voc_15-5s", step, part=part, setting=setting)
    assert len(passes) == 1


def test_worker_processes_find_the_same():
    assert np.array_equal(ClassSteps(VOC, "voc_15-5", workers=2).indices, step_of(VOC, "voc_15-5", 0).indices)


def balanced_by_hand(present: np.ndarray, steps) -> list[set[int]]:
    """The published procedure, image by image with lists and dictionaries."""
    members = {j: np.flatnonzero(present[:, j]).tolist() for j in range(1, present.shape[1])}
    order: dict[int, list[int]] = {}
    for j, images in members.items():
        for i in images:
            order.setdefault(i, []).append(j)
    step_of_class = {j: s for s, classes in enumerate(steps) for j in classes}
    given = dict.fromkeys(members, 0)
    found: list[set[int]] = [set() for _ in steps]
    for i, classes in order.items():
        counts = [len(members[j]) for j in classes]
        scores = [(1 - given[j] / n) * 120 + 1 / (n / sum(counts)) for j, n in zip(classes, counts)]
        best = step_of_class[classes[scores.index(max(scores))]]
        found[best].add(i)
        for j in classes:
            given[j] += step_of_class[j] == best
    return found


@pytest.mark.parametrize("name, task", [("voc", "15-5s"), ("ade", "50b"), ("ade", "100-10")])
def test_the_balancing_procedure(name, task):
    plan = plan_of(name, task)
    present = classes_of_images(SETS[name], plan)
    ours = balanced_images(present, plan)
    assert [set(images.tolist()) for images in ours] == balanced_by_hand(present, plan.steps)
    assert sum(map(len, ours)) == present.any(1).sum()


def test_a_seeded_order_keeps_the_sizes():
    first, again, other = (make_plan(ADE, "ade_100-10", order_seed=seed).steps for seed in (3, 3, 4))
    assert first == again != other
    assert [len(classes) for classes in first] == [100, 10, 10, 10, 10, 10]
    assert sorted(sum(first, ())) == list(range(1, 151)) and all(list(c) == sorted(c) for c in first)


def test_published_lists_are_read_as_they_are(tmp_path):
    np.save(tmp_path / "train-0.npy", np.array([7, 3, 100]))
    np.save(tmp_path / "train-1.npy", np.array([5, 4]))
    data = step_of(VOC, "voc_19-1", 0, lists=str(tmp_path))
    assert data.indices.tolist() == [7, 3, 100] and data.images_of_steps == (3, 2)
    assert len(step_of(VOC, "voc_19-1", 0, lists=str(tmp_path), part="test")) > 3
    with pytest.raises(DataError, match=r"train-2.npy: no list of images .*the task has 3 steps"):
        read_lists(tmp_path, 3, 120)
    with pytest.raises(DataError, match=r"train-0.npy: index 100 is out of range; the data set has 60 images"):
        read_lists(tmp_path, 2, 60)
    np.save(tmp_path / "train-1.npy", np.array([5, 5]))
    with pytest.raises(DataError, match="listed twice"):
        read_lists(tmp_path, 2, 120)
    np.save(tmp_path / "train-1.npy", np.array([0.5]))
    with pytest.raises(DataError, match="whole numbers"):
        read_lists(tmp_path, 2, 120)


BASE = list(range(16))
BAD_STEPS = [
    ([BASE, [16, 17, 18], [18, 19, 20]], r"class 18 \(voc18\) is in steps 1 and 2"),
    ([BASE, [16, 16, 17, 18, 19, 20]], r"class 16 \(voc16\) is in step 1 twice"),
    ([BASE, [16, 17, 18, 19]], r"20 voc20: in no step; numbers count 0 background, 1 voc1"),
    ([BASE, [16, 17, 18, 19, 20, 21]], "step 1 names class 21, which the data set does not have"),
    ([BASE, [16, 17, 18, 19, "voc-20"]], "step 1 names class 'voc-20', .*did you mean 'voc20'"),
    ([BASE, [0, 16, 17, 18, 19, 20]], "step 1 names the background"),
    ([[*BASE, 16, 17, 18, 19, 20], []], "step 1 learns no class"),
    ([BASE, 16], "each step is a list"),
]


@pytest.mark.parametrize("steps, message", BAD_STEPS)
def test_bad_steps_are_named(steps, message):
    with pytest.raises(ConfigError, match=message):
        ClassSteps(VOC, steps=steps, workers=0)


def test_bad_choices_are_named():
    for options, message in [
        (dict(task="voc_15-55"), "no such task; did you mean 'voc_15-5"),
        (dict(task="voc_15-5", step=2), "the task has the steps 0 to 1"),
        (dict(task="voc_15-5", setting="overlap"), "did you mean 'overlapped'"),
        (dict(task="voc_15-5", background="void"), "background = 'void': no such class"),
        (dict(), "either task"),
        (dict(task="ade_100-50"), "step 0 names class 21, which the data set does not have"),
    ]:
        with pytest.raises(ConfigError, match=message):
            ClassSteps(VOC, **options, workers=0)


def test_a_step_without_an_image_stops_before_training():
    street = Maps(np.array([[[0, 1, 2, 255]]] * 3, np.uint8), ("sky", "road", "car"), "street")
    with pytest.raises(DataError, match=r"no image for step 0 \(sky\): 'disjoint' leaves out .*setting='overlapped'"):
        ClassSteps(street, steps=[[1], [2], [3]], setting="disjoint", workers=0)
    assert len(ClassSteps(street, steps=[[1], [2], [3]], setting="disjoint", step=2, workers=0)) == 3
    assert len(ClassSteps(street, steps=[[1], [2], [3]], step=2, workers=0)) == 3
    empty = Maps(np.zeros((2, 2, 2), np.uint8), ("background", "cat", "dog"), "empty")
    with pytest.raises(DataError, match=r"no image for step 0 \(cat\) in the part 'train'"):
        ClassSteps(empty, steps=[[1], [2]], workers=0)


def test_a_step_that_keeps_hardly_any_image_is_remarked_on():
    masks = np.array([[[1, 1]], *([[1, 2]] for _ in range(39)), [[2, 2]]], np.uint8)
    crowded = Maps(masks, ("background", "sky", "car"), "crowded")
    data = ClassSteps(crowded, steps=[[1], [2]], setting="disjoint", workers=0)
    assert data.images_of_steps == (1, 40) and len(data.notes) == 1
    assert data.notes[0].startswith("step 0 keeps 1 of the 40 images that show its classes: 'disjoint' leaves out")
    assert not ClassSteps(crowded, steps=[[1], [2]], workers=0).notes
    assert not ClassSteps(crowded, steps=[[2], [1]], setting="disjoint", part="test", workers=0).notes


@pytest.mark.skipif("SEGKIT_DATA" not in os.environ, reason="needs CamVid under SEGKIT_DATA")
def test_camvid():
    street = CamVid(split="train")
    data = ClassSteps(street, "camvid_7-4", 1, workers=0)
    assert data.images_of_steps == (367, 364) and data.classes[:2] == ("background", "sky")
    raw, own = street.mask(int(data.indices[0])), data.mask(0)
    assert np.array_equal(own, np.where((raw >= 7) & (raw < 11), raw + 1, 0))
    test = ClassSteps(street, "camvid_7-4", 0, part="test", workers=0).mask(0)
    assert np.array_equal(test, np.where(street.mask(0) < 7, street.mask(0) + 1, 255))
    sparse = ClassSteps(street, "camvid_7-4", 0, setting="disjoint", workers=0)
    assert len(sparse) == 3 and "keeps 3 of the 367" in sparse.notes[0]


def test_labels_outside_the_task_name_the_mask():
    beyond = Maps(np.array([[[0, 7]]], np.uint8), ("background", "cat", "dog"), "beyond")
    with pytest.raises(DataError, match=r"beyond0: label 7 is no class .* classes are 0..2"):
        ClassSteps(beyond, steps=[[1], [2]], workers=0)


def test_from_a_config():
    cfg = dict(type="ClassSteps", task="camvid_7-4", dataset=dict(type="Shapes", length=4), workers=0)
    with pytest.raises(ConfigError, match="step 0 names class 6"):
        build(cfg, DATASETS, "train.dataset")
    cfg = dict(type="ClassSteps", steps=[[1, 2, 3], [4, 5]], step=1, workers=0, dataset=dict(type="Shapes", length=6))
    data = build(cfg, DATASETS, "train.dataset")
    assert data.classes == data.plan.names and len(data) > 0
