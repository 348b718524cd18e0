"""The library's functions: training and scoring without a command, data sets built once, hooks and their order."""

import functools
import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import segkit
from segkit import api
from segkit.config import Config
from segkit.data.semantic.shapes import Shapes
from segkit.engine.hooks import Hook
from segkit.files import DataError
from segkit.registry import DATASETS, ConfigError
from tests.tiny import sections


def test_import_costs_nothing():
    code = "import sys, segkit; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; print(dir(segkit))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in segkit.__all__)


def test_names_of_the_package():
    for name in segkit.__all__:
        assert callable(getattr(segkit, name))
    with pytest.raises(AttributeError, match="has no attribute 'tarin'"):
        segkit.tarin  # noqa: B018


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    cfg = sections()
    cfg["test"] = dict(workers=0, dataset=dict(type="Shapes", size=(32, 32), length=3, split="test"))
    return segkit.train(cfg, folder / "run", device="cpu"), folder


def test_training_scoring_and_prediction(trained):
    result, folder = trained
    assert result.is_finished and result.folder == folder / "run"
    assert result.last_checkpoint.exists() and result.best_checkpoint.exists()
    assert result.best is not None and result.monitor == "mIoU"
    scores = segkit.evaluate(
        result.last_checkpoint, trust=True, device="cpu", out=folder / "scores.json", show=folder / "pictures"
    )
    assert scores["images"] == 3 and json.loads((folder / "scores.json").read_text()) == scores
    assert (folder / "pictures/overview.png").exists()
    again = segkit.evaluate(result.model)
    assert again["mIoU"] == scores["mIoU"]
    image = np.full((20, 30, 3), 90, np.uint8)
    one, other = (
        segkit.load_model(*words, trust=True) for words in ((result.last_checkpoint,), (None, result.last_checkpoint))
    )
    labels = segkit.predict(one, image)["labels"]
    assert labels.shape == (20, 30) and (labels == segkit.predict(other, image)["labels"]).all()
    assert (labels == segkit.predict(result.model, image)["labels"]).all()


def test_tables_are_said_where_they_are_wanted(trained, capsys):
    result, _ = trained
    segkit.evaluate(result.model)
    assert capsys.readouterr().out == ""
    said = []
    segkit.evaluate(result.model, say=said.append)
    assert "mIoU" in said[0] and "striped disk" in said[0]


def test_wrong_configs_train_nothing(tmp_path):
    cfg = sections()
    cfg["optimizer"] = dict(type="SGDD", lr=0.1)
    with pytest.raises(ConfigError, match="no such optimizer; did you mean 'SGD'"):
        segkit.train(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="train: this section is missing"):
        segkit.train({"model": sections()["model"]}, tmp_path / "run")


def counted(monkeypatch, cls=Shapes) -> Counter:
    """Counts how often each split of the data set is built."""
    built: Counter = Counter()
    init = cls.__init__

    @functools.wraps(init)
    def counting(self, *args, **kwargs):
        built[kwargs.get("split", "train")] += 1
        init(self, *args, **kwargs)

    monkeypatch.setattr(cls, "__init__", counting)
    return built


def test_each_data_set_is_built_once(monkeypatch, tmp_path):
    """With class weights by name, whose statistics are of the same data set."""
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    cfg = sections()
    cfg["losses"] = [dict(type="CrossEntropy", on="logits", target="mask", class_weight="median_frequency")]
    cfg["model"]["aux"] = []
    built = counted(monkeypatch)
    api.train(cfg, tmp_path / "run", device="cpu")
    assert sum(built.values()) == 2, built
    saved = torch.load(tmp_path / "run/last.pt", weights_only=True)["config"]["losses"][0]["class_weight"]
    assert len(saved) == 6 and all(isinstance(value, float) for value in saved)
    assert "median_frequency" not in (tmp_path / "run/config.py").read_text()


def test_class_steps_build_two_data_sets_a_step(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    cfg = sections()
    cfg["runner"] = dict(
        type="Incremental",
        steps=[[0, 1, 2, 3], [4, 5]],
        losses=[dict(type="UnbiasedCE"), dict(type="UnbiasedKD", weight=10.0)],
    )
    cfg["model"]["aux"], cfg["losses"] = [], cfg["losses"][:1]
    base = counted(monkeypatch)
    wrapped = counted(monkeypatch, DATASETS.get("ClassSteps"))
    api.train(cfg, tmp_path / "run", device="cpu")
    assert sum(base.values()) <= 4, base
    assert sum(wrapped.values()) == 4, wrapped


class Calls(Hook):
    """Notes which method is called at which step."""

    def __init__(self):
        self.calls: list[tuple[str, int]] = []

    def before_stage(self, loop):
        self.calls.append(("before", loop.step))

    def after_step(self, loop, terms):
        self.calls.append(("step", loop.step))

    def after_stage(self, loop):
        self.calls.append(("after", loop.step))


def test_hooks_from_outside_see_the_stage_begin_and_end(tmp_path):
    cfg = sections()
    cfg["loop"] = {**cfg["loop"], "steps": 2, "save_every": 1, "keep": 2}
    first = Calls()
    api.train(cfg, tmp_path / "run", device="cpu", hooks=[first])
    assert first.calls == [("before", 0), ("step", 1), ("step", 2), ("after", 2)]
    resumed = Calls()
    api.train(cfg, tmp_path / "run", resume=tmp_path / "run/step_1.pt", device="cpu", hooks=[resumed])
    assert resumed.calls == [("before", 1), ("step", 2), ("after", 2)]


def test_seconds_per_step_hold_no_validation(monkeypatch, tmp_path):
    now = [0.0]

    def tick() -> float:
        now[0] += 0.001
        return now[0]

    class Slow(Hook):
        def after_eval(self, loop, scores):
            now[0] += 1000.0

    monkeypatch.setattr("segkit.engine.loop.time", SimpleNamespace(perf_counter=tick))
    cfg = sections()
    cfg["loop"] = {**cfg["loop"], "steps": 4, "eval_every": 1, "log_every": 1}
    api.train(cfg, tmp_path / "run", device="cpu", hooks=[Slow()])
    records = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    steps = [record["seconds_per_step"] for record in records if "seconds_per_step" in record]
    assert len(steps) == 4 and 0 < max(steps) < 1


def test_deterministic_algorithms_are_asked_for(tmp_path):
    cfg = sections()
    cfg["loop"] = {**cfg["loop"], "steps": 1, "deterministic": True}
    was = torch.are_deterministic_algorithms_enabled()
    try:
        api.train(cfg, tmp_path / "run", device="cpu")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(was)


def test_a_run_without_a_config_file_has_a_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cfg = Config(sections(), "")
    cfg["loop"] = {**cfg["loop"], "steps": 1}
    assert api.train(cfg, device="cpu").folder.parts == ("work_dirs", "run")


def test_instances_is_another_name_of_the_runner():
    from segkit.registry import RUNNERS

    assert RUNNERS.get("Instances") is RUNNERS.get("BoxSupervised") and "Instances" not in RUNNERS.names()


def test_wrong_arguments_are_named_before_anything_runs(tmp_path):
    class Count(Hook):
        pass

    for hooks in ([Count], [3], Count()):
        with pytest.raises(ConfigError, match=r"^hooks = .*: must be a list of objects that derive from segkit.engine"):
            api.train(sections(), tmp_path, hooks=hooks)
    with pytest.raises(ConfigError, match=r"^cfg = 5: must be a config file or a dict of its sections"):
        api.train(5, tmp_path)
    with pytest.raises(ConfigError, match=r"^model = dict: must be a checkpoint's file or a model"):
        api.evaluate({})
    with pytest.raises(ConfigError, match=r"^split = 'tset': must be 'test' or 'val'"):
        api.evaluate("best.pt", split="tset")
    model = api.build_model(sections()["model"]).eval()
    with pytest.raises(DataError, match=r"^a\.jpg: No such file"):
        api.predict(model, "a.jpg")
