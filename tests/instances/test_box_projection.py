"""Box projection against published numbers and by hand."""

import pytest
import torch

from segkit.ops.instances.box_projection import box_projection, projection_costs, projections
from tests.instances.published import load, off


def test_values_and_gradient_are_the_published_ones():
    known = load("box_projection")
    logits, boxes = known["logits"][:, 0].requires_grad_(), known["box"][:, 0]
    loss = box_projection(logits.sigmoid(), boxes)
    for weight in (1, 3, 5):
        assert off(weight * loss, known[f"loss_w{weight}"]) < 1e-6
    (3 * loss).mean().backward()
    assert off(logits.grad, known["grad_logits_of_mean_w3"][:, 0]) < 1e-6
    other = load("boxinst")
    assert box_projection(other["logits"][:, 0].sigmoid(), other["box"][:, 0]).mean() == pytest.approx(
        other["loss_prj"].item(), rel=1e-6
    )


def test_by_hand():
    mask = torch.tensor([[[0.0, 0.5, 0.0], [0.0, 1.0, 0.5]]])
    box = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])
    # rows (.5, 1) against (0, 1), columns (0, 1, .5) against (0, 1, 1)
    assert box_projection(mask, box, eps=0).item() == pytest.approx(1 - 2 / 2.25 + 1 - 3 / 3.25)
    assert box_projection(box, box, eps=0).item() == 0
    costs = projection_costs(projections(torch.cat([mask, box])), projections(box))
    assert costs[:, 0].tolist() == pytest.approx([1 - 3 / 3.25 + 1 - 4 / 4.25, 0.0], abs=1e-6)


def test_ties_give_their_gradient_to_one_pixel():
    mask = torch.full((1, 3, 4), 0.5, requires_grad=True)
    box_projection(mask, torch.ones(1, 3, 4)).sum().backward()
    # one pixel for each of 3 rows and 4 columns; the corner serves a row and a column
    assert (mask.grad != 0).sum() == 6


def test_no_instance_and_low_precision():
    empty = torch.zeros(0, 4, 5, requires_grad=True)
    assert box_projection(empty, torch.zeros(0, 4, 5)).sum().requires_grad
    masks = torch.rand(2, 4, 5).bfloat16()
    value = box_projection(masks, torch.ones(2, 4, 5))
    assert value.dtype == torch.float32 and torch.equal(value, box_projection(masks.float(), torch.ones(2, 4, 5)))
    rows, columns = projections(masks.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert projection_costs((rows, columns), (rows, columns)).dtype == torch.float32
