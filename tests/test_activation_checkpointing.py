"""Activations that are computed again: the same numbers, batch statistics and random masks included, in less memory."""

import pytest
import torch

from segkit.models.blocks import recompute
from segkit.registry import BACKBONES, ConfigError, build
from tests.test_loop import loop_of
from tests.tiny import sections

ENCODERS = [
    dict(type="Timm", name="resnet10t"),
    dict(type="Timm", name="vit_tiny_patch16_224", img_size=(32, 32), drop_path_rate=0.3, options=dict(depth=4)),
    dict(type="MSCAN", channels=(8, 16, 16, 16), depths=(1, 1, 1, 1)),
    dict(type="HRNet", width=4),
]


def one_step(cfg: dict, again: bool) -> tuple[dict, dict, int]:
    """Gradients and buffers after a training step, and the values that the graph kept."""
    torch.manual_seed(0)
    net = build(cfg, BACKBONES, "backbone").train()
    if again:
        assert net.blocks()
        recompute(net.blocks().values())
        recompute(net.blocks().values())  # twice is once
    kept: list[int] = []
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
        loss = sum(x.square().mean() for x in net(torch.rand(2, 3, 64, 64)))
    counted = sum(kept)
    loss.backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return gradients, dict(net.named_buffers()), counted


@pytest.mark.parametrize("cfg", ENCODERS, ids=lambda cfg: cfg.get("name", cfg["type"]))
def test_numbers_are_equal_and_less_is_kept(cfg):
    gradients, buffers, kept = one_step(cfg, again=False)
    others, counted, less = one_step(cfg, again=True)
    assert gradients.keys() == others.keys() and less < 0.8 * kept
    assert max(float((gradients[key] - others[key]).abs().max()) for key in gradients) <= 1e-6
    assert buffers.keys() == counted.keys()
    assert all(torch.equal(buffers[key], counted[key]) for key in buffers), "a batch is counted once"


def test_names_and_evaluation_stay():
    net = build(ENCODERS[1], BACKBONES, "backbone").eval()
    names, x = list(net.state_dict()), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = net(x)
        recompute(net.blocks().values())
        assert all(torch.equal(a, b) for a, b in zip(before, net(x))) and list(net.state_dict()) == names


def losses(folder, again: bool) -> list[dict]:
    from tests.test_loop import Record

    cfg = sections()
    cfg["model"]["backbone"] = dict(type="PlainEncoder", channels=(4, 8))
    cfg["loop"] |= dict(steps=3, checkpoint_activations=again, ema=0.9)
    record = Record()
    loop_of(cfg, folder, (record,)).fit()
    return record.losses


def test_a_training_has_the_same_losses(tmp_path):
    plain, again = losses(tmp_path / "a", False), losses(tmp_path / "b", True)
    assert plain == [pytest.approx(terms, abs=1e-6) for terms in again]


def test_an_encoder_without_known_blocks_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"loop.checkpoint_activations = True: .*TinyBackbone"):
        loop_of(sections(checkpoint_activations=True), tmp_path)
