"""A convolution of resized and joined maps, against the plain form of it."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.models.layers import ConvBNReLU
from segkit.ops.resized_conv import conv_of_resized, joined

SIZE = (24, 28)
SHAPES = ((3, 24, 28), (120, 12, 14), (500, 5, 3), (450, 1, 1), (4, 23, 27))
"""Channels and sides: of the result's size, half of it, an odd share, one cell, and too large to gain by."""


def tensors(kernel: tuple[int, int], seed: int = 0, **options) -> tuple[list, torch.Tensor, torch.Tensor]:
    """-> maps of two images, weight and bias of six outputs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(**options).requires_grad_()

    return [draw(2, *shape) for shape in SHAPES], draw(6, sum(s[0] for s in SHAPES), *kernel), draw(6)


def plain(maps, weight, bias, align_corners):
    large = [F.interpolate(x, SIZE, mode="bilinear", align_corners=align_corners) for x in maps]
    return F.conv2d(torch.cat(large, dim=1), weight, bias, padding=(weight.shape[2] // 2, weight.shape[3] // 2))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3)])
def test_values_and_gradients_are_those_of_the_plain_form(kernel, align_corners):
    maps, weight, bias = tensors(kernel)
    found = conv_of_resized(maps, weight, SIZE, bias=bias, align_corners=align_corners)
    expected = plain(maps, weight, bias, align_corners)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    leaves = [*maps, weight, bias]
    above = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, theirs in zip(*(torch.autograd.grad(out, leaves, above) for out in (found, expected))):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_maps_that_are_all_small_get_the_bias():
    maps, weight, bias = tensors((3, 3))
    maps, weight = maps[1:4], weight[:, 3:1073]
    torch.testing.assert_close(
        conv_of_resized(maps, weight, SIZE, bias=bias), plain(maps, weight, bias, False), rtol=1e-10, atol=1e-10
    )


def test_bf16_is_as_near_as_the_plain_form():
    maps, weight, bias = tensors((3, 3))
    exact = plain(maps, weight, bias, False)
    maps, weight, bias = tensors((3, 3), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv_of_resized(maps, weight, SIZE, bias=bias), plain(maps, weight, bias, False)
    errors = [(result - exact).square().mean().sqrt() / exact.std() for result in found]
    assert errors[0] < 2 * errors[1] < 0.02


def test_one_cell_is_spread_as_it_is():
    """Autocast resizes in float32, and all that is joined with the result would become float32 too."""
    cell = torch.randn(2, 3, 1, 1)
    assert torch.equal(joined([cell], (4, 5)), cell.expand(-1, -1, 4, 5))


def multiplications(make, device: str) -> float:
    maps = [torch.zeros(1, 128, side, side, device=device) for side in (32, 16, 8)]
    with FlopCounterMode(display=False) as counter:
        make(maps, torch.zeros(64, 384, 3, 3, device=device))
    return counter.get_total_flops() / 2


def test_small_maps_cost_their_share_and_shapes_alone_the_published_number():
    def ours(maps, weight):
        return conv_of_resized(maps, weight, (32, 32))

    whole = 32 * 32 * 64 * 384 * 9
    assert multiplications(ours, "meta") == whole
    # per output channel: 9 products a cell, then 3 of every cell along the width, then 3 along the height
    part = sum(9 * 128 * h * h + 3 * h * 32 * 3 * h + 32 * 32 * 3 * h for h in (16, 8))
    assert multiplications(ours, "cpu") == whole / 3 + 64 * part < 0.55 * whole


def test_a_block_joins_as_it_convolves():
    block = ConvBNReLU(1073, 4, bias=True).eval()
    maps = [x.detach().float() for x in tensors((3, 3))[0][:4]]
    large = torch.cat([F.interpolate(x, SIZE, mode="bilinear") for x in maps], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(block.over_concat(maps, like=maps[0]), block(large), rtol=1e-4, atol=1e-4)
        assert torch.equal(block.over_concat([large], like=large), block(large))
