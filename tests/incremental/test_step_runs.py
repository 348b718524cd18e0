"""A run over class steps: what each step starts from, learns from and leaves behind; breaking off and taking up."""

import copy
import json

import numpy as np
import pytest
import torch

from segkit.api import build_runner, load_model
from segkit.engine import checkpoint
from segkit.engine.hooks import standard_hooks
from segkit.engine.loop import Loop
from segkit.models.growing_segmentor import sizes_of
from segkit.registry import ConfigError
from segkit.schema import check
from tests.test_loop import CPU, Record
from tests.tiny import sections

MIB = [
    dict(type="UnbiasedCE", on=["logits", "teacher.logits"], target="mask"),
    dict(type="UnbiasedKD", on=["logits", "teacher.logits"], weight=10.0),
]
PLAIN = [dict(type="CrossEntropy", on="logits", target="mask")]


def config(losses=MIB, steps=((0, 1, 2), (3, 4), (5,)), **runner) -> dict:
    """Three steps of three iterations on the embedded data set."""
    cfg = sections()
    cfg["model"]["backbone"]["dropout"] = 0.0
    del cfg["losses"][1:], cfg["model"]["aux"]
    cfg["loop"] |= dict(steps=3, save_every=1, log_every=1)
    cfg["runner"] = dict(type="Incremental", steps=[list(step) for step in steps], losses=list(losses), **runner)
    return cfg


def loop_of(cfg, folder, *hooks, stage=0) -> Loop:
    check(cfg)
    runner = build_runner(cfg)
    return Loop(
        cfg, runner, work_dir=folder, device=CPU, hooks=(*standard_hooks(), *runner.hooks(), *hooks), stage=stage
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole run: its folder and loop."""
    folder = tmp_path_factory.mktemp("steps")
    loop = loop_of(config(), folder)
    loop.fit()
    return folder, loop


def test_each_step_adds_its_classes_and_leaves_scores(trained):
    folder, _ = trained
    for step, sizes in enumerate([(3,), (3, 2), (3, 2, 1)]):
        model = load_model(None, folder / f"step{step}" / "last.pt", trust=True)
        assert sizes_of(model) == sizes and len(model.classes) == sum(sizes)
        assert model.config["val"]["dataset"]["step"] == step
    scores = json.loads((folder / "metrics.json").read_text())
    assert [len(one["classes"]) for one in scores["steps"]] == [3, 5, 6]
    assert scores["steps"][0]["mIoU_new"] is None and scores["steps"][2]["mIoU_new"] is not None
    assert (folder / "pictures" / "steps.png").stat().st_size > 1000


def test_a_step_starts_from_the_step_before_and_is_taught_by_it(trained, tmp_path):
    folder, _ = trained
    before = checkpoint.read(folder / "step0" / "last.pt")["model"]
    loop = loop_of(config(), folder, stage=1)
    teacher = loop.runner.teacher
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    own = loop.raw_model.state_dict()
    assert torch.equal(own["backbone.first.0.weight"], before["backbone.first.0.weight"])
    # MiB: the new outputs have the background's weights, and all three share its probability
    first, new = (own[f"head.classifier.steps.{i}.bias"] for i in (0, 1))
    assert new.tolist() == pytest.approx([before["head.classifier.bias"][0].item() - np.log(3)] * 2)
    assert first.tolist()[1:] == before["head.classifier.bias"].tolist()[1:]
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    loop.work_dir = tmp_path
    loop.fit()
    after = loop.runner.teacher.state_dict()  # of the last step by now: the second step's result
    assert sum(name.endswith("weight") and "classifier" in name for name in after) == 2


def test_a_run_broken_off_inside_a_later_step_goes_on_bit_for_bit(trained, tmp_path):
    folder, whole = trained

    class Kill(Record):
        def after_step(self, loop, terms):
            if (loop.stage_number, loop.step) == (1, 2):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop_of(config(), tmp_path, Kill()).fit()
    state = checkpoint.read(tmp_path / "step1" / "last.pt")
    assert (state["stage"], state["step"]) == (1, 2)
    again = loop_of(config(), tmp_path, stage=1)
    again.load_state_dict(state, "last.pt")
    again.fit()
    ours, theirs = again.raw_model.state_dict(), whole.raw_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads((folder / "metrics.json").read_text())


def test_fine_tuning_asks_no_teacher_and_knows_the_first_steps_losses(tmp_path):
    cfg = config(
        PLAIN, steps=((0, 1, 2, 3), (4, 5)), init="random", later=dict(loop=dict(steps=2), optimizer=dict(lr=0.01))
    )
    record = Record()
    loop = loop_of(cfg, tmp_path, record)
    loop.fit()
    assert len(record.losses) == 3 + 2 and loop.settings.steps == 2 and loop.stage_cfg["optimizer"]["lr"] == 0.01
    assert loop.stage_cfg["optimizer"]["momentum"] == 0.9 and loop.runner.teacher is not None
    assert set(record.losses[-1]) == {"CrossEntropy"}


@pytest.mark.parametrize("kind", ["EWC", "PI", "RW"])
def test_regularisers_go_on_from_the_step_before(kind, tmp_path):
    cfg = config(PLAIN, steps=((0, 1, 2, 3), (4, 5)), init="random", regulariser=dict(type=kind, importance=1.0))
    record = Record()
    loop = loop_of(cfg, tmp_path, record)
    loop.fit()
    assert kind not in record.losses[2] and kind in record.losses[3]
    watched = loop.runner.regulariser.weights
    assert "head.classifier.steps.0.weight" in watched and "head.classifier.steps.1.weight" not in watched
    # the penalty is 0 where nothing has moved yet, and grows with the first step
    assert record.losses[3][kind] == 0 and record.losses[5][kind] > 0


def test_plop_looks_at_the_images_once_and_compares_features(tmp_path):
    rows = [
        dict(type="PseudoLabelCE", on=["logits", "teacher.logits"], target="mask"),
        dict(type="LocalPOD", on=["logits", "teacher.logits", "features.0", "teacher.features.0"], at="native"),
    ]
    record = Record()
    loop = loop_of(config(rows, steps=((0, 1, 2, 3), (4, 5))), tmp_path, record)
    loop.fit()
    assert set(record.losses[-1]) == {"PseudoLabelCE", "LocalPOD"}
    assert len(loop.criterion.losses[0].thresholds) == 4
    state = checkpoint.read(tmp_path / "step1" / "last.pt")
    again = loop_of(config(rows, steps=((0, 1, 2, 3), (4, 5))), tmp_path, stage=1)
    again.load_state_dict(state, "last.pt")
    assert torch.equal(again.criterion.losses[0].thresholds, loop.criterion.losses[0].thresholds)


def test_classes_are_added_to_a_trained_checkpoint(tmp_path):
    """A semantic checkpoint of four classes stands for the first step."""
    base = config(PLAIN, steps=((0, 1, 2, 3, 4, 5),))
    base["model"]["num_classes"] = 6
    loop = loop_of(config(PLAIN, steps=((0, 1, 2, 3), (4, 5))), tmp_path / "a")
    loop.stages = loop.stages[:1]
    loop.fit()
    content = checkpoint.read(tmp_path / "a/step0/last.pt")
    checkpoint.save(tmp_path / "mine.pt", {"model": content["model"]})
    cfg = config(MIB, steps=((0, 1, 2, 3), (4, 5)), start=str(tmp_path / "mine.pt"))
    runner = build_runner(cfg)
    assert runner.first_stage == 1
    added = loop_of(cfg, tmp_path / "b", stage=runner.first_stage)
    added.fit()
    assert sizes_of(added.raw_model) == (4, 2) and not (tmp_path / "b/step0").exists()


def test_bad_runs_are_refused_before_training(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(ConfigError, match=r"step0/last.pt: step 1 begins with the checkpoint of step 0"):
        loop_of(config(), tmp_path, stage=1)
    with pytest.raises(ConfigError, match="has the steps 0 to 2"):
        loop_of(config(), tmp_path, stage=3)
    other = config(steps=((0, 1, 3), (2, 4), (5,)))
    with pytest.raises(ConfigError, match="the first that differs is"):
        loop_of(other, folder, stage=1)
    state = checkpoint.read(folder / "step1" / "last.pt")
    swapped = config(steps=((0, 1, 2), (3, 5), (4,)))
    loop = loop_of(swapped, folder, stage=1)
    with pytest.raises(ConfigError, match="the task has changed"):
        loop.load_state_dict(copy.deepcopy(state), "last.pt")
    with pytest.raises(ConfigError, match=r"class 2 .* is in steps 0 and 1"):
        loop_of(config(steps=((0, 1, 2), (2, 3, 4), (5,))), tmp_path)
    typo = config([dict(type="UnbiasedCE", on=["logits", "teacher.logits"], target="mask", avrage="all")])
    with pytest.raises(ConfigError, match=r"runner\.losses\.0\.avrage"):
        check(typo)
    with pytest.raises(ConfigError, match="did you mean 'balanced'"):
        build_runner(config(init="balance"))
