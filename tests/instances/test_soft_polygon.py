"""Soft masks of polygons against published ones, and their gradient."""

import torch

from segkit.ops.instances.soft_polygon import soft_polygon
from tests.instances.boxes_oracle import load


def test_masks_are_the_published_ones():
    known = load("boxsnake")
    side, boxes = known["crop"].item(), known["boxes"]
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2]).unsqueeze(1)
    vertices = (known["polygons"] - corner) / size * side  # in the frame of the true box
    masks = soft_polygon(vertices, (side, side), smoothness=known["smoothness"].item())
    torch.testing.assert_close(masks, known["masks"], rtol=0, atol=1e-5)


def test_a_square_by_hand():
    square = torch.tensor([[[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]]], dtype=torch.float64)
    mask = soft_polygon(square, (4, 5), smoothness=0.5)[0]
    near, corner = torch.tensor([0.5, -1.0]).double().sigmoid().tolist()  # half a pixel, one way and both ways
    assert torch.allclose(mask[1:3, 1:3], torch.tensor(near).double())
    assert torch.allclose(mask[0, [0, 3]], torch.tensor(corner).double())
    assert torch.allclose(mask[0, 1:3], 1 - torch.tensor(near).double())
    assert torch.allclose(mask[1, 4], torch.tensor(-1.5 * 1.5 / 0.5).double().sigmoid())


def test_the_gradient_is_that_of_the_masks():
    torch.manual_seed(0)
    vertices = (torch.rand(2, 5, 2, dtype=torch.float64) * 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: soft_polygon(v, (6, 7), smoothness=2.0), vertices)


def test_points_at_one_place_are_finite():
    vertices = torch.full((1, 4, 2), 2.0).requires_grad_()
    soft_polygon(vertices, (4, 4)).sum().backward()
    assert vertices.grad.isfinite().all()
