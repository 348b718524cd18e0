"""Segments of old queries against those of the authors' codes: tests/fixtures/steps."""

import pytest
import torch

from segkit.ops.incremental.query_segments import old_segments
from tests.incremental.steps_oracle import stored

STORED = {name: torch.from_numpy(array) for name, array in stored("query_pseudo.npz").items()}
CASES = ("a", "memory")
CURRENT = 5
"""Number of the first class of the step."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.8, 0.5])
def test_segments_are_those_of_balconpas(case, share):
    labels = STORED[f"{case}/gt_labels"]
    truth = STORED[f"{case}/gt_masks"].bool().any(0) & bool((labels >= CURRENT).all())
    mask = STORED[f"{case}/mask_logits"].sigmoid()
    found = old_segments(STORED[f"{case}/logits"], mask, truth, share=share, counts_faint=False)
    order = found.scores.argsort(descending=True)
    assert found.labels[order].tolist() == STORED[f"{case}/balconpas_thr{share}/labels"].tolist()
    assert torch.equal(found.masks[order], STORED[f"{case}/balconpas_thr{share}/masks"].bool())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_soft", [0, 1])
def test_segments_are_those_of_comformer(case, is_soft):
    """Its targets list the truth first."""
    masks, truth = STORED[f"{case}/mask_logits"], STORED[f"{case}/gt_masks"].bool()
    masks = masks.softmax(0) if is_soft else masks.sigmoid()
    found = old_segments(STORED[f"{case}/logits"], masks, truth.any(0))
    labels = torch.cat([STORED[f"{case}/gt_labels"].long(), found.labels])
    assert labels.tolist() == STORED[f"{case}/comformer_soft{is_soft}/labels"].tolist()
    expected = STORED[f"{case}/comformer_soft{is_soft}/masks"].bool()
    assert torch.equal(torch.cat([truth, found.masks]), expected)


def test_nothing_is_found_without_a_sure_query():
    logits = torch.tensor([[0.0, 0.0, 5.0]])  # no object
    found = old_segments(logits, torch.ones(1, 4, 5), torch.zeros(4, 5, dtype=torch.bool))
    assert len(found.scores) == len(found.labels) == 0 and found.masks.shape == (0, 4, 5)
    everywhere = old_segments(logits.flip(1), torch.ones(1, 4, 5), torch.ones(4, 5, dtype=torch.bool))
    assert everywhere.masks.shape == (0, 4, 5)
    left = old_segments(logits.flip(1), torch.ones(1, 4, 5), torch.arange(20).view(4, 5) < 10, share=0.5)
    assert left.masks.shape == (0, 4, 5), "half of the mask is not more than half"
