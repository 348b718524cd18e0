"""The classification branch: its outputs in every model, its targets, what is logged of weights, and resuming."""

import json

import pytest
import torch
from torch import nn

from segkit import api
from segkit.archs.presence import PresenceHead
from segkit.engine.check_rows import check_rows
from segkit.registry import ConfigError, build_model
from tests.tiny import sections

HEAD = dict(type="PresenceHead", dropout=0.0)
MODEL = dict(
    num_classes=3,
    backbone=dict(type="tests.tiny:TinyBackbone", dropout=0.0),
    head=dict(type="tests.test_hierarchical_segmentor:EmbeddingHead"),
    aux=[dict(type="tests.tiny:TinyHead"), HEAD],
)
KINDS = {
    "plain": {},
    "scales": dict(type="MultiScaleSegmentor", scales=(1.0, 0.5), merge="mean"),
    "chain": dict(type="HierarchicalSegmentor", attention_channels=4, train_scales=(0.5, 1.0), test_scales=(0.5, 1.0)),
}


def picture(height=32, width=40):
    return torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_predicts_presence_in_training_and_evaluation(kind):
    torch.manual_seed(0)
    model = build_model({**MODEL, **KINDS[kind]})
    x = picture()
    trained = model.train()(x)
    assert trained["presence"].shape == (2, 3) and not any(name.startswith("aux1.") for name in trained)
    assert any("aux0." in name for name in trained)
    with torch.no_grad():
        outputs = model.eval()(x)
    assert not any("aux" in name for name in outputs)
    if kind == "plain":
        head = model.aux[1]
        pooled = model.backbone(model.normalize(x))[-1].mean((2, 3))
        expected = pooled @ head.presence.weight.T + head.presence.bias
    else:
        expected = (outputs["scale0.presence"] + outputs["scale1.presence"]) / 2
    assert torch.allclose(outputs["presence"], expected, atol=1e-6)


def test_the_pool_of_the_branch():
    features = [torch.zeros(1, 2, 8, 8), torch.tensor([[[[1.0, 5.0], [2.0, 4.0]], [[-1.0, 0.0], [-3.0, 0.0]]]])]
    for pool, pooled in (("avg", [3.0, -1.0]), ("max", [5.0, 0.0])):
        head = PresenceHead((2, 2), 1, pool=pool, dropout=0.0)
        nn.init.ones_(head.presence.bias)
        head.presence.weight.data = torch.tensor([[1.0, 10.0]])
        assert head(features)["presence"].tolist() == [[pooled[0] + 10 * pooled[1] + 1]]


def test_dropout_is_of_training_alone():
    head = PresenceHead((4,), 2, dropout=0.9).eval()
    x = [torch.ones(1, 4, 3, 3)]
    assert torch.equal(head(x)["presence"], head(x)["presence"])
    assert any(not torch.equal(head.train()(x)["presence"], head(x)["presence"]) for _ in range(5))


def test_two_branches_are_refused():
    model = build_model({**MODEL, "aux": [HEAD, HEAD]})
    with pytest.raises(ConfigError, match=r"model.aux.1 = PresenceHead: predicts 'presence', and so does another head"):
        model(picture())


def with_branch():
    cfg = sections()
    cfg["model"]["aux"] = [HEAD]
    cfg["losses"] = [dict(type="CrossEntropy", on="logits"), dict(type="ClassPresence")]
    return cfg


def test_a_branch_without_a_loss_is_refused():
    cfg = with_branch()
    check_rows(cfg)
    del cfg["losses"][1]
    with pytest.raises(
        ConfigError, match=r"model.aux.0 = PresenceHead: no row of losses reads its outputs .'presence'"
    ):
        check_rows(cfg)


def records(folder):
    return [line for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines()) if "loss" in line]


@pytest.mark.parametrize("weighting", [dict(type="DWA", every=2), dict(type="Uncertainty")], ids=["dwa", "learned"])
def test_weights_are_logged_and_resumed(tmp_path, weighting):
    cfg = {**with_branch(), "weighting": weighting, "schedule": dict(type="Constant")}
    cfg["loop"] = dict(steps=8, save_every=5, log_every=1)
    api.train(cfg, tmp_path / "whole", device="cpu")
    lines = records(tmp_path / "whole")
    weights = [(line["weight.CrossEntropy"], line["weight.presence.ClassPresence"]) for line in lines]
    assert weights[-1] != (1.0, 1.0) and len(weights) == 8
    if weighting["type"] == "DWA":
        # two rounds of two steps are known at the fifth
        assert weights[:4] == [(1.0, 1.0)] * 4 and weights[4] != (1.0, 1.0)
        assert sum(weights[-1]) == pytest.approx(2)
    for line in lines:
        assert line["loss"] == pytest.approx(line["CrossEntropy"] + line["presence.ClassPresence"], rel=1e-5)
    api.train({**cfg, "loop": {**cfg["loop"], "steps": 5}}, tmp_path / "part", device="cpu")
    api.train(cfg, tmp_path / "part", device="cpu", resume=True)
    whole, part = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "part"))
    torch.testing.assert_close(part["criterion"], whole["criterion"], rtol=0, atol=0)
    torch.testing.assert_close(part["model"], whole["model"], rtol=0, atol=0)
    changed = {**cfg, "weighting": {"type": "Uncertainty" if weighting["type"] == "DWA" else "DWA"}}
    with pytest.raises(ConfigError, match=r"weighting.type .*it has learned or counted since the start"):
        api.train(changed, tmp_path / "part", device="cpu", resume=True)


@torch.no_grad()
def test_export_keeps_the_presence():
    model, x = build_model({**MODEL, "head": dict(type="tests.tiny:TinyHead")}).eval(), picture()
    exported = torch.export.export(model, (x,)).module()(x)
    assert torch.allclose(exported["presence"], model(x)["presence"], atol=1e-6)
