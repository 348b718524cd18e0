"""Instances of queries against the published postprocessing, and boxes by hand."""

import torch

from segkit.ops.instances.query_results import best_queries, mask_boxes
from tests.instances.published import load, off


def test_instances_are_the_published_ones():
    known = load("box2mask_postprocess")
    found = best_queries(known["mask_cls"], known["mask_pred"], limit=30)
    assert torch.equal(found.labels, known["labels"])
    assert off(found.scores, known["bboxes_score"][:, 4]) < 1e-6
    assert torch.equal(found.boxes, known["bboxes_score"][:, :4])
    assert torch.equal(found.masks.sum((1, 2)), known["mask_area"])


def test_fewer_pairs_than_the_limit_and_boxes_by_hand():
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1, 2] = masks[0, 2, 4] = True
    assert mask_boxes(masks).tolist() == [[2, 1, 5, 3], [0, 0, 0, 0]]
    assert mask_boxes(masks[:0]).shape == (0, 4)
    logits = torch.where(masks, torch.tensor(0.0).exp(), -1.0)  # inside 1, outside -1
    found = best_queries(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), logits, limit=9)
    # the empty mask has quality 0
    assert found.labels.tolist() == [0, 0] and found.boxes[0].tolist() == [2, 1, 5, 3]
    torch.testing.assert_close(found.scores, torch.tensor([0.5 * torch.tensor(1.0).sigmoid().item(), 0.0]))
