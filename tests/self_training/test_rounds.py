"""Rounds of the runner SelfTraining: what each stage sees, what is written, and runs that are broken off."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit import api
from segkit.data.files.pseudo_manifest import read_manifest
from segkit.engine import checkpoint
from segkit.engine.hooks import Hook
from segkit.registry import ConfigError
from segkit.runners.self_training.labelling import Labeller
from tests.self_training.made import LATER, in_rounds, supervised


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds") / "run"
    api.train(in_rounds(), folder)
    return folder


def weights(path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path)["model"]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_first_stage_is_supervised_training(run, tmp_path):
    api.train(supervised(), tmp_path / "plain")
    assert same(weights(run / "round0/last.pt"), weights(tmp_path / "plain/last.pt"))


def test_each_stage_but_the_last_labels_the_unlabelled_images(run):
    assert sorted(path.parent.parent.name for path in run.glob("*/pseudo/pseudo.json")) == ["round0", "round1"]
    for number in (0, 1):
        folder = run / f"round{number}/pseudo"
        manifest = read_manifest(folder)
        assert len(manifest.images) == 8 and len(list(folder.glob("labels/*.png"))) == 8
        assert not (folder / ".progress").exists()
        name, entry = next(iter(manifest.images.items()))
        assert entry.makers == [0]
        stored = np.asarray(Image.open(folder / f"labels/{name}.png"))
        assert stored.shape == (32, 32)
        kept = np.bincount(stored.ravel(), minlength=256)
        assert entry.kept == kept[:6].tolist() and sum(entry.pixels) == 32 * 32


def test_labels_are_the_sure_classes_of_the_stage_before(run):
    from segkit.data.semantic.shapes import Shapes

    model = api.load_model(run / "round0/last.pt", trust=True)
    runner = api.build_runner(model.config)
    runner.probabilities = True
    whole = Shapes(split="train", size=(32, 32), length=12, instances=False)
    for name in read_manifest(run / "round0/pseudo").images:
        p = api.predict(model, whole.image(whole.ids.index(name)), runner)["probabilities"]
        expected = np.where(p.max(0) >= 0.18, p.argmax(0), 255)
        assert np.array_equal(np.asarray(Image.open(run / f"round0/pseudo/labels/{name}.png")), expected)


def test_later_stages_train_on_both_parts_and_log_the_factor(run):
    lines = [json.loads(line) for line in (run / "round1/log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    for line in lines:
        parts = line["labelled.CrossEntropy"] + line["pseudo.CrossEntropy"]
        assert line["loss"] == pytest.approx(parts)  # the factor is no loss
    first = lines[0]  # a single step: the pseudo term has the size of the other
    assert first["pseudo.CrossEntropy"] == pytest.approx(first["labelled.CrossEntropy"], rel=1e-5)
    assert first["pseudo_factor"] > 0


def test_batches_hold_the_parts_in_the_stated_ratio(run):
    seen = []

    class Watch(Hook):
        def before_stage(self, loop):
            for _, batch in zip(range(3), loop.batches()):
                seen.append([meta.get("pseudo", False) for meta in batch["meta"]])

    api.train(in_rounds(1, ratio=(3, 1)), run.parent / "ratio", hooks=[Watch()])
    assert seen[:3] == [[False] * 4] * 3
    assert seen[3:] == [[False, False, False, True]] * 3


class Break(Hook):
    """Ends the run by an error after a step of a stage."""

    def __init__(self, stage: int, step: int):
        self.at = (stage, step)

    def after_step(self, loop, terms):
        if (loop.stage_number, loop.step) == self.at:
            raise RuntimeError("broken off")


@pytest.mark.parametrize("stage, step", [(0, 4), (1, 2), (2, 5)])
def test_a_resumed_run_equals_one_that_was_not_broken_off(run, tmp_path, stage, step):
    with pytest.raises(RuntimeError, match="broken off"):
        api.train(in_rounds(), tmp_path / "run", hooks=[Break(stage, step)])
    api.train(in_rounds(), tmp_path / "run", resume=True)
    assert same(weights(run / "round2/last.pt"), weights(tmp_path / "run/round2/last.pt"))


def test_a_run_broken_off_while_it_labels_goes_on_there(run, tmp_path, monkeypatch):
    done, label = [], Labeller._label

    def failing(self, index, thresholds):
        if len(done) == 3:
            raise RuntimeError("broken off")
        done.append(index)
        label(self, index, thresholds)

    monkeypatch.setattr(Labeller, "_label", failing)
    with pytest.raises(RuntimeError, match="broken off"):
        api.train(in_rounds(1), tmp_path / "run")
    again = []
    monkeypatch.setattr(Labeller, "_label", lambda self, i, t: (again.append(i), label(self, i, t)))
    api.train(in_rounds(1), tmp_path / "run", resume=True)
    assert done == [0, 1, 2] and again == [3, 4, 5, 6, 7]
    assert same(weights(run / "round1/last.pt"), weights(tmp_path / "run/round1/last.pt"))


def test_a_run_that_replaces_another_labels_anew(tmp_path):
    api.train(in_rounds(1), tmp_path / "run")
    before = read_manifest(tmp_path / "run/round0/pseudo").checkpoints[0].sha256
    api.train(in_rounds(1, loop=dict(seed=1)), tmp_path / "run", overwrite=True)
    assert read_manifest(tmp_path / "run/round0/pseudo").checkpoints[0].sha256 != before


def without(cfg: dict, *path: str) -> dict:
    inner = cfg
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return cfg


def later_rows(*rows: dict) -> dict:
    cfg = in_rounds()
    cfg["runner"]["later"]["losses"] = list(rows)
    return cfg


WRONG = {
    "no images": (lambda: without(in_rounds(), "runner", "unlabelled"), "runner.unlabelled: missing"),
    "no rows of pseudo labels": (lambda: later_rows(LATER[0]), "runner.later.losses: no row names an output 'pseudo."),
    "parts mixed": (
        lambda: later_rows(LATER[0], dict(LATER[1], target="labelled.mask")),
        "runner.later.losses.1: pseudo.logits, labelled.mask are of different images",
    ),
    "ratio": (lambda: in_rounds(ratio=(2, 1)), "runner.ratio = .2, 1.: train.batch_size = 4 is no multiple of 3"),
    "a section that may not differ": (
        lambda: in_rounds(later=dict(losses=LATER, model=dict(num_classes=3))),
        "runner.later.model: no section that may differ",
    ),
    "a wrong key": (
        lambda: in_rounds(later=dict(losses=LATER, weighting=dict(type="NormalizedPseudo", alfa=1.0))),
        "(?s)with runner.later:.*alfa",
    ),
    "too many thresholds": (lambda: in_rounds(threshold=[0.5, 0.5]), "runner.threshold: 2 numbers for 6 classes"),
    "share": (lambda: in_rounds(share=1.5), "share"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=list(WRONG))
def test_what_rounds_cannot_be_is_said_before_anything_trains(tmp_path, make, message):
    with pytest.raises(ConfigError, match=message):
        api.train(make(), tmp_path / "run")
    assert not list(tmp_path.rglob("*.pt"))


def test_a_head_that_later_rows_leave_out_is_said_before_anything_trains(tmp_path):
    cfg = in_rounds()
    cfg["model"]["aux"] = [dict(type="tests.tiny:TinyHead")]
    cfg["losses"] = [*cfg["losses"], dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4)]
    with pytest.raises(ConfigError, match=r"with runner[.]later:\nmodel[.]aux[.]0 = tests[.]tiny:TinyHead: no row"):
        api.train(cfg, tmp_path / "run")
    assert not list(tmp_path.rglob("*.pt"))
