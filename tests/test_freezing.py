"""optimizer.freeze: what it names stays as it is, to the last bit, and the rest trains."""

import pytest
import torch
from torch import nn

from segkit.engine import checkpoint
from segkit.engine.freezing import freeze
from segkit.engine.hooks import standard_hooks
from segkit.models.bases import Network
from segkit.registry import ConfigError, build_model
from segkit.schema import check
from tests.test_loop import loop_of
from tests.tiny import sections


def frozen(value, **loop) -> dict:
    cfg = sections(**loop)
    cfg["optimizer"]["freeze"] = value
    return cfg


@pytest.mark.parametrize(
    "pattern, is_frozen",
    [
        ("encoder", lambda name: name.startswith("backbone.")),
        ("backbone", lambda name: name.startswith("backbone.")),
        ("backbone.first", lambda name: name.startswith("backbone.first.")),
        (["backbone.second", "head"], lambda name: name.startswith(("backbone.second.", "head."))),
    ],
)
def test_what_is_frozen_keeps_every_bit_and_the_rest_changes(pattern, is_frozen, tmp_path):
    cfg = frozen(pattern, eval_every=2, ema=0.9)
    loop = loop_of(cfg, tmp_path, standard_hooks())
    before = {name: value.clone() for name, value in loop.raw_model.state_dict().items()}
    loop.fit()
    after = loop.raw_model.state_dict()
    # running statistics of batch norms are in it: they change where the part trains
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(is_frozen(name) for name in changed)
    trained = {name for name, _ in loop.raw_model.named_parameters() if not is_frozen(name)}
    assert trained <= changed
    held = sum(len(group["params"]) for group in loop.optimizer.param_groups)
    assert held == len(trained)
    # the checkpoint is that of any training
    saved = checkpoint.read(tmp_path / "last.pt")["model"]
    assert saved.keys() == build_model(sections()["model"]).state_dict().keys()


def test_frozen_modules_stay_in_evaluation_mode():
    model = build_model(sections()["model"]).train()
    freeze(model, ["backbone.first", "*.bias"])
    model.eval()
    assert model.train() is model and model.training
    assert not model.backbone.first[1].training and model.backbone.second[1].training
    assert not model.backbone.second[0].bias.requires_grad and model.backbone.second[0].weight.requires_grad
    assert model.frozen == ("backbone.first",)


def test_a_run_without_gradient_for_a_part_of_several_processes_is_right():
    """DistributedDataParallel looks at what requires a gradient, and check_gradients at the same."""
    model = build_model(sections()["model"]).train()
    freeze(model, "encoder")
    outputs = model(torch.rand(2, 3, 16, 16))
    sum(outputs[name].mean() for name in ("logits", "aux0.logits")).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.grad is None for p in model.backbone.parameters())


def test_an_encoder_of_that_name_goes_before_the_backbone():
    class Other(Network):
        def __init__(self):
            super().__init__()
            self.encoder, self.backbone = nn.Linear(1, 1), nn.Linear(1, 1)

    assert freeze(Other(), "encoder") == ["encoder.bias", "encoder.weight"]


@pytest.mark.parametrize(
    "pattern, sentence",
    [
        ("backbon.first", r"freeze = 'backbon.first': the model has no such part; did you mean 'backbone.first'\?"),
        ("encoder.second", r"did you mean 'backbone.second'\?"),
        ("zzz*", r"its parts are aux, aux.0, backbone, backbone.first, backbone.second, head, head.classifier"),
        ("*", r"freeze = '\*': nothing is left to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused_with_near_names(pattern, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        loop_of(frozen(pattern), tmp_path)


@pytest.mark.parametrize("value", [3, True, [1], ["a", 2]])
def test_the_value_is_checked_before_anything_is_built(value):
    with pytest.raises(ConfigError, match=r"optimizer.freeze"):
        check(frozen(value))


def test_another_freeze_is_refused_on_resume(tmp_path):
    first = loop_of(frozen("encoder", eval_every=0), tmp_path, standard_hooks())
    first.fit()
    state = checkpoint.read(tmp_path / "last.pt")
    with pytest.raises(ConfigError, match=r"optimizer.freeze 'encoder' -> "):
        loop_of(frozen("head"), tmp_path).load_state_dict(state, tmp_path / "last.pt")
