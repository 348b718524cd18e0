"""Files in and out: only tensors and plain types, one clear sentence for everything else."""

import pickle

import numpy as np
import pytest
import torch

from segkit import api
from segkit.engine import checkpoint
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.hooks import standard_hooks
from tests.test_loop import loop_of
from tests.tiny import sections


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    loop_of(sections(ema=0.9), folder, standard_hooks()).fit()
    return folder


def test_a_model_needs_no_config_file(run):
    model = api.load_model(None, run / "best.pt", trust=True)
    assert not model.training and len(model.classes) == 6 and len(model.palette) == 6
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    labels = api.predict(model, image)["labels"]
    assert labels.shape == (33, 47) and labels.dtype == np.uint8 and labels.max() < 6


def test_the_moving_average_is_what_is_loaded(run):
    content = checkpoint.read(run / "last.pt")
    model = api.load_model(None, run / "last.pt", trust=True)
    assert all(torch.equal(value, content["ema"][key]) for key, value in model.state_dict().items())
    assert any(not torch.equal(content["model"][key], content["ema"][key]) for key in content["ema"])


def test_safetensors_in_and_out(run, tmp_path):
    content = checkpoint.read(run / "last.pt")
    checkpoint.save(tmp_path / "w.safetensors", {**content, "model": content["ema"]})
    model = api.load_model(None, tmp_path / "w.safetensors", trust=True)
    assert all(torch.equal(value, content["ema"][key]) for key, value in model.state_dict().items())


def test_a_plain_state_dict_loads_with_a_config(run, tmp_path):
    weights = checkpoint.read(run / "last.pt")["model"]
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "plain.pth")
    model = api.load_model(sections(), tmp_path / "plain.pth")
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match=r"plain.pth: holds no config; name the config file"):
        api.load_model(None, tmp_path / "plain.pth")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_files_that_are_no_checkpoint(run, tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "cut.pt").write_bytes((run / "last.pt").read_bytes()[:2000])
    (tmp_path / "bad.safetensors").write_bytes(b"12345678")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    for name, message in {
        "text.pt": "is no checkpoint",
        "empty.pt": "is no checkpoint, or was cut off",
        "cut.pt": "is damaged, it was cut off",
        "bad.safetensors": "is no safetensors file",
        "list.pt": "holds a list, not a checkpoint",
        "none.pt": "holds no weights; its keys are epoch",
        "lost.pt": "no such checkpoint",
    }.items():
        with pytest.raises(CheckpointError, match=f"{name}.*{message}"):
            checkpoint.read(tmp_path / name)


def test_nothing_is_executed(tmp_path):
    torch.save({"model": {"w": torch.ones(1)}, "extra": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(CheckpointError, match=r"would execute code|is no checkpoint"):
            checkpoint.read(tmp_path / name)


def test_another_architecture_says_what_differs(run):
    cfg = sections()
    cfg["model"]["backbone"]["width"] = 4
    with pytest.raises(
        CheckpointError, match=r"does not fit this model.*have another shape, first \S+: \(8, 3, 3, 3\) in"
    ):
        api.load_model(cfg, run / "last.pt")
    cfg = sections()
    cfg["model"]["aux"] = []
    with pytest.raises(CheckpointError, match=r"2 are unknown, first aux.0.classifier.weight"):
        api.load_model(cfg, run / "last.pt")


def test_init_starts_from_a_checkpoint_and_names_what_it_drops(run, tmp_path):
    cfg = sections()
    cfg["init"] = dict(path=str(run / "last.pt"), drop=["head.", "aux."])
    loop = loop_of(cfg, tmp_path)
    weights = checkpoint.read(run / "last.pt")["ema"]
    own = loop.raw_model.state_dict()
    assert all(torch.equal(own[key], weights[key]) for key in own if key.startswith("backbone"))
    assert not torch.equal(own["head.classifier.weight"], weights["head.classifier.weight"])
    assert "14 tensors loaded, 4 dropped, 4 left fresh" in loop.init_report


def test_init_takes_the_moving_average_as_all_that_use_a_checkpoint_do(run, tmp_path):
    content = checkpoint.read(run / "last.pt")
    content["ema"] = {name: value + 1 for name, value in content["model"].items()}
    checkpoint.save(tmp_path / "averaged.pt", content)
    loop = loop_of(sections() | {"init": dict(path=str(tmp_path / "averaged.pt"))}, tmp_path / "run")
    own = loop.raw_model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in content["ema"].items())
    assert loop.init_report.endswith("; its moving average")


def test_resuming_needs_more_than_weights(run, tmp_path):
    with pytest.raises(CheckpointError, match="holds weights only; start from it with init"):
        loop_of(sections(), tmp_path).load_state_dict({"model": {}}, "w.pt")
