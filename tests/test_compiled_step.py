"""loop.compile: the model and each loss that makes one graph are compiled, and the others say why not."""

from unittest import mock

import pytest
import torch
from torch._dynamo.utils import counters

from segkit.api import build_runner
from segkit.engine.hooks import standard_hooks
from segkit.engine.loop import Loop
from segkit.registry import LOSSES, build
from tests.losses.cases import CASES

B, C, H, W, D = 2, 5, 16, 12, 8
K = 3
SIZE = (H // 4, W // 4)


def maps(channels: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.randn(B, channels, *size, generator=torch.Generator().manual_seed(channels))


def labels(below: int = C) -> torch.Tensor:
    return torch.randint(0, below, (B, H, W), generator=torch.Generator().manual_seed(7))


OTHERS = {
    "AtPoints": ({"loss": dict(type="CrossEntropy")}, lambda: (maps(C)[..., 0], torch.rand(B, SIZE[0], 2), labels())),
    "ChannelCube": ({}, lambda: (maps(C), maps(K), maps(D), maps(D) + 1)),
    "ClassSimilarityKD": ({}, lambda: (maps(C), maps(K), maps(D), torch.randn(K, D), labels())),
    "OnCoarseLabels": ({"loss": dict(type="CrossEntropy")}, lambda: (maps(C), labels())),
    "PrototypeContrast": ({}, lambda: (maps(D), torch.randn(K, D), maps(C), labels())),
    "PseudoRegionMSE": ({}, lambda: (maps(D), maps(D) + 1, maps(K), labels())),
    "ReplayBCE": ({}, lambda: (maps(C, (H, W)), torch.randn(9, 2), torch.randn(4, 2), torch.rand(2), labels())),
    "SegFixLoss": ({}, lambda: (maps(2), maps(8), labels(2), 360 * torch.rand(B, H, W) - 180)),
    "UncertaintyContrast": ({}, lambda: (maps(D), maps(D) + 1, maps(K), labels())),
    "UnknownContrast": ({}, lambda: (maps(K),)),
}
"""Arguments and inputs of losses that tests/losses/test_contract.py does not build."""


def test_every_loss_makes_one_graph_or_says_why_not():
    reasons = {name: LOSSES.get(name).no_compile for name in LOSSES.names()}
    assert {name for name, reason in reasons.items() if not reason} == {case.name for case in CASES} | set(OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_one_graph(name):
    arguments, make = OTHERS[name]
    inputs = make()
    loss = build(dict(type=name, **arguments), LOSSES, "losses.0")
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=False)
    found = []
    for called in (loss, compiled):
        leaves = [value.clone().requires_grad_(value.is_floating_point()) for value in inputs]
        value = called(*leaves)
        total = sum(value.values()) if isinstance(value, dict) else value
        trained = [leaf for leaf in leaves if leaf.requires_grad]
        gradients = torch.autograd.grad(total, trained, allow_unused=True, materialize_grads=True)
        assert any(gradient.any() for gradient in gradients)
        found.append((total, *gradients))
    torch.testing.assert_close(*found)


def compiled_run(cfg: dict, folder) -> tuple[int, int]:
    """Trains with loop.compile, graphs being run as they are -> graphs and the breaks between them."""
    real = torch.compile
    cfg["loop"] = {**cfg["loop"], "compile": True}
    torch._dynamo.reset()
    counters.clear()
    with mock.patch("torch.compile", lambda *args, **kwargs: real(*args, **{**kwargs, "backend": "eager"})):
        Loop(cfg, build_runner(cfg), work_dir=folder, device=torch.device("cpu"), hooks=standard_hooks()).fit()
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def semantic() -> dict:
    from tests.test_sharding import VIT, config

    return config(VIT, "off")


def clicks() -> dict:
    from tests.interactive.test_click_training import sections

    return sections()


def class_steps() -> dict:
    from tests.incremental.test_step_runs import config

    return config(steps=((0, 1, 2, 3), (4, 5)))


def instances() -> dict:
    from tests.instances.test_box_runner import sections

    return sections("Mask2FormerMasks")


@pytest.mark.parametrize(("config", "losses"), [(semantic, 1), (clicks, 1), (class_steps, 1), (instances, 0)])
def test_the_graphs_of_a_step_do_not_break(tmp_path, config, losses):
    """The model's graph, and one for each loss but those of objects, which stay as they are."""
    graphs, breaks = compiled_run(config(), tmp_path)
    assert breaks == 0 and graphs >= 1 + losses


def test_losses_from_outside_stay_as_they_are():
    from segkit.criterion import Criterion, Row
    from segkit.settings import RowSettings

    class Own(torch.nn.Module):
        def forward(self, logits):
            return logits.sum()

    own = Own()
    rows = [Row(own, RowSettings(type="Own"))]
    Criterion(rows).compile_losses()
    assert own._compiled_call_impl is None
