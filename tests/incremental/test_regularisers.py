"""EWC, PI and RW against their formulas written out for one weight at a time, and what a run needs of them."""

import copy
import itertools

import pytest
import torch
from torch import nn

from segkit.runners.incremental.regularisers import EWC, PI, REGULARISERS, RW, min_max


class Net(nn.Module):
    """One linear map and one classifier per step."""

    def __init__(self, *classes: int, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Linear(3, 4)
        self.cls = nn.ModuleList(nn.Linear(4, number, bias=False) for number in classes)

    def forward(self, x):
        return torch.cat([classifier(self.body(x).tanh()) for classifier in self.cls], 1)


def run(model: Net, regulariser, *, iterations: range, with_gradients: list | None = None) -> list[float]:
    """Trains; -> the penalty of each iteration. with_gradients: takes (parameters, gradients before the penalty)."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    terms = []
    for i in iterations:
        rng = torch.Generator().manual_seed(100 + i)
        x = torch.randn(8, 3, generator=rng)
        label = torch.randint(0, sum(c.out_features for c in model.cls), (8,), generator=rng)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), label).backward()
        if with_gradients is not None:
            named = model.named_parameters()
            with_gradients.append({n: (p.detach().clone(), p.grad.clone()) for n, p in named})
        terms.append(float(sum(regulariser.after_backward(model).values())))
        optimizer.step()
    return terms


def second_step(kind, **own):
    """-> teacher's state, state of the first step's regulariser, model and regulariser of the second."""
    model = Net(3)
    watch = kind(model)
    assert run(model, watch, iterations=range(25)) == [0.0] * 25
    old, saved = copy.deepcopy(model.state_dict()), copy.deepcopy(watch.state_dict())
    grown = Net(3, 2, seed=1)
    grown.load_state_dict(old, strict=False)
    return old, saved, grown, kind(grown, old, saved=saved, **own)


def fisher_of(history: list, name: str, start: torch.Tensor) -> torch.Tensor:
    value = start.clone()
    for entry in history:
        value = 0.9 * entry[name][1] ** 2 + 0.1 * value
    return value


def test_importance_of_a_tensor_is_scaled_by_its_own_extremes():
    assert min_max(torch.tensor([1.0, 2.0, 5.0])).tolist() == pytest.approx([0, 0.25, 1])
    assert min_max(torch.full((3,), 7.0)).tolist() == [0, 0, 0]


def test_fisher_of_ewc_by_its_recursion_over_two_steps():
    model, history = Net(3), []
    watch = EWC(model)
    run(model, watch, iterations=range(4), with_gradients=history)
    for name, value in watch.state_dict()["fisher"].items():
        torch.testing.assert_close(value, fisher_of(history, name, torch.ones_like(value)))
    saved, more = copy.deepcopy(watch.state_dict()), []
    grown = Net(3, 2)
    watch = EWC(grown, model.state_dict(), saved=saved)
    run(grown, watch, iterations=range(3), with_gradients=more)
    for name, value in watch.state_dict()["fisher"].items():
        start = saved["fisher"].get(name, torch.ones_like(value))
        torch.testing.assert_close(value, fisher_of(more, name, start))


def test_score_of_pi_by_its_sum_over_the_way():
    model, history = Net(3), []
    start = copy.deepcopy(model.state_dict())
    watch = PI(model)
    run(model, watch, iterations=range(6), with_gradients=history)
    first = copy.deepcopy(watch.state_dict()["score"])
    for name, end in model.state_dict().items():
        way = sum(b[name][1] * (a[name][0] - b[name][0]) for a, b in itertools.pairwise(history))
        expected = (way / ((end - start[name]) ** 2 + 1e-20)).clamp_min(0)
        torch.testing.assert_close(first[name], expected)
        assert (expected > 0).any()
    history.clear()
    old, begun = copy.deepcopy(model.state_dict()), Net(3, 2, seed=1)
    begun.load_state_dict(old, strict=False)
    start = copy.deepcopy(begun.state_dict())
    watch = PI(begun, old, saved=watch.state_dict())
    run(begun, watch, iterations=range(6), with_gradients=history)
    for name, end in begun.state_dict().items():
        way = sum(b[name][1] * (a[name][0] - b[name][0]) for a, b in itertools.pairwise(history))
        expected = (way / ((end - start[name]) ** 2 + 1e-20)).clamp_min(0) + first.get(name, 0)
        torch.testing.assert_close(watch.score()[name], expected)


def test_score_of_rw_by_its_sum_every_tenth_iteration():
    model, history = Net(3), []
    watch = RW(model)
    run(model, watch, iterations=range(25), with_gradients=history)
    first, num_positive = copy.deepcopy(watch.state_dict()), 0
    for name, value in first["score"].items():
        total = torch.zeros_like(value)
        for i in (10, 20):
            moved = history[i][name][0] - history[i - 10][name][0]
            fisher = fisher_of(history[:i], name, torch.ones_like(value))
            total += -history[i][name][1] * moved / (0.5 * fisher * moved**2 + 1e-8)
        torch.testing.assert_close(value, total.clamp_min(0), rtol=1e-4, atol=1e-5)
        num_positive += int((total > 0).sum())
    assert num_positive > 3
    second = RW(Net(3, 2), model.state_dict(), saved=first).state_dict()["score"]
    torch.testing.assert_close(second["body.weight"], first["score"]["body.weight"] / 2)
    assert not second["cls.1.weight"].any()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", REGULARISERS.values())
def test_penalty_and_its_gradient_are_those_of_the_formula(kind, normalize):
    old, saved, model, watch = second_step(kind, importance=7.0, normalize=normalize)
    with torch.no_grad():
        model.body.weight += 0.1
        model.cls[0].weight -= 0.2
    total = 0
    for name, parameter in model.named_parameters():
        if name in old:
            scale = min_max if normalize else (lambda x: x)
            weight = sum(scale(saved[key][name]) for key in ("fisher", "score") if key in saved)
            total = total + 7 * (weight * (parameter - old[name]) ** 2).sum()
    expected = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    terms = watch.after_backward(model)
    assert list(terms) == [kind.__name__] and total > 1e-6
    torch.testing.assert_close(terms[kind.__name__], total.detach())
    for parameter, gradient in zip(model.parameters(), expected):
        added = torch.zeros_like(parameter) if gradient is None else gradient
        torch.testing.assert_close(parameter.grad, 1 + added)


@pytest.mark.parametrize("kind", REGULARISERS.values())
def test_resumed_inside_a_step_it_goes_on_bit_for_bit(kind):
    old, saved, model, watch = second_step(kind, importance=0.1)
    run(model, watch, iterations=range(13))
    kept_model, kept = copy.deepcopy(model.state_dict()), copy.deepcopy(watch.state_dict())
    expected = run(model, watch, iterations=range(13, 24))

    resumed = Net(3, 2, seed=5)
    again = kind(resumed, old, saved=saved, importance=0.1)
    resumed.load_state_dict(kept_model)
    again.load_state_dict(kept)
    assert run(resumed, again, iterations=range(13, 24)) == expected and expected[-1] > 0
    for key, value in watch.state_dict().items():
        if isinstance(value, dict):
            assert all(torch.equal(tensor, again.state_dict()[key][name]) for name, tensor in value.items()), key


@pytest.mark.parametrize("kind", REGULARISERS.values())
def test_a_gradient_that_is_not_finite_is_not_watched(kind):
    _, _, model, watch = second_step(kind, importance=0.1)
    run(model, watch, iterations=range(3))
    before = copy.deepcopy(watch.state_dict())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    model.body.bias.grad[1] = torch.inf
    watch.after_backward(model)
    for key in ("fisher", "score", "delta", "walked"):
        for name, value in before.get(key, {}).items():
            assert torch.equal(watch.state_dict()[key][name], value), (key, name)


def test_frozen_weights_have_no_penalty():
    model = Net(3)
    saved = EWC(model).state_dict()
    saved["fisher"]["body.weight"][0, 0] = 2
    moved = Net(3, seed=1)
    moved.body.requires_grad_(False)
    assert EWC(moved, model.state_dict(), saved=saved).after_backward(moved)["EWC"] == 0
    assert moved.body.weight.grad is None


def test_without_a_state_of_the_step_before_there_is_no_penalty():
    model = Net(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert EWC(model, Net(3).state_dict()).after_backward(model) == {}


def test_states_that_do_not_fit_are_refused():
    saved = EWC(Net(3)).state_dict()
    with pytest.raises(ValueError, match="state of EWC, this step has RW"):
        RW(Net(3), Net(3).state_dict(), saved=saved)
    with pytest.raises(ValueError, match=r"cls.0.weight is \(4, 4\), in the step before it was \(3, 4\)"):
        EWC(Net(4), Net(3).state_dict(), saved=saved)
