"""Costs and matches of queries against published ones, and by hand."""

import torch

from segkit.ops.instances import matching
from segkit.ops.instances.matching import box_costs, class_costs, enlarged_projections, hungarian, projected_boxes
from tests.instances.published import load, off
from tests.instances.published_box2mask import box_masks_of


def test_costs_and_matches_are_the_published_ones():
    known = load("box2mask_loss")
    for i, masks in enumerate(box_masks_of(known)):
        in_class = 2 * class_costs(known["cls_layer0"][i], known[f"gt_labels{i}"])
        in_box = 5 * box_costs(known["mask_layer0"][i], projected_boxes(masks))
        assert off(in_class, known[f"cost_cls_img{i}"]) < 1e-6
        assert off(in_box, known[f"cost_box_img{i}"]) < 1e-6
        ((queries, objects),) = hungarian([in_class + in_box])
        assigned = torch.zeros(20, dtype=torch.int64)
        assigned[queries] = objects + 1
        assert torch.equal(assigned, known[f"assigned_gt_inds_1based_img{i}"])


def test_few_queries_at_a_time_change_nothing(monkeypatch):
    logits = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(0))
    whole = enlarged_projections(logits, (20, 24))
    monkeypatch.setattr(matching, "PIXELS_AT_ONCE", 2 * 20 * 24)
    for ours, other in zip(enlarged_projections(logits, (20, 24)), whole):
        assert torch.equal(ours, other)
    large = torch.nn.functional.interpolate(logits.unsqueeze(1), size=(20, 24), mode="bilinear")[:, 0].sigmoid()
    torch.testing.assert_close(whole, (large.amax(2), large.amax(1)))


def test_matches_by_hand():
    cost = torch.tensor([[1.0, 2.0], [0.0, 0.5], [5.0, 5.0]])
    # 1 + .5 beats 0 + 2
    matches = hungarian([cost, cost.T, cost[:, :0], torch.full((2, 1), torch.nan)])
    pairs = [list(zip(*(part.tolist() for part in match))) for match in matches]
    assert pairs[:3] == [[(0, 0), (1, 1)], [(0, 0), (1, 1)], []] and len(pairs[3]) == 1
    assert hungarian([]) == []
