"""Weights of classes, of processes and of loss terms: numbers by hand."""

import math

import pytest
import torch

from segkit import dist
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.weighting import DWA, Uncertainty
from segkit.ops.class_balance import balanced_alpha, effective_number, enet_log, median_frequency


def test_class_weights_by_hand():
    assert balanced_alpha([1, 2, 4]).tolist() == pytest.approx([12 / 7, 6 / 7, 3 / 7])
    assert balanced_alpha([3, 0, 1]).tolist() == pytest.approx([0.5, 0, 1.5])
    assert enet_log([90, 10]).tolist() == pytest.approx([1 / math.log(1.92), 1 / math.log(1.12)])
    # frequencies 0.1, 0.2, 0.5: class 1 was seen in half of the pixels only
    weights = median_frequency([10, 10, 50, 0], [100, 50, 100, 0])
    assert weights.tolist() == pytest.approx([2, 1, 0.4, 0])
    raw = [(1 - 0.9) / (1 - 0.9**n) for n in (1, 2)]
    assert effective_number([1, 2], 0.9).tolist() == pytest.approx([2 * value / sum(raw) for value in raw])
    assert effective_number([5, 5e8]).tolist()[1] == pytest.approx(2e-4 * 5 / (1 + 5e-4), rel=1e-2)


def test_global_average_is_the_mean_over_all_processes(monkeypatch):
    """Two processes with 3 and 9 valid pixels: the mean of their losses is the mean over 12 pixels."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 3, 3), generator=rng)
    target = torch.randint(0, 3, (2, 3, 3), generator=rng)
    target[0, 1:] = 255
    counts = [(part != 255).sum().float() for part in target]
    losses = []
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(dist, "all_reduce_sum", lambda count, rank=rank: count + counts[1 - rank])
        losses.append(CrossEntropy(average="global")(logits[rank : rank + 1], target[rank : rank + 1]))
    assert [int(count) for count in counts] == [3, 9]
    torch.testing.assert_close(sum(losses) / 2, CrossEntropy()(logits, target))


def test_an_unknown_average_names_those_there_are():
    with pytest.raises(ValueError, match="must be one of 'valid', 'all', 'global'"):
        CrossEntropy(average="mean")


def test_dwa_by_hand_and_through_a_checkpoint():
    dwa = DWA(["a", "b"], temperature=2.0)
    assert dwa.weights == {"a": 1.0, "b": 1.0}
    dwa.end_epoch({"a": 1.0, "b": 4.0, "other": 3.0})
    assert dwa.weights == {"a": 1.0, "b": 1.0}
    dwa.end_epoch({"a": 0.5, "b": 4.0})
    powers = math.exp(0.5 / 2), math.exp(1 / 2)
    expected = {"a": 2 * powers[0] / sum(powers), "b": 2 * powers[1] / sum(powers)}
    assert dwa.weights == pytest.approx(expected)
    other = DWA(["a", "b"], temperature=2.0)
    other.load_state_dict(dwa.state_dict())
    assert other.weights == pytest.approx(expected)
    with pytest.raises(ValueError, match="no mean of b"):
        dwa.end_epoch({"a": 1.0})


def test_dwa_weights_of_constant_losses_are_1_and_always_sum_to_their_number():
    dwa = DWA(["a", "b", "c"])
    for _ in range(3):
        dwa.end_epoch({"a": 2.0, "b": 0.1, "c": 7.0})
        assert list(dwa.weights.values()) == pytest.approx([1, 1, 1])
    dwa.end_epoch({"a": 1e6, "b": 0.0, "c": 7.0})
    assert sum(dwa.weights.values()) == pytest.approx(3)


def test_uncertainty_by_hand():
    weighting = Uncertainty(["ce", "depth"], regression=["depth"])
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([0.4, -0.2]))
    terms = {"ce": torch.tensor(2.0), "depth": torch.tensor(3.0), "aux": torch.tensor(1.0)}
    weighted = weighting(terms)
    assert weighted["ce"].item() == pytest.approx(2 * math.exp(-0.4) + 0.2)
    assert weighted["depth"].item() == pytest.approx(1.5 * math.exp(0.2) - 0.1)
    assert weighted["aux"].item() == 1
    sum(weighted.values()).backward()
    assert weighting.log_variance.grad.tolist() == pytest.approx([0.5 - 2 * math.exp(-0.4), 0.5 - 1.5 * math.exp(0.2)])
    assert {name: value.item() for name, value in weighting.weights().items()} == pytest.approx(
        {"ce": math.exp(-0.4), "depth": 0.5 * math.exp(0.2)}
    )


def test_dwa_counts_a_stated_number_of_steps_as_an_epoch():
    """Means of every 2 steps: (4, 1), then (2, 1): ratios .5 and 1, though the data's epoch has 50 steps."""
    dwa = DWA(["a", "b"], epoch_steps=50, every=2)
    for step, a in enumerate((5.0, 3.0, 2.0, 2.0)):
        terms = {"a": torch.tensor(a), "b": torch.tensor(1.0)}
        assert dwa.weigh(terms, step) == terms
    powers = math.exp(0.25), math.exp(0.5)
    weighted = dwa.weigh({"a": torch.tensor(1.0), "b": torch.tensor(1.0)}, 4)
    assert [float(weighted[name]) for name in "ab"] == pytest.approx([2 * power / sum(powers) for power in powers])
    assert dwa.current() == pytest.approx({"a": 2 * powers[0] / sum(powers), "b": 2 * powers[1] / sum(powers)})


def test_processes_share_the_gradient_of_learned_weights(monkeypatch):
    """Losses 2 and 6 on two processes: both see 1/2 - (2 + 6) / 2, and so stay equal."""
    from segkit.losses import weighting as module

    other = {2.0: 6.0, 6.0: 2.0}
    monkeypatch.setattr(module, "world_size", lambda: 2)
    for value in other:
        weighting = Uncertainty(["ce"])
        monkeypatch.setattr(module, "all_reduce_sum", lambda gradient, value=value: gradient + 0.5 - other[value])
        weighting({"ce": torch.tensor(value)})["ce"].backward()
        assert weighting.log_variance.grad.tolist() == [0.5 - 4]
