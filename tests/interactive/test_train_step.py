"""One whole step of iterative training gives the published code's outputs, gradients and Adam update."""

import lzma

import numpy as np
import pytest
import torch

from segkit.config import load_config
from segkit.criterion import build_criterion
from segkit.engine.optim import build_optimizer
from segkit.models.layers import resize
from segkit.ops.interactive.next_click import error_regions
from segkit.runners.interactive import runner as interactive
from tests.archs_table import MODELS
from tests.interactive.ritm import FIXTURES, load_map, model_of

FILE = FIXTURES / "train_step.npz"


class Rounds:
    """Stands for the generator that draws how many rounds a batch has."""

    def __init__(self, rounds: int):
        self.rounds = rounds

    def integers(self, high: int) -> int:
        return min(self.rounds, high - 1)


@pytest.fixture(params=[0, 2])
def step(request, monkeypatch):
    """The step with the clicks the published code drew; each must lie in the region that is drawn from."""
    rounds, stored = request.param, dict(np.load(FILE))
    after, given = torch.from_numpy(stored[f"iters{rounds}/points"]), torch.from_numpy(stored["points"])
    per_sign, orders = given.shape[1] // 2, []

    def drawn(probabilities, target, rng=None, *, threshold):
        region, is_positive = error_regions(probabilities, target, threshold=threshold)
        orders.append(len(orders) + 1)
        rows = []
        for b, positive in enumerate(is_positive.tolist()):
            slot = per_sign * (1 if positive else 2) - orders[-1]
            y, x, order = after[b, slot].tolist()
            assert order == orders[-1] and region[b, int(y), int(x)]
            rows.append([y, x, float(positive)])
        return torch.tensor(rows)

    monkeypatch.setattr(interactive, "next_training_clicks", drawn)
    model = model_of("hrnet18s_itermask")
    model.head.dropout.p = 0.0
    model.train()
    batch = {
        "image": torch.from_numpy(stored["image"]).float() * 255,
        "clicks": given,
        "mask": torch.from_numpy(stored["gt"])[:, 0].float(),
    }
    cfg = load_config(MODELS / "ritm_hrnet18s.py", ["num_classes=1"])
    optimizer = build_optimizer(cfg["optimizer"], model)
    criterion = build_criterion(cfg["losses"], model.align_corners)
    outputs = interactive.Interactive(iterations=2).forward(model, batch, Rounds(rounds))
    terms = criterion(outputs, batch, 0)
    sum(terms.values()).backward()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    optimizer.step()
    moved = {name: (p.detach() - before[name]).abs().max().item() for name, p in model.named_parameters()}
    return f"iters{rounds}", stored, (outputs, terms, batch, gradients, moved, model)


def test_step_is_the_published_one(step):
    name, stored, (outputs, terms, batch, gradients, moved, model) = step
    assert torch.equal(batch["clicks"], torch.from_numpy(stored[f"{name}/points"]))
    for own, theirs in (("logits", "instances"), ("coarse.logits", "instances_aux")):
        ours = resize(outputs[own].detach(), like=batch["image"], align_corners=True)[:, :, ::4, ::4].numpy()
        expected = stored[f"{name}/{theirs}"]
        assert np.abs(ours - expected).max() < 1e-4 * expected.std()
    main, aux = (value.item() for value in terms.values())
    assert [main, aux] == pytest.approx([stored[f"{name}/losses"][0], 0.4 * stored[f"{name}/losses"][1]], rel=1e-5)
    keys = load_map("ritm")
    names = lzma.decompress(stored["names"].tobytes()).decode().split("\n")
    assert len(names) == len(gradients)
    ours = np.array([gradients[keys.rename(key)[0]] for key in names])
    theirs = stored[f"{name}/grad_norm"]
    # sums over all pixels that nearly cancel carry float32's noise: the learnt scale's, 0.0086, moves by 6e-4 to 2.3e-3
    # with the processor and its threads
    off = np.abs(ours - theirs)
    noise = np.array([4e-3 if key.endswith(".scale") else 1e-3 for key in names])
    assert (off <= 2e-2 * theirs + noise).all() and np.median(off / (theirs + 1e-9)) < 1e-3
    # Adam's first step is the learning rate wherever there is a gradient: a tenth of it in the encoder
    large = theirs > 1e-4
    ours = np.array([moved[keys.rename(key)[0]] for key in names])
    assert ours[large] == pytest.approx(stored[f"{name}/update_max_abs"][large], rel=2e-2)
    assert {f"{value:.1e}" for value in ours[large]} == {"5.0e-05", "5.0e-04"}
    buffers = dict(model.named_buffers())
    means = lzma.decompress(stored["mean_names"].tobytes()).decode().split("\n")
    sums = [buffers[keys.rename(key)[0]].sum().item() for key in means]
    assert sums == pytest.approx(stored[f"{name}/means"].tolist(), abs=2e-3)
