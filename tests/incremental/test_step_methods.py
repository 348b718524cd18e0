"""Runs of frozen, fused and replayed class steps: what stays, what moves, what is remembered, what is refused."""

import json

import cv2
import numpy as np
import pytest
import torch

from segkit.api import build_runner, evaluate, load_model
from segkit.data.incremental.class_steps import ClassSteps, centre
from segkit.data.incremental.replay import HalfReplay, Replay
from segkit.data.samplers import Shuffle
from segkit.data.semantic.shapes import Shapes
from segkit.engine import checkpoint
from segkit.engine.setup import DataSets
from segkit.export.graph import MapGraph, MapRules
from segkit.files import DataError
from segkit.models.growing_segmentor import sizes_in
from segkit.registry import ConfigError, build_model
from segkit.runners.incremental.frozen import checked_patterns
from tests.incremental.test_step_runs import MIB, PLAIN, config, loop_of
from tests.test_loop import Record

STEPS = ((0, 1, 2), (3, 4), (5,))
NEW = r"head\.classifier\.steps\.{new}\."


def weights(folder, step: int) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / f"step{step}" / "last.pt")["model"]


def test_reserved_outputs_and_a_frozen_network_train_the_classifier_alone(tmp_path):
    record = Record()
    loop = loop_of(config(PLAIN, init="reserved", train_only=[NEW]), tmp_path, record)
    loop.fit()
    before, after = weights(tmp_path, 1), weights(tmp_path, 2)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"head.classifier.steps.2.weight", "head.classifier.steps.2.bias"}
    assert sum(p.numel() for p in loop.raw_model.parameters() if p.requires_grad) == 9
    # of three steps the outputs of all are there from the first on, and predictions have those that are learned
    assert sum(sizes_in(weights(tmp_path, 0))) == 6
    first = load_model(None, tmp_path / "step0" / "last.pt", trust=True)
    assert first.num_classes == 3 and first.num_reserved == 3
    assert first(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))["logits"].shape[1] == 3
    assert loop.raw_model.num_classes == 6 and not loop.raw_model.num_reserved


def test_frozen_modules_stay_in_evaluation_mode_while_the_others_train(tmp_path):
    loop = loop_of(config(PLAIN, init="random", train_only=[NEW]), tmp_path)
    loop.fit()
    model = loop.raw_model.train()
    assert model.training and not model.backbone.training and model.head.classifier.steps[2].training


def test_evaluation_mode_leaves_normalizations_alone_and_trains_convolutions(tmp_path):
    loop_of(config(MIB, steps=((0, 1, 2, 3), (4, 5)), evaluation_mode=True), tmp_path).fit()
    before, after = weights(tmp_path, 0), weights(tmp_path, 1)
    assert all(torch.equal(before[n], after[n]) for n in before if "first.1" in n or "second.1" in n)
    assert not torch.equal(before["backbone.first.0.weight"], after["backbone.first.0.weight"])


def test_fused_weights_are_the_formula_and_are_scored_and_taught(tmp_path):
    class Unfused(Record):
        def after_step(self, loop, terms):
            if loop.step < loop.total_steps:
                self.seen = {name: value.clone() for name, value in loop.raw_model.state_dict().items()}

    cfg = config(MIB, steps=((0, 1, 2, 3), (4, 5)), fuse="endpoints")
    cfg["optimizer"]["lr"] = 0.0  # in the last iteration nothing moves but what fuses
    record = Unfused()
    cfg["runner"]["later"] = dict(optimizer=dict(lr=0.0))
    loop = loop_of(cfg, tmp_path, record)
    loop.fit()
    share = (2 / (4 + 2)) ** 0.5
    old, new = weights(tmp_path, 0), weights(tmp_path, 1)
    bias = old["head.classifier.bias"][0]
    lowered = record.seen["head.classifier.steps.0.bias"][0]
    fused = new["head.classifier.steps.0.bias"][0]
    assert lowered.isclose(bias - torch.log(torch.tensor(3.0))) and fused.isclose((1 - share) * bias + share * lowered)
    assert torch.equal(new["head.classifier.steps.1.bias"], record.seen["head.classifier.steps.1.bias"])
    assert int(new["backbone.first.1.num_batches_tracked"]) > int(old["backbone.first.1.num_batches_tracked"])


def test_a_run_broken_off_after_the_fusion_does_not_fuse_again(tmp_path):
    cfg = config(MIB, steps=((0, 1, 2, 3), (4, 5)), fuse="endpoints")
    loop = loop_of(cfg, tmp_path)
    loop.fit()
    state = checkpoint.read(tmp_path / "step1" / "last.pt")
    again = loop_of(cfg, tmp_path, stage=1)
    again.load_state_dict(state, "last.pt")
    again.fit()
    assert all(torch.equal(value, state["model"][name]) for name, value in again.raw_model.state_dict().items())


DKD = [
    dict(type="NewClassBCE", skip=1),
    dict(type="OldClassBCE", skip=1, weight=5.0),
    dict(type="AuxiliaryBCE"),
]
SSUL = [dict(type="PseudoLabelBCE", threshold=0.2)]


def ssul_config(**runner) -> dict:
    cfg = config(
        SSUL,
        init="unknown",
        train_only=[r"classifier\.(unknown|background)\.", r"classifier\.steps\.{new}\."],
        evaluation_mode=True,
        convention="ssul",
        **runner,
    )
    cfg["losses"] = [dict(type="UnknownBCE")]
    cfg["model"] |= dict(
        type="GrowingSegmentor", readout="unknown", head=dict(type="SSULHead", channels=4, rates=(1,), dropout=0.0)
    )
    return cfg


def test_ssul_with_memory_trains_its_heads_and_remembers(tmp_path):
    cfg = ssul_config(memory=dict(size=4, mix="half"))
    record = Record()
    loop = loop_of(cfg, tmp_path, record)
    loop.fit()
    before, after = weights(tmp_path, 1), weights(tmp_path, 2)
    parts = {name.split(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert parts <= {"unknown", "background"} and "unknown" in parts
    memories = [json.loads((tmp_path / f"step{i}" / "memory.json").read_text()) for i in (0, 1)]
    assert all(0 < len(memory["images"]) <= 4 for memory in memories)
    assert not (tmp_path / "step2" / "memory.json").exists(), "nobody replays after the last step"
    assert isinstance(loop.dataset, Replay) and isinstance(loop.sampler, HalfReplay)
    model = load_model(None, tmp_path / "step2" / "last.pt", trust=True)
    assert model.num_classes == 6 and model.gives_scores
    # an epoch is as long as without memory
    cfg["loop"] |= dict(steps=0, epochs=6)
    long = loop_of(cfg, tmp_path, stage=2)
    new = len(long.dataset.dataset)
    assert long.total_steps == -(-6 * new // cfg["train"]["batch_size"]) < 6 * len(long.dataset)
    # memory smaller than asked: the whole data set has 12 images
    again = loop_of(ssul_config(memory=dict(size=1000)), tmp_path / "b")
    again.fit()
    kept = json.loads((tmp_path / "b/step0/memory.json").read_text())["images"]
    assert 0 < len(kept) <= 12


def test_dkd_learns_without_an_output_for_the_background(tmp_path):
    cfg = config(DKD, init="auxiliary", evaluation_mode=True, memory=dict(size=3, rule="greedy", threshold=0.9))
    cfg["losses"] = [dict(type="NewClassBCE", on="logits", skip=1), dict(type="AuxiliaryBCE")]
    cfg["model"] |= dict(type="GrowingSegmentor", readout="auxiliary", reasoning=True)
    with pytest.raises(ConfigError, match="reasoning"):
        loop_of(cfg, tmp_path / "a").fit()
    cfg["model"]["head"] = dict(type="DeepLabV3Head", channels=4, rates=(1,), dropout=0.0)
    record = Record()
    loop = loop_of(cfg, tmp_path, record)
    loop.fit()
    assert set(record.losses[-1]) == {"NewClassBCE", "OldClassBCE", "auxiliary.AuxiliaryBCE"}
    assert loop.raw_model.num_classes == 6
    whole = loop.dataset.whole
    present = [sum(k in whole.mask(i) for i in range(len(whole))) for k in range(1, 5)]
    counts = [json.loads((tmp_path / f"step{i}/memory.json").read_text())["counts"] for i in (0, 1)]
    assert counts == [present[:2], present], "images that show a class, each class in its own step"


def shapes(step: int, part: str = "train", **own) -> ClassSteps:
    return ClassSteps(Shapes(size=(32, 32), length=12), steps=[list(s) for s in STEPS], step=step, part=part, **own)


def test_remembered_images_have_the_labels_of_all_classes_as_outputs(tmp_path):
    whole = Shapes(size=(32, 32), length=12)
    content = {"step": 1, "images": [{"id": name, "classes": [1]} for name in whole.ids[:5]]}
    (tmp_path / "memory.json").write_text(json.dumps(content))
    for step in (1, 2):
        new = shapes(step)
        both = Replay(new, str(tmp_path / "memory.json"))
        assert len(both) == len(new) + 5 and (both.mask(0) == new.mask(0)).all()
        for i in range(5):
            mask, truth = both.mask(len(new) + i), whole.mask(i)
            # the classes come in their own order here: class k of all that are seen is output k
            last = 4 if step == 1 else 5
            assert (mask == np.where(truth <= last, truth, 0)).all()
            assert (both.sample(len(new) + i, np.random.default_rng(0))["mask"] == mask).all()
    sampler = HalfReplay(both, 3)
    assert sampler.epoch == len(new) and Shuffle(both).epoch == len(both)
    drawn = [sampler.index(position) for position in range(40)]
    assert all(index < len(new) for index in drawn[::2]) and all(index >= len(new) for index in drawn[1::2])
    assert {index - len(new) for index in drawn[1::2]} == set(range(5))


@pytest.mark.parametrize("text, said", [(None, "missing"), ("{}", "no list"), ('{"images": [{"id": 3}]}', "no list")])
def test_a_memory_that_cannot_be_read_is_said(text, said, tmp_path):
    file = tmp_path / "memory.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=said):
        Replay(shapes(1), str(file))
    file.write_text('{"images": [{"id": "nowhere", "classes": []}]}')
    with pytest.raises(DataError, match="nowhere"):
        Replay(shapes(1), str(file))


REFUSED = {
    "finds no parameter in step 1": dict(train_only=["classifer"]),
    "regular expression": dict(train_only=["(head"]),
    "shares the probability": dict(init="balanced", readout="implicit"),
    "auxiliary": dict(init="auxiliary"),
    "head for unknown objects": dict(init="unknown"),
    "runner.memory.size": dict(memory=dict(rule="greedy")),
    "runner.memory.rule": dict(memory=dict(size=3, rule="best")),
    "runner.memory.sise": dict(memory=dict(sise=3)),
    "patience": dict(fuse="endpoints", patience=2),
    "penalizes": dict(init="reserved", regulariser=dict(type="EWC")),
    "older weights": dict(cache_gb=1.0),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_does_not_go_together_is_refused_by_name(said, tmp_path):
    own = dict(REFUSED[said])
    patience, readout = own.pop("patience", 0), own.pop("readout", None)
    with pytest.raises(ConfigError, match=said):
        cfg = config(PLAIN, **{"init": "random", **own})
        cfg["loop"] |= dict(patience=patience, eval_every=1)
        if readout:
            cfg["model"] |= dict(type="GrowingSegmentor", readout=readout)
        loop_of(cfg, tmp_path).fit()


def test_patterns_may_name_steps():
    assert checked_patterns("a") == ("a",) and checked_patterns([NEW]) == (NEW,)


def test_a_cached_step_trains_the_same_classifier(tmp_path):
    def run(folder, **own):
        cfg = config(PLAIN, init="random", train_only=[NEW], **own)
        cfg["model"]["head"] = dict(type="DeepLabV3Head", channels=4, rates=(1,), dropout=0.5)
        cfg["train"]["transforms"] = []
        loop_of(cfg, folder).fit()
        return weights(folder, 2)

    plain, cached = run(tmp_path / "a"), run(tmp_path / "b", cache_gb=0.1)
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-5, atol=1e-6)
    files = list((tmp_path / "b/embeddings").rglob("*.npy"))
    assert len({file.parent for file in files}) == 1, "the frozen weights are the same in both steps"
    assert 0 < len(files) <= 12


def test_one_checkpoint_is_scored_under_each_protocol(tmp_path):
    loop_of(config(PLAIN, init="random"), tmp_path).fit()
    names = ["official", "csseg", "ssul", "cropped"]
    scores = evaluate(tmp_path / "step1/last.pt", protocols=names, trust=True, device="cpu")
    assert list(scores) == names
    assert scores["official"] != scores["csseg"]
    with pytest.raises(ConfigError, match="did you mean 'official'"):
        evaluate(tmp_path / "step1/last.pt", protocols=["oficial"], trust=True, device="cpu")


def test_test_images_and_labels_of_the_protocols():
    whole = Shapes(size=(32, 32), length=12)
    assert len(shapes(0, "test", convention="ssul")) == len(whole)
    assert len(shapes(0, "test")) <= len(whole)
    cropped = shapes(1, "test", convention="cropped")
    sample = cropped.sample(0, np.random.default_rng(0))
    assert sample["image"].shape == (512, 512, 3) and sample["mask"].shape == (512, 512)
    assert shapes(1, "train", convention="cropped").image(0).shape == (32, 32, 3)
    picture = np.arange(6 * 10, dtype=np.uint8).reshape(6, 10)
    assert (centre(picture, 6, are_labels=True) == picture[:, 2:8]).all()
    assert (centre(picture[..., None].repeat(3, 2), 6) == picture[:, 2:8, None]).all()


def test_stages_fill_the_numbers_of_steps_into_groups():
    later = dict(optimizer=dict(groups=[dict(match=r"steps\.{new}\.", lr=10.0)]))
    cfg = config(PLAIN, init="random", later=later)
    stages = build_runner(cfg).stages(cfg, DataSets())
    assert [s.overrides["optimizer"]["groups"][0]["match"] for s in stages[1:]] == [
        r"steps\.(?:1|2)\.",
        r"steps\.(?:2)\.",
    ]


def test_background_that_stands_out_is_unknown_in_training_alone(tmp_path):
    whole = Shapes(size=(32, 32), length=12)
    half = np.zeros((32, 32), np.uint8)
    half[:16] = 200
    for name in whole.ids:
        cv2.imwrite(str(tmp_path / f"{name}.png"), half)
    data = shapes(1, saliency=str(tmp_path))
    plain, rng = data.mask(0), np.random.default_rng(0)
    mask = data.sample(0, rng)["mask"]
    assert (mask == np.where((plain == 0) & (half > 0), 254, plain)).all() and (mask == 254).any()
    content = {"step": 0, "images": [{"id": name, "classes": [1]} for name in whole.ids[:2]]}
    (tmp_path / "memory.json").write_text(json.dumps(content))
    both = Replay(data, str(tmp_path / "memory.json"))
    plain, mask = both.mask(len(data)), both.sample(len(data), rng)["mask"]
    assert (mask == np.where((plain == 0) & (half > 0), 254, plain)).all() and (mask == 254).any(), (
        "remembered ones, too"
    )
    tested = shapes(1, "test", saliency=str(tmp_path))
    assert not (tested.sample(0, rng)["mask"] == 254).any()
    for name in whole.ids:
        cv2.imwrite(str(tmp_path / f"{name}.png"), half[:, :30])
    with pytest.raises(DataError, match="30x32 pixels for a mask of 32x32"):
        data.sample(0, rng)
    (tmp_path / f"{data.ids[0]}.png").unlink()
    with pytest.raises(DataError, match="png"):
        data.sample(0, rng)


@pytest.mark.parametrize("readout, outputs", [("implicit", 5), ("auxiliary", 6), ("unknown", 7)])
def test_an_exported_graph_predicts_by_the_readout(readout, outputs):
    torch.manual_seed(0)
    head = dict(type="SSULHead", channels=4, rates=(1,)) if readout == "unknown" else dict(type="tests.tiny:TinyHead")
    backbone = dict(type="tests.tiny:TinyBackbone")
    cfg = dict(type="GrowingSegmentor", num_classes=outputs, backbone=backbone, head=head, readout=readout)
    model = build_model(cfg).eval()
    assert model.num_classes == 6 and model.reads_out
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        maps = model.maps(model(image), (32, 32))
        graph = MapGraph(model, MapRules("labels", True, False, 0.5, 1))
        assert maps.shape[1] == 6 and torch.equal(graph(image)[0].long(), maps.argmax(1)[0])
