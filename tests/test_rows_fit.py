"""Losses and heads that do not belong together are refused before the first step."""

import pytest
import torch
from torch import nn

from segkit import api
from segkit.cli.main import main
from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.engine.check_rows import check_gradients, check_rows
from segkit.readers.python_config import dump
from segkit.registry import LOSSES, ConfigError, build
from tests.test_configs import WHOLE
from tests.tiny import TinyHead, sections

SOFTMAX = {
    "CrossEntropy": "use BinaryCrossEntropy, or model.num_classes = 2",
    "Focal": "use BinaryFocal or SigmoidFocal",
    "OHEM": r"use OHEM with loss=dict\(type='BinaryCrossEntropy'\)",
    "LovaszSoftmax": "use LovaszHinge",
    "ImageWeightedCrossEntropy": "use BinaryCrossEntropy",
    "DualTask": "use BinaryCrossEntropy",
    "ProbabilityDualTask": "use BinaryCrossEntropy",
    "RMI": "use BinaryCrossEntropy",
    "Dice": "use Dice with activation='sigmoid'",
    "Jaccard": "use Jaccard with activation='sigmoid'",
    "Tversky": "use Tversky with activation='sigmoid'",
    "FocalTversky": "use FocalTversky with activation='sigmoid'",
}
"""Losses that a model of one channel cannot train with, and what is named instead."""


@pytest.mark.parametrize("highest", [0, 1])
@pytest.mark.parametrize("name", SOFTMAX)
def test_a_softmax_over_one_channel_is_refused_in_python(name, highest):
    logits, mask = torch.randn(1, 1, 8, 8, requires_grad=True), torch.randint(0, highest + 1, (1, 8, 8))
    criterion = build_criterion([dict(type=name, on="logits", target="mask")])
    with pytest.raises(ConfigError, match=r"one ch|one class"):
        criterion({"logits": logits}, {"mask": mask}, 0)


@pytest.mark.parametrize("name", SOFTMAX)
def test_a_softmax_over_one_channel_is_refused_before_the_start(name):
    cfg = sections()
    cfg["model"]["num_classes"] = 1
    cfg["losses"] = [dict(type=name, on="logits", target="mask"), dict(type="LovaszHinge", on="aux0.logits")]
    with pytest.raises(ConfigError, match=rf"losses\.0 = {name}: the softmax over the one channel.*{SOFTMAX[name]}"):
        api.check_data(cfg)
    inner = dict(type="OnCoarseLabels", on="aux0.logits", at="native", loss=dict(type=name))
    cfg["losses"] = [dict(type="BinaryCrossEntropy", on="logits", target="mask"), inner]
    with pytest.raises(ConfigError, match=rf"losses\.1\.loss = {name}: "):
        check_rows(cfg)


@pytest.mark.parametrize("name", ["BinaryCrossEntropy", "LovaszHinge", "SigmoidFocal", "MCC", "Combo", "SoftIoU"])
def test_losses_of_one_channel_still_train_it(name):
    logits, mask = torch.randn(1, 1, 8, 8, requires_grad=True), torch.randint(0, 2, (1, 8, 8))
    (loss,) = build_criterion([dict(type=name, on="logits", target="mask")])(
        {"logits": logits}, {"mask": mask}, 0
    ).values()
    assert torch.autograd.grad(loss, logits)[0].abs().sum() > 0
    cfg = sections()
    cfg["model"] |= dict(num_classes=1, aux=[])
    cfg["losses"] = [
        dict(type=name, on="logits", target="mask"),
        dict(type="OHEM", loss=dict(type="BinaryCrossEntropy")),
    ]
    check_rows(cfg)


def test_every_loss_that_is_constant_on_one_channel_says_so():
    """Whatever loss of logits and labels is added: on one channel of labels 0 it has a gradient or is refused."""
    known_zero = {"BoundaryBCE", "BoundaryCE", "SoftIoU"}  # no edge, no outline and no object in this mask
    for name in LOSSES.names():
        try:
            loss = build(dict(type=name), LOSSES, "losses.0")
            logits, mask = torch.randn(1, 1, 16, 16, requires_grad=True), torch.zeros(1, 16, 16, dtype=torch.long)
            value = loss(logits, mask)
        except (ConfigError, TypeError, ValueError):
            continue  # refused, or of other inputs
        total = sum(value.values()) if isinstance(value, dict) else value
        gradient = torch.autograd.grad(total, logits)[0].abs().sum()
        assert gradient > 0 or name in known_zero, name


def test_float64_logits_are_resized_in_float64():
    logits = torch.randn(1, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.randint(0, 3, (1, 17, 17))
    (loss,) = build_criterion([dict(type="CrossEntropy", on="logits", target="mask")])(
        {"logits": logits}, {"mask": mask}, 0
    ).values()
    large = nn.functional.interpolate(logits, (17, 17), mode="bilinear", align_corners=False)
    assert loss.dtype == torch.float64
    assert torch.equal(loss, nn.functional.cross_entropy(large, mask, reduction="sum") / 17**2)


def test_a_head_that_no_row_reads_is_named_before_the_start(tmp_path, capsys):
    cfg = sections()
    cfg["losses"] = cfg["losses"][:1]
    file = tmp_path / "config.py"
    file.write_text(dump(cfg))
    for words in (["--check"], ["--work-dir", str(tmp_path / "run"), "--device", "cpu"]):
        assert main(["train", str(file), *words]) == 2
        error = capsys.readouterr().err
        assert "model.aux.0 = tests.tiny:TinyHead: no row of losses reads its outputs ('aux0.logits')" in error
        assert "add a row to losses that reads it, or remove the head" in error


def test_rows_of_later_class_steps_are_looked_at_by_themselves():
    cfg = sections()
    cfg["runner"] = dict(type="Incremental", steps=[[0, 1, 2, 3], [4, 5]], losses=[dict(type="UnbiasedCE")])
    with pytest.raises(ConfigError, match=r"model\.aux\.0 = .*: no row of runner\.losses reads its outputs"):
        check_rows(cfg)
    cfg["runner"]["losses"].append(dict(type="CrossEntropy", on="aux*.logits"))
    check_rows(cfg)


@pytest.mark.parametrize("on", ["aux0.logits", "aux*.logits", "*.logits", "aux?.logits", "*"])
def test_names_and_patterns_read_a_head(on):
    cfg = sections()
    cfg["losses"][1]["on"] = on
    check_rows(cfg)
    cfg["model"]["aux"] *= 2
    if on == "aux0.logits":
        with pytest.raises(ConfigError, match=r"model\.aux\.1"):
            check_rows(cfg)
    else:
        check_rows(cfg)


def test_no_config_of_segkit_has_such_rows():
    read = [cfg for cfg in map(load_config, WHOLE) if "model" in cfg and "losses" in cfg]
    assert len(read) > 200
    for cfg in read:
        check_rows(cfg)


class TwoOutputs(TinyHead):
    """A head with a second branch, whose weights a row may leave out."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__(in_channels, num_classes)
        self.edge = nn.Conv2d(in_channels[-1], 1, 1)

    def forward(self, features):
        return {"logits": self.classifier(features[-1]), "edge": self.edge(features[-1])}


def test_a_main_head_without_a_row_is_named_before_weights_change(tmp_path):
    """Names alone do not tell it, gradients do: the first step ends before the optimizer's."""
    cfg = sections()
    cfg["losses"] = cfg["losses"][1:]
    with pytest.raises(ConfigError, match=r"model\.head = TinyHead: none of its weights gets a gradient"):
        api.train(cfg, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run/last.pt").exists()


def test_a_branch_without_a_row_trains_on_one_process_and_is_named_on_several(tmp_path, monkeypatch):
    cfg = sections()
    cfg["model"]["head"] = dict(type="tests.test_rows_fit:TwoOutputs")
    model = api.train(cfg, tmp_path / "run", device="cpu").model
    model.train().requires_grad_(True)
    model.zero_grad(set_to_none=True)
    outputs = model(torch.zeros(2, 3, 8, 8))
    (outputs["logits"].sum() + outputs["aux0.logits"].sum()).backward()
    check_gradients(model)
    monkeypatch.setattr("segkit.dist.is_distributed", lambda: True)
    with pytest.raises(ConfigError, match=r"model\.head\.edge: 2 weights get no gradient .*head\.edge\.weight"):
        check_gradients(model)
