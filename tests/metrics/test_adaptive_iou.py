"""The IoU at a moving threshold: as the published code moves it, and by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.metrics.adaptive_iou import AdaptiveIoU


def test_the_published_trace():
    with np.load(Path(__file__).parents[1] / "fixtures/ritm/adaptive_iou.npz") as stored:
        logits, target, trace = (torch.from_numpy(stored[name]) for name in ("pred", "gt", "trace"))
    metric = AdaptiveIoU()
    for i, row in enumerate(trace[:-1]):
        # both forms of a target are the same
        metric.update(logits[i], target if i % 2 else target[:, 0])
        found = torch.stack([metric.threshold, metric.running, metric.mean()])
        assert torch.allclose(found, row, rtol=0, atol=1e-7), (i, found, row)
    metric.update(logits[0], torch.zeros_like(target))
    found = torch.stack([metric.threshold, metric.running, metric.mean()])
    assert torch.allclose(found, trace[-1], rtol=0, atol=1e-7)


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).logit().view(1, 1, 1, -1)


def test_the_best_of_three_thresholds_by_hand():
    # at .40 only the first pixel is found, IoU 1 / 2; at .375 both, IoU 1; at .425 the first
    metric = AdaptiveIoU()
    assert float(metric.update(logits_of(0.9, 0.39, 0.1, 0.9), torch.tensor([[[1.0, 1.0, 0.0, -1.0]]]))) == 1
    assert float(metric.threshold) == pytest.approx(0.99 * 0.4 + 0.01 * 0.375)
    assert float(metric.running) == pytest.approx(0.1)
    # all three are equally good: the threshold stays
    before = float(metric.threshold)
    assert float(metric.update(logits_of(0.9, 0.8), torch.tensor([[[1.0, 0.0]]]))) == 0.5
    assert float(metric.threshold) == pytest.approx(before)
    assert float(metric.mean()) == 0.75 and float(metric.running) == pytest.approx(0.09 + 0.05)


def test_samples_of_nothing_are_left_out_and_a_batch_of_nothing_changes_nothing():
    metric = AdaptiveIoU()
    logits = torch.cat([logits_of(0.9, 0.9), logits_of(0.1, 0.9)])
    target = torch.tensor([[[1.0, 0.0]], [[0.0, -1.0]]])
    # the second sample's only predicted pixel is ignored
    assert float(metric.update(logits, target)) == 0.5
    state = [float(metric.threshold), float(metric.running), float(metric.mean())]
    assert float(metric.update(logits, torch.zeros(2, 1, 2))) == 0.5
    assert [float(metric.threshold), float(metric.running), float(metric.mean())] == state
    metric.reset()
    assert torch.isnan(metric.mean()) and float(metric.threshold) == state[0]


def test_settings():
    metric = AdaptiveIoU(0.5, 0.1, beta=0.5, ema=0.0)
    metric.update(logits_of(0.45, 0.2), torch.tensor([[[1.0, 0.0]]]))
    assert float(metric.threshold) == pytest.approx(0.45) and float(metric.running) == 1
