"""Runs over class steps that cannot be: each is refused before the first step trains, with the way out."""

import json

import pytest
import torch

from segkit.api import build_runner
from segkit.cli import train
from segkit.engine import checkpoint
from segkit.engine.hooks import Hook, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.preflight import preflight
from segkit.engine.setup import DataSets
from segkit.models.bases import Head
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from tests.incremental.test_step_runs import MIB, config, loop_of, trained  # noqa: F401
from tests.test_loop import CPU


class Unbiased(Head):
    """A head whose classifier has no bias."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = torch.nn.Conv2d(in_channels[-1], num_classes, 1, bias=False)

    def forward(self, features):
        return {"logits": self.classifier(features[-1])}


class Fixed(Unbiased):
    """A head whose last layer has another name."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__(in_channels, num_classes)
        self.last, self.classifier = self.classifier, None

    def forward(self, features):
        return {"logits": self.last(features[-1])}


def with_head(name: str, **runner) -> dict:
    cfg = config(**runner)
    cfg["model"]["head"] = dict(type=f"tests.incremental.test_steps_refused:{name}")
    return cfg


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (with_head("Fixed"), "Fixed.*cannot grow"),
        (with_head("Unbiased"), "no bias to balance"),
        (config([dict(MIB[0], on=["logits", "teacher.logit"])]), r"losses\.0\.on = 'teacher\.logit'.*mean 'logits'"),
        (
            config([*MIB, dict(type="FeatureMSE", on=["features.9", "teacher.features.9"], at="native")]),
            r"losses\.2\.on = 'features\.9': no such output.*features\.0",
        ),
        (config(later=dict(loop=dict(stepz=3))), "stepz.*did you mean 'steps'"),
        (config(later=dict(optimizer=dict(lrr=1))), "lrr"),
        (
            config(later=dict(optimiser=dict(lr=1))),
            r"runner\.later\.optimiser: no such section; did you mean 'optimizer'",
        ),
    ],
)
def test_what_only_a_later_step_would_meet(cfg, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        loop_of(cfg, tmp_path)
    assert build_runner(with_head("Unbiased", init="random")).stages(with_head("Unbiased", init="random"), DataSets())


@pytest.mark.parametrize(
    ("regulariser", "message"),
    [
        (
            dict(type="EWC", importence=3),
            r"regulariser\.importence: EWC takes no such argument; did you mean 'importance'",
        ),
        (dict(importance=3), r"regulariser\.type = None: must be one of EWC"),
        (dict(type="ECW"), "did you mean 'EWC'"),
    ],
)
def test_regulariser(regulariser, message):
    with pytest.raises(ConfigError, match=message):
        build_runner(config(regulariser=regulariser))


def check(cfg: dict, **options):
    preflight(cfg, build_runner(cfg), DataSets(), limit=2, **options)


def test_from_step(trained, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="--from-step -1: this run has the steps 0 to 2"):
        loop_of(config(), tmp_path, stage=-1)
    with pytest.raises(ConfigError, match="--from-step 3: this run has the steps 0 to 2"):
        check(config(), stage=3)
    (tmp_path / "run.py").write_text(dump(config()))
    assert train.main([str(tmp_path / "run.py"), "--from-step", "1", "--resume", "--device", "cpu"]) == 2


def test_resumed_with_other_steps_images_or_labels(trained, tmp_path):  # noqa: F811
    folder, _ = trained
    path = folder / "step1" / "last.pt"
    for cfg, message in (
        (config(setting="sequential"), "runner.setting = 'sequential': the checkpoint learned with 'overlapped'"),
        (config(convention="csseg"), "runner.convention = 'csseg': the checkpoint learned with 'official'"),
        (config(steps=((0, 1, 2), (3, 4, 5))), r"learned \[3, 2\] classes .* this task has \[3, 3\]"),
    ):
        runner = build_runner(cfg)
        loop = Loop(cfg, runner, work_dir=folder, device=CPU, hooks=standard_hooks(), stage=1)
        with pytest.raises(ConfigError, match=message):
            loop.load_state_dict(checkpoint.read(path), path)


def test_a_start_that_is_missing_or_of_more_classes(trained, tmp_path):  # noqa: F811
    folder, _ = trained
    with pytest.raises(ConfigError, match=r"gone\.pt: step 1 begins with the checkpoint of step 0, which is missing"):
        check(config(start=str(tmp_path / "gone.pt")))
    longer = folder / "step1" / "last.pt"
    with pytest.raises(ConfigError, match="on 5 classes, the task has 3 in step 0, and the checkpoint alone"):
        check(config(start=str(longer)))
    nameless = checkpoint.read(longer)
    torch.save({"model": nameless["model"]}, tmp_path / "nameless.pt")
    with pytest.raises(ConfigError, match=r"its classifiers have \[3, 2\] outputs, those of step 0 have \[3\]"):
        check(config(start=str(tmp_path / "nameless.pt")))


def test_scores_are_kept_when_the_run_stops_in_the_last_evaluation(tmp_path):
    class Stop(Hook):
        def after_eval(self, loop, scores):
            loop.is_stopping = True

    cfg = config(steps=((0, 1, 2), (3, 4, 5)))
    loop = loop_of(cfg, tmp_path, Stop())
    loop.fit()
    assert loop.stage_number == 0 and json.loads((tmp_path / "step0/scores.json").read_text())["step"] == 0
    again = loop_of(cfg, tmp_path)
    again.load_state_dict(checkpoint.read(tmp_path / "step0" / "last.pt"), tmp_path)
    again.fit()
    assert [one["step"] for one in json.loads((tmp_path / "metrics.json").read_text())["steps"]] == [0, 1]


def test_a_regulariser_says_that_it_has_nothing_to_go_by(trained, tmp_path, capsys):  # noqa: F811
    folder, _ = trained
    cfg = config(start=str(folder / "step0" / "last.pt"), regulariser=dict(type="EWC"))
    loop_of(cfg, tmp_path, stage=1)
    assert "step1: the checkpoint before it has no state of EWC" in capsys.readouterr().out
