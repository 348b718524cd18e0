"""Hooks for MLflow, Weights & Biases and Trackio: with stand-ins for their packages, and with the packages if there."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from segkit import api
from segkit.engine.hooks import Hook, standard_hooks
from segkit.engine.trackers import MLflow, Tracker, Trackio, WandB, flat_config
from segkit.registry import ConfigError
from tests.test_loop import loop_of
from tests.tiny import sections

TRACKERS = dict(MLflow=MLflow, WandB=WandB, Trackio=Trackio)


class StopAt(Hook):
    """Ends the run after a step, as Ctrl-C does."""

    def __init__(self, step: int):
        self.step = step

    def after_step(self, loop, terms):
        loop.is_stopping |= loop.step == self.step


class Told:
    """Takes every call on a stand-in, in its order."""

    def __init__(self):
        self.calls: list[tuple] = []

    def note(self, name: str, result=None):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return result

        return call

    def of(self, name: str) -> list[tuple]:
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


def stand_in(package: str, monkeypatch) -> Told:
    """Puts a module of that name in the place of the package."""
    told, module = Told(), ModuleType(package)
    module.__spec__ = importlib.util.spec_from_loader(package, loader=None)
    run = SimpleNamespace(id="r1", log=told.note("log"), finish=told.note("finish"), summary={})
    run.define_metric = told.note("define_metric")
    module.init, module.Image = told.note("init", run), lambda picture: ("picture", picture.shape)
    client = SimpleNamespace(
        **{name: told.note(name) for name in ("log_batch", "log_image", "set_terminated", "update_run")}
    )
    client.get_experiment_by_name = told.note("get_experiment_by_name", SimpleNamespace(experiment_id="7"))
    client.create_run = told.note("create_run", SimpleNamespace(info=SimpleNamespace(run_id="r1")))
    module.MlflowClient = told.note("client", client)
    entities = ModuleType(f"{package}.entities")
    entities.Param, entities.Metric = (lambda *values: values), (lambda *values: values)
    monkeypatch.setitem(sys.modules, package, module)
    monkeypatch.setitem(sys.modules, f"{package}.entities", entities)
    return told


def train(folder: Path, *hooks: Hook, resume: bool = False, **loop):
    return api.train(sections(eval_every=3, **loop), folder, hooks=hooks, resume=resume)


def scalars(kind: str, told: Told) -> dict[tuple[str, int], float]:
    """What was logged, by name and step."""
    if kind == "MLflow":
        rows = [metric for _, kwargs in told.of("log_batch") for metric in kwargs.get("metrics", [])]
        return {(name, step): value for name, value, _, step in rows}
    found = {}
    for (values,), kwargs in told.of("log"):
        step = kwargs.get("step", values.get("step"))
        found |= {(name, step): value for name, value in values.items() if isinstance(value, float)}
    return found


@pytest.mark.parametrize("kind", TRACKERS)
def test_config_losses_scores_and_pictures_are_logged(kind, monkeypatch, tmp_path):
    told = stand_in(TRACKERS[kind].package, monkeypatch)
    result = train(tmp_path / "run", TRACKERS[kind]())
    logged = scalars(kind, told)
    assert {step for name, step in logged if name == "train/loss"} == {1, 2, 4, 6}
    assert {step for name, step in logged if name == "val/mIoU"} == {3, 6}
    assert logged["best/mIoU", 6] == result.best
    if kind == "MLflow":
        params = dict(p for _, kwargs in told.of("log_batch") for p in kwargs.get("params", []))
        assert [args[1].ndim for args, _ in told.of("log_image")] == [3, 3]
        assert told.of("set_terminated")[0][1] == {"status": "FINISHED"}
    else:
        params = told.of("init")[0][1]["config"]
        pictures = [values["val"] for (values,), _ in told.of("log") if "val" in values]
        assert len(pictures) == 2 and pictures[0][0] == "picture"
        assert len(told.of("finish")) == 1
    assert params["optimizer.lr"] == "0.05" and params["model.backbone.type"] == "tests.tiny:TinyBackbone"


@pytest.mark.parametrize("kind", TRACKERS)
def test_a_resumed_run_goes_on_with_the_same_one(kind, monkeypatch, tmp_path):
    told = stand_in(TRACKERS[kind].package, monkeypatch)
    assert not train(tmp_path / "run", TRACKERS[kind](), StopAt(4)).is_finished
    if kind == "MLflow":
        assert told.of("set_terminated")[0][1] == {"status": "KILLED"}
    assert train(tmp_path / "run", TRACKERS[kind](), resume=True).is_finished
    if kind == "MLflow":
        assert len(told.of("create_run")) == 1 and told.of("update_run") == [(("r1",), {"status": "RUNNING"})]
        return
    first, second = (kwargs for _, kwargs in told.of("init"))
    if kind == "WandB":
        assert (first["id"], first["resume"], second["id"], second["resume"]) == (None, None, "r1", "allow")
    else:
        assert first["resume"] == "never" and second["resume"] == "allow" and first["name"] == second["name"]


@pytest.mark.parametrize("method", ["open", "log", "draw", "close"])
def test_a_tracker_that_fails_costs_no_run(method, monkeypatch, tmp_path, capsys):
    stand_in("wandb", monkeypatch)

    def fail(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(WandB, method, fail)
    loop = loop_of(sections() | {"loop": dict(steps=1)}, tmp_path, (*standard_hooks(), WandB()))
    loop.fit()
    assert loop.step == 1 and (tmp_path / "best.pt").is_file()
    told = capsys.readouterr().err
    assert told.count("warning: WandB failed and is left out (OSError: no network)") == 1


@pytest.mark.parametrize("kind", TRACKERS)
def test_a_missing_package_is_one_sentence_before_anything_is_built(kind, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    package = TRACKERS[kind].package
    with pytest.raises(
        ConfigError, match=rf"hooks: {kind} needs the package {package}, .*pip install 'segkit\[{package}\]'"
    ):
        TRACKERS[kind]()


def test_a_config_by_the_paths_of_its_values():
    cfg = dict(a=dict(b=1, c=[dict(d="x"), dict(e=(2, 3))]), f=[], g={})
    assert flat_config(cfg) == {"a.b": "1", "a.c.0.d": "x", "a.c.1.e": "(2, 3)", "f": "[]", "g": "{}"}


def test_mlflow_keeps_what_was_logged(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/runs.db"
    result = train(tmp_path / "run", MLflow(uri=uri, experiment="trees"))
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("trees").experiment_id])
    assert run.info.status == "FINISHED" and run.data.metrics["best/mIoU"] == result.best
    assert run.data.params["optimizer.lr"] == "0.05"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val/mIoU")] == [3, 6]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "pictures")] == [
        "pictures/val_0000003.png",
        "pictures/val_0000006.png",
    ]


def test_wandb_offline_keeps_the_run_in_the_work_folder(tmp_path):
    pytest.importorskip("wandb")
    train(tmp_path / "run", WandB(offline=True))
    assert list((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))


def test_trackio_keeps_the_run_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # which is read when trackio is imported
    pytest.importorskip("trackio")
    train(tmp_path / "run", Trackio(project="trees"))
    assert list(tmp_path.rglob("trees*.db"))


def test_a_tracker_of_ones_own_gives_four_methods():
    class Mine(Tracker):
        package, extra = "json", "mine"

    for call in (
        lambda m: m.open("a", None, {}, Path()),
        lambda m: m.log({}, 0),
        lambda m: m.draw("a", np.zeros((1, 1, 3), np.uint8), 0),
        lambda m: m.close(is_finished=True),
    ):
        with pytest.raises(NotImplementedError, match="Mine gives no"):
            call(Mine())
