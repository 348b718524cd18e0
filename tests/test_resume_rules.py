"""What --resume does with a changed config: applied and said, refused with both values, or without effect and said."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.config import SECTIONS
from segkit.data.semantic.shapes import Shapes
from segkit.engine import checkpoint, resume
from segkit.engine.config_changes import Change, changes
from segkit.engine.hooks import Hook, standard_hooks
from segkit.engine.resume_rules import Effect, check_images, effect_of, rule_of, table
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from segkit.schema import PLAIN, TREE
from tests.test_loop import Record, loop_of
from tests.tiny import sections

DOCS = Path(__file__).parents[1] / "docs/training.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder with a finished run of six steps, and its config."""
    place = tmp_path_factory.mktemp("resumed")
    cfg = sections() | {"schedule": dict(type="Constant")}
    (place / "c.py").write_text(dump(cfg))
    assert main(["train", str(place / "c.py"), "--work-dir", str(place / "run"), "--device", "cpu"]) == 0
    return place


@pytest.fixture
def place(run, tmp_path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(run, tmp_path / "a")
    return tmp_path / "a"


def resumed(place: Path, *options: str, work_dir: str = "run", words: tuple[str, ...] = ("--resume",)) -> int:
    line = ["train", str(place / "c.py"), "--work-dir", str(place / work_dir), "--device", "cpu", *words]
    return main([*line, "--cfg-options", *options])


# the table


def settings() -> list[str]:
    """The config path of every field of every dataclass of settings, and every section and position of an object."""
    paths = [*SECTIONS, *TREE]
    for section, cls in PLAIN.items():
        paths += [f"{section}.{field.name}" for field in dataclasses.fields(cls)]
    return [path for path in paths if path not in ("train", "loop", "val.dataset", "losses[].weight")]


@pytest.mark.parametrize("path", settings())
def test_every_setting_has_a_rule(path):
    rule = rule_of(path)
    assert rule is not None, f"{path}: say in segkit/engine/resume_rules.py what --resume does when it changes"
    if path.split(".")[0] in ("train", "val", "loop"):
        assert any(glob.startswith(f"{path.split('.')[0]}.") for glob in rule.patterns), f"{path} has a rule of its own"


def test_a_value_without_a_rule_must_be_equal():
    assert effect_of(Change("loop.unheard_of", 1, 2)) is Effect.EQUAL


def test_the_page_has_the_table():
    assert table() in DOCS.read_text(), "copy segkit.engine.resume_rules.table() into docs/training.md, section Resume"


@pytest.mark.parametrize(
    "path, effect",
    [
        ("model.head.channels", Effect.EQUAL),
        ("model.backbone.pretrained", Effect.START),
        ("train.dataset.split", Effect.EQUAL),
        ("train.dataset.datasets.1.root", Effect.APPLIED),
        ("train.transforms.0.p", Effect.APPLIED),
        ("losses.0.weight", Effect.APPLIED),
        ("optimizer.groups.0.lr", Effect.EQUAL),
        ("optimizer.betas", Effect.APPLIED),
        ("schedule.warmup.steps", Effect.APPLIED),
        ("val.dataset.root", Effect.SCORED),
        ("runner.later.loop.steps", Effect.APPLIED),
        ("runner.task", Effect.EQUAL),
        ("runner.unlabelled.dataset.root", Effect.APPLIED),
        ("runner.unlabelled.folds", Effect.EQUAL),
    ],
)
def test_rules_of_values(path, effect):
    assert effect_of(Change(path, 1, 2)) is effect


# what differs


def test_defaults_lists_and_names_are_no_changes():
    old = sections()
    new = sections()
    new["loop"] |= dict(accumulate=1, clip=0, monitor=None)
    new["optimizer"] |= dict(nesterov=False, groups=({"kind": "norm", "decay": 0},))
    new["train"] |= dict(workers=0, prefetch=2, sampler=dict(type="Shuffle"))
    new["losses"] = tuple(row | dict(at="image") for row in new["losses"])
    new["init"], new["metrics"], new["inference"], new["runner"] = None, [], {"mode": "whole"}, {"type": "Semantic"}
    new["train"]["dataset"]["size"] = [32, 32]
    assert changes(old, new) == [] == changes(new, old)
    old["losses"][0]["class_weight"], new["losses"][0]["class_weight"] = [0.5] * 6, "inverse"
    assert changes(old, new) == [], "numbers stand for a name until the data is known"


def test_changes_name_both_values():
    old, new = sections(), sections()
    new["optimizer"]["lr"] = 0.1
    new["losses"][1]["weight"] = 0.2
    new["train"]["transforms"] = []
    new["model"]["head"] = dict(type="FCNHead")
    assert [str(change) for change in changes(old, new)] == [
        "model.head.type 'tests.tiny:TinyHead' -> 'FCNHead'",
        "losses.1.weight 0.4 -> 0.2",
        "train.transforms [{'type': 'Flip'}] -> []",
        "optimizer.lr 0.05 -> 0.1",
    ]
    assert changes(old, new)[1].pattern == "losses[].weight"


def test_what_the_file_names_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_of_resume.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    old = sections()
    old["optimizer"] = old["losses"][0] = dict(type="evil_of_resume:Evil")
    assert [change.path for change in changes(old, sections())] == ["losses.0.type", "optimizer.type"]


# refused


REFUSED = {
    "optimizer={'type':'AdamW','lr':0.001}": r"optimizer.type 'SGD' -> 'AdamW'",
    "optimizer.groups=[]": r"optimizer.groups \[{'kind': 'norm', 'decay': 0.0}\] -> \[\]",
    "optimizer.groups=[{'match':'^backbone','lr':0.1}]": "optimizer.groups.0.kind 'norm' -> None",
    "loop.seed=1": "loop.seed 0 -> 1",
    "model.backbone.dropout=0.5": "model.backbone.dropout 0.1 -> 0.5",
    "train.dataset.length=24": "train.dataset.length 12 -> 24",
    "train.sampler.type=InOrder": "train.sampler.type 'Shuffle' -> 'InOrder'",
    "weighting={'type':'Uncertainty'}": "weighting None -> {'type': 'Uncertainty'}",
    "train.batch_size=3": r"2 x 1 x 1 = 2 images .*, those of this run 3 x 1 x 1 = 3",
    "loop.accumulate=2": r"2 x 1 x 1 = 2 images .*, those of this run 2 x 2 x 1 = 4",
    "runner.probabilities=True": "runner.probabilities False -> True",
}


@pytest.mark.parametrize("option", REFUSED)
def test_another_training_is_refused(option, run, capsys):
    files = {path: path.read_bytes() for path in (run / "run").rglob("*") if path.is_file()}
    assert resumed(run, option, "loop.steps=8") == 2
    err = capsys.readouterr().err
    assert err.startswith("ConfigError: --resume ") and "init=dict(path=" in err and err.count("\n") == 1
    assert re.search(REFUSED[option], err), err
    assert files == {path: path.read_bytes() for path in (run / "run").rglob("*") if path.is_file()}


def test_fewer_processes_with_larger_batches_see_the_same_images():
    assert check_images((4, 1, 2), (4, 1, 2), "a.pt") == ""
    assert "4 x 1 x 2 -> 8 x 1 x 1" in check_images((4, 1, 2), (8, 1, 1), "a.pt")
    with pytest.raises(ConfigError, match=r"4 x 1 x 2 = 8 images .* those of this run 4 x 1 x 1 = 4"):
        check_images((4, 1, 2), (4, 1, 1), "a.pt")
    assert resume.processes_of({"processes": 2, "rng": [{}]}) == 2, "one process may have saved alone"
    assert resume.processes_of({"rng": [{}, {}]}) == 2 and resume.processes_of({"rng": [{}]}) is None


def test_a_set_that_has_grown_is_another_stream(tmp_path):
    loop_of(sections(), tmp_path, standard_hooks()).fit()
    state = checkpoint.read(tmp_path / "last.pt")
    assert state["images"] == 12 and state["processes"] == 1
    with pytest.raises(checkpoint.CheckpointError, match=r"trained on 11 images, train.dataset has 12 now"):
        loop_of(sections(), tmp_path).load_state_dict(state | {"images": 11}, "last.pt")


# applied


def log_of(place: Path, step: int, key: str = "lr") -> float:
    lines = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if line["step"] == step and key in line][-1]


def test_a_new_rate_decay_and_momentum_are_used(place, capsys):
    options = ("optimizer.lr=0.001", "optimizer.weight_decay=0.5", "optimizer.momentum=0.5", "loop.steps=8")
    assert resumed(place, *options) == 0
    out = capsys.readouterr().out
    changed = "optimizer.lr 0.05 -> 0.001, optimizer.momentum 0.9 -> 0.5, optimizer.weight_decay 0.0001 -> 0.5"
    assert f"changed: {changed}, loop.steps 6 -> 8" in out
    assert log_of(place, 8) == pytest.approx(0.001)
    groups = checkpoint.read(place / "run/last.pt")["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0], "the group of norms has factor 0"
    assert [group["momentum"] for group in groups] == [0.5, 0.5] and groups[0]["base_lr"] == 0.001


def test_a_longer_run_has_the_rates_of_its_length(tmp_path):
    """Poly: .05 * (1 - step / steps) ** .9."""
    cfg = sections()
    loop_of(cfg, tmp_path, standard_hooks()).fit()
    cfg["loop"]["steps"] = 10
    longer = loop_of(cfg, tmp_path)
    longer.load_state_dict(checkpoint.read(tmp_path / "last.pt"), "last.pt")
    longer.learning_rate.set(6)
    assert longer.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.4**0.9)


def test_an_average_that_is_switched_on_starts_from_the_weights(tmp_path):
    loop_of(sections(), tmp_path, standard_hooks()).fit()
    state = checkpoint.read(tmp_path / "last.pt")
    loop = loop_of(sections(ema=0.999), tmp_path)
    loop.load_state_dict(state, "last.pt")
    assert all(torch.equal(value, state["model"][name]) for name, value in loop.ema.module.state_dict().items())
    without = loop_of(sections(), tmp_path)
    without.load_state_dict(state | {"ema": state["model"]}, "last.pt")
    assert without.ema is None and "ema" not in without.state_dict()


def test_the_average_after_a_resume_stays_near_the_weights(place):
    assert resumed(place, "loop.steps=7", "loop.ema=0.999") == 0
    state = checkpoint.read(place / "run/last.pt")
    before = checkpoint.read(place / "run/best.pt")["model"]
    moved = {name: (state["ema"][name] - before[name]).abs().max() for name in before if "weight" in name}
    assert max(moved.values()) < 0.05, "one step of this run moves no weight by more; fresh ones are .25 away"


def test_an_optimizer_without_the_state_for_its_options_is_refused(tmp_path):
    cfg = sections()
    cfg["optimizer"] = dict(type="RMSprop", lr=1e-3)
    loop_of(cfg, tmp_path, standard_hooks()).fit()
    state = checkpoint.read(tmp_path / "last.pt")
    cfg["optimizer"] |= dict(eps=1e-6, alpha=0.9)
    loop = loop_of(cfg, tmp_path)
    loop.load_state_dict(state, "last.pt")
    assert loop.optimizer.param_groups[0]["alpha"] == 0.9
    cfg["optimizer"] |= dict(momentum=0.9)
    with pytest.raises(checkpoint.CheckpointError, match=r"no state for other values of .*momentum.*momentum_buffer"):
        loop_of(cfg, tmp_path).load_state_dict(state, "last.pt")


def test_what_is_scored_starts_the_best_over(place, capsys):
    assert resumed(place, "loop.steps=7", "loop.monitor=aAcc", "val.dataset.length=4") == 0
    out = capsys.readouterr().out
    assert "changed, and the best score starts over: val.dataset.length 5 -> 4, loop.monitor None -> 'aAcc'" in out
    state = checkpoint.read(place / "run/last.pt")
    assert state["best"] == pytest.approx(log_of(place, 7, "val")["aAcc"])


def test_start_weights_are_not_asked_for_again(tmp_path):
    """Neither the file of init nor the encoder's weights need exist any more, and a change of them is said."""
    cfg = sections()
    api.train(cfg, tmp_path / "run", device="cpu")
    cfg["init"], cfg["loop"]["steps"] = dict(path=str(tmp_path / "gone.pt")), 7
    notes: list[str] = []

    class Listen(Hook):
        def before_stage(self, loop):
            notes.append(loop.init_report)

    assert api.train(cfg, tmp_path / "run", resume=True, device="cpu", hooks=[Listen()]).step == 7
    assert notes == [""]


def test_nothing_left_to_do_is_said_with_both_numbers(place, capsys):
    before = (place / "run/config.py").read_text()
    assert resumed(place, "loop.steps=4") == 0
    out = capsys.readouterr().out
    assert "nothing is left to train: the checkpoint is at step 6, the run ends with step 4; raise loop.steps" in out
    assert "done:" not in out and (place / "run/config.py").read_text() == before
    result = api.train(str(place / "c.py"), place / "run", resume=True, device="cpu")
    assert not result.has_trained and result.is_finished and result.step == 6


def test_other_worker_counts_and_hooks_change_no_number(tmp_path):
    cfg = sections()
    whole, second = Record(), Record()
    loop_of(cfg, tmp_path / "a", (*standard_hooks(), whole)).fit()
    cfg["loop"]["steps"] = 6

    class Stop(Hook):
        def after_step(self, loop, terms):
            loop.is_stopping = loop.step == 3

    api.train(cfg, tmp_path / "b", device="cpu", hooks=[Stop()])
    cfg["train"]["workers"], cfg["loop"]["log_every"] = 1, 1
    api.train(cfg, tmp_path / "b", resume=True, device="cpu", hooks=[second])
    assert second.losses == whole.losses[3:]


# which checkpoint


def test_checkpoints_of_other_runs_are_not_taken(place, capsys):
    assert resumed(place, "loop.steps=8", work_dir=".") == 2
    err = capsys.readouterr().err
    assert "holds no last.pt of its own" in err and str(Path("run") / "last.pt") in err and "--work-dir" in err
    assert checkpoint.read(place / "run/last.pt")["step"] == 6


class Unreadable(Shapes):
    """Not built: the file is missed before."""

    def __init__(self, split: str = "train", size: tuple[int, int] = (32, 32), *, length: int = 12):
        raise AssertionError("the data was read first")


@pytest.mark.parametrize(
    "words, options, sentence",
    [
        (("--resume", "gone.pt"), (), "gone.pt: no such checkpoint"),
        (("--resume", "."), (), "is a folder; give a regular file"),
        ((), ("init={'path':'gone.pt'}",), "init.path = 'gone.pt': no such checkpoint"),
        ((), ("init={'path':'.'}",), "init.path = '.': is a folder"),
        (("--check",), ("init={'path':'gone.pt'}",), "init.path = 'gone.pt': no such checkpoint"),
    ],
)
def test_a_missing_file_is_known_before_the_data_is_read(words, options, sentence, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    option = ("train.dataset.type=tests.test_resume_rules:Unreadable", *options)
    assert resumed(run, *option, work_dir="new", words=words) == 2
    assert sentence in capsys.readouterr().err
