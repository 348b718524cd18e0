"""What is kept of old classes in a run: collected at the end of a step, read by the next, resumed bit for bit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.api import build_runner
from segkit.data.incremental.plan import make_plan
from segkit.data.loader import EvalItems, collate_eval
from segkit.data.semantic.shapes import Shapes
from segkit.engine import checkpoint
from segkit.ops.incremental import inverted_classifier
from segkit.ops.incremental.prototypes import FeatureSums, labels_at
from segkit.registry import ConfigError
from segkit.runners.incremental.feature_replay import REPLAYS, FeatureReplay
from tests.incremental.test_step_runs import PLAIN, config, loop_of
from tests.test_loop import Record
from tests.tiny import TinyHead

SIMILAR = [*PLAIN, dict(type="ClassSimilarityKD", weight=0.5)]


class EmbeddingHead(TinyHead):
    """A TinyHead that shows what it classifies."""

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        return super().forward(features) | {"embedding": features[-1]}


def replaying(rows: list[dict] = SIMILAR, **runner) -> dict:
    cfg = config(rows, **runner)
    cfg["model"]["head"]["type"] = "tests.incremental.test_step_replay:EmbeddingHead"
    return cfg


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole run: its folder, its loop and what it logged."""
    folder, record = tmp_path_factory.mktemp("replay"), Record()
    loop = loop_of(replaying(), folder, record)
    loop.fit()
    return folder, loop, record


def statistics_of(folder, step: int) -> dict[str, Tensor]:
    return checkpoint.read(folder / f"step{step}" / "last.pt")["runner"]["statistics"]


def test_the_last_checkpoint_of_each_step_holds_the_statistics_of_all_its_classes(trained):
    folder, loop, record = trained
    first, second, third = (statistics_of(folder, step) for step in range(3))
    assert [len(part["prototypes"]) for part in (first, second, third)] == [2, 4, 5]
    assert torch.equal(second["prototypes"][:2], first["prototypes"])
    assert torch.equal(third["means"][1:5], second["means"][1:])
    assert set(record.losses[-1]) == {"CrossEntropy", "ClassSimilarityKD"}
    # by hand, of the last step's images as they are stored
    sums = FeatureSums([5], 8)
    model, items = loop.raw_model.eval(), EvalItems(loop.dataset, [])
    with torch.no_grad():
        for i in range(len(loop.dataset)):
            batch = collate_eval([items[i]])
            z, mask = model(batch["image"])["embedding"], batch["mask"][0][None].long()
            sums.add(z, labels_at(mask, (z.shape[2], z.shape[3])))
    found = sums.result()
    torch.testing.assert_close(third["prototypes"][4:], found.prototypes, rtol=1e-4, atol=1e-5)
    assert third["counts"][5] == found.counts[1] > 0


def test_a_replaying_run_broken_off_inside_a_later_step_goes_on_bit_for_bit(trained, tmp_path):
    folder, whole, _ = trained

    class Kill(Record):
        def after_step(self, loop, terms):
            if (loop.stage_number, loop.step) == (1, 2):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop_of(replaying(), tmp_path, Kill()).fit()
    again = loop_of(replaying(), tmp_path, stage=1)
    again.load_state_dict(checkpoint.read(tmp_path / "step1" / "last.pt"), "last.pt")
    again.fit()
    ours, theirs = again.raw_model.state_dict(), whole.raw_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ended, expected = statistics_of(tmp_path, 2), statistics_of(folder, 2)
    assert all(torch.equal(ended[name], expected[name]) for name in expected)


def test_a_step_without_the_statistics_of_the_step_before_is_refused(tmp_path):
    loop_of(replaying(PLAIN, steps=((0, 1, 2, 3), (4, 5))), tmp_path).fit()
    with pytest.raises(ConfigError, match="the checkpoint before it holds none; train that step with this config"):
        loop_of(replaying(steps=((0, 1, 2, 3), (4, 5))), tmp_path, stage=1)


def test_a_head_without_an_embedding_is_refused(tmp_path):
    row = dict(type="ClassSimilarityKD", on=["logits", "teacher.logits", "features.1", "class_means"])
    with pytest.raises(ConfigError, match="TinyHead has no output 'embedding'"):
        loop_of(config([*PLAIN, row], steps=((0, 1, 2, 3), (4, 5))), tmp_path)


@pytest.mark.parametrize("setting", ["overlapped", "disjoint", "sequential", "balanced"])
def test_only_overlapped_steps_share_images(setting):
    cfg = replaying(setting=setting)
    runner = build_runner(cfg)
    runner.plan, runner.step = make_plan(Shapes(length=4), steps=cfg["runner"]["steps"]), 0
    assert runner._kept(None).is_overlapped == (setting == "overlapped")


def test_a_crop_is_given_its_share_of_what_whole_images_hold():
    """31, 22, 9, 22 positions before, 3 batches; whole images have 24 positions, and crops of 12 take half of them."""
    plan = make_plan(Shapes(length=4), steps=[[1, 2, 3], [4, 5]])
    old = FeatureSums([1, 2, 3], 2).result().as_dict() | {"counts": torch.tensor([31.0, 22, 9, 22])}
    kept = FeatureReplay(plan, 1, {"replay.logits"}, rule=REPLAYS["lengths"], is_overlapped=True, old=old)
    kept.load_state_dict({"replay": {"seen": torch.tensor([8.0, 4, 4, 0])}}, torch.device("cpu"))
    kept._batches = 3
    assert kept._shares_of(12).numbers == [6, 1, 7], "of a run that did not count positions"
    kept._shares, kept._positions = None, torch.tensor(24.0)
    assert kept._shares_of(12).numbers == [3, 0, 3]
    assert kept._shares.background == pytest.approx(31 * 0.98 / 8 - 0.5) and kept._shares.kept[1] == 22
    assert kept.state_dict()["replay"]["positions"] == 24


def test_replay_with_an_output_for_the_background_is_refused(tmp_path):
    rows = [dict(type="ReplayBCE")]
    with pytest.raises(ConfigError, match="6 outputs for 5 classes"):
        loop_of(replaying(rows, steps=((0, 1, 2, 3), (4, 5))), tmp_path)


def test_merge_of_a_network_without_branches_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no branches to merge"):
        loop_of(config(PLAIN, steps=((0, 1, 2, 3), (4, 5)), merge="exact"), tmp_path)


@pytest.mark.parametrize("merge", ["exact", "as_published"])
def test_branches_are_merged_before_the_last_evaluation(merge, tmp_path):
    cfg = config(PLAIN, steps=((0, 1, 2, 3), (4, 5)), merge=merge)
    cfg["model"]["head"] = dict(type="TwoBranchMiBDeepLabHead", channels=4, hidden=4, rates=[1, 2, 3])
    cfg["loop"] |= dict(steps=1)
    loop = loop_of(cfg, tmp_path)
    loop.fit()
    (pair,) = loop.raw_model.head.branches()
    is_equal = torch.equal(pair.first[0].weight, pair.second[0].weight)
    assert is_equal == (merge == "exact") and not pair.first_norm.running_mean.any()


STAR = [
    dict(type="ReplayBCE", pos_weight=2.0),
    dict(type="PseudoRegionMSE", weight=5.0),
    dict(type="PrototypeContrast", weight=0.05),
]


def star(**runner) -> dict:
    """Three steps without an output for the background; new outputs learn ten times as fast."""
    cfg = replaying(STAR, init="random", evaluation_mode=True, convention="csseg", **runner)
    cfg["model"] |= dict(type="GrowingSegmentor", readout="implicit")
    cfg["losses"] = [dict(type="NewClassBCE", on="logits", target="mask", pos_weight=2.0)]
    rows = [dict(match=r"^head", lr=2.0), dict(match=r"classifier\.steps\.{new}\.", lr=10.0)]
    cfg["runner"]["later"] = dict(optimizer=dict(groups=rows))
    return cfg


@pytest.mark.parametrize("replay", ["lengths", "directions", "inverted"])
def test_star_replays_old_classes_and_resumes_bit_for_bit(replay, tmp_path, monkeypatch):
    monkeypatch.setattr(inverted_classifier, "STEPS", 20)

    class Kill(Record):
        def after_step(self, loop, terms):
            super().after_step(loop, terms)
            if (loop.stage_number, loop.step) == (2, 2):
                raise KeyboardInterrupt

    record = Kill()
    loop = loop_of(star(replay=replay), tmp_path, record)
    with pytest.raises(KeyboardInterrupt):
        loop.fit()
    assert set(record.losses[-1]) == {"ReplayBCE", "PseudoRegionMSE", "PrototypeContrast"}
    assert all(np.isfinite(value) for losses in record.losses for value in losses.values())
    rates = {group["lr"] / min(g["lr"] for g in loop.optimizer.param_groups) for group in loop.optimizer.param_groups}
    assert sorted(round(rate) for rate in rates) == [1, 2, 20]
    old, new = loop.runner.kept.old, loop.runner.kept.seen
    assert len(old.counts) == 5 and len(new) == 5 and new.sum() > 0
    names = [name for name, p in loop.raw_model.named_parameters() if p.requires_grad]
    assert names and not any("first.1" in name or "second.1" in name for name in names)
    if replay == "inverted":  # nothing but counts is stored from step to step
        stored = statistics_of(tmp_path, 1)
        assert stored["counts"].any() and not any(stored[name].any() for name in stored if name != "counts")
        torch.testing.assert_close(old.prototypes.norm(dim=1), torch.ones(4))
    ends = []
    for state in (checkpoint.read(tmp_path / "step2" / "last.pt"), None):
        again = loop_of(star(replay=replay), tmp_path, stage=2)
        if state is not None:
            assert "seen" in state["runner"]["replay"]
            again.load_state_dict(state, "last.pt")
        again.fit()
        ends.append(again.raw_model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
