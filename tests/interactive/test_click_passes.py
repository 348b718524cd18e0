"""Training with several passes of a batch, each with its own loss and backward pass."""

import copy
import math

import numpy as np
import pytest
import torch

from segkit.api import build_runner
from segkit.criterion import build_criterion
from segkit.engine.loop import Loop
from segkit.models.layers import resize
from segkit.ops.interactive.next_click import append_clicks
from segkit.runners.interactive import runner as interactive
from segkit.runners.interactive.runner import Interactive
from tests.interactive.test_click_training import LOSSES, batch, sections
from tests.test_loop import CPU

NEW = [torch.tensor([[10.0, 12, 1], [20, 21, 0]]), torch.tensor([[11.0, 13, 1], [-1, -1, 1]])]
"""The clicks after the first and the second pass; of the second sample's prediction nothing is wrong then."""


def test_a_click_takes_the_first_empty_row_of_its_sign():
    clicks = torch.full((2, 4, 3), -1.0)
    clicks[0, 0] = torch.tensor([1.0, 1, 0])
    clicks[1] = torch.tensor([[1.0, 1, 0], [2, 2, 4], [3, 3, 1], [4, 4, 2]])
    added = append_clicks(clicks, torch.tensor([[7.0, 8, 1], [9, 9, 0]]))
    assert added[0].tolist() == [[1, 1, 0], [7, 8, 1], [-1, -1, -1], [-1, -1, -1]]
    # no row is empty: the last one of the sign makes room
    assert added[1].tolist() == [[1, 1, 0], [2, 2, 4], [3, 3, 1], [9, 9, 5]]
    negative = append_clicks(clicks[:1], torch.tensor([[5.0, 6, 0]]))
    assert negative[0].tolist() == [[1, 1, 0], [-1, -1, -1], [5, 6, 1], [-1, -1, -1]]
    assert torch.equal(append_clicks(clicks, torch.tensor([[-1.0, -1, 1], [-1, -1, 0]])), clicks)


def test_a_batch_draws_one_to_so_many_passes():
    runner, rng = Interactive(loss_weights=(1.0, 2.0, 3.0)), np.random.default_rng(0)
    drawn = [runner.pass_weights(rng) for _ in range(300)]
    counts = [drawn.count((1.0, 2.0, 3.0)[:n]) for n in (1, 2, 3)]
    # three outcomes of 100 +- 8.2 each
    assert sum(counts) == 300 and all(abs(count - 100) < 33 for count in counts)
    before = rng.bit_generator.state
    assert Interactive().pass_weights(rng) == (1.0,) and rng.bit_generator.state == before


def test_the_gradient_is_that_of_the_weighted_sum(tmp_path, monkeypatch):
    """Against one graph of all passes: equal gradients, although each pass is freed before the next."""
    waiting = list(NEW)
    monkeypatch.setattr(interactive, "next_training_clicks", lambda *inputs, **options: waiting.pop(0))
    monkeypatch.setattr(Interactive, "pass_weights", lambda self, rng: self.loss_weights)
    cfg = sections()
    cfg["runner"] = dict(type="Interactive", loss_weights=(1.0, 2.0, 3.0))
    cfg["loop"] |= dict(ema=0.0)
    cfg.pop("val")
    loop = Loop(cfg, build_runner(cfg), work_dir=tmp_path, device=CPU)
    for module in loop.raw_model.modules():
        if isinstance(module, torch.nn.Dropout2d | torch.nn.Dropout):
            module.p = 0.0
    loop.model.train()
    model, data = copy.deepcopy(loop.raw_model), batch()
    image, clicks = data["image"], data["clicks"]
    terms = loop.train_step([data])
    assert not waiting

    criterion, previous, values = build_criterion(LOSSES, model.align_corners), torch.zeros(2, 1, 32, 32), []
    for number in range(3):
        outputs = model(image, clicks, previous)
        values.append(sum(criterion(outputs, data, 0).values()))
        previous = resize(outputs["logits"].detach(), like=image, align_corners=model.align_corners).sigmoid()
        if number < 2:
            clicks = append_clicks(clicks, NEW[number])
    total = values[0] + 2 * values[1] + 3 * values[2]
    total.backward()
    assert sum(terms.values()).item() == pytest.approx(total.item(), rel=1e-5)
    for (name, ours), theirs in zip(loop.raw_model.named_parameters(), model.parameters()):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4), name
    assert torch.equal(data["clicks"], clicks)
    norms = [m for m in loop.raw_model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(int(norm.num_batches_tracked) == 3 for norm in norms)  # in training mode throughout


def test_a_run_with_passes_trains(tmp_path):
    cfg = sections()
    cfg["runner"] = dict(type="Interactive", loss_weights=(1.0, 2.0))
    cfg.pop("val")
    cfg["loop"] |= dict(steps=3, eval_every=0, monitor=None, better=None)
    loop = Loop(cfg, build_runner(cfg), work_dir=tmp_path, device=CPU)
    loop.fit()
    assert loop.step == 3 and all(math.isfinite(p.sum().item()) for p in loop.raw_model.parameters())


def test_a_model_is_not_shared_out_where_processes_make_different_passes():
    assert Interactive().holds_whole_models() == ""
    assert "different numbers of passes (runner.loss_weights)" in Interactive(loss_weights=(1.0,)).holds_whole_models()
