"""Convolution of feature maps that are resized to one size and concatenated, without building the resized maps.

Convolution and bilinear resizing are both linear. So each tap of the kernel can multiply the small map, and its product
is resized and shifted afterwards; resizing and shifting along an axis are one matrix. For a map that is enlarged r
times this costs 1 / r^2 of the convolution of the enlarged map, plus two thin matrix products. B batch, C channels,
H W result.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.resizing import has_size, is_free, resize

PASS = 400
"""Multiplications per value of the result that take about as long as reading and writing the result once more."""


def conv_of_resized(
    maps: Sequence[Tensor],
    weight: Tensor,
    size: tuple[int, int],
    *,
    bias: Tensor | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Equals conv2d(joined(maps, size), weight, bias) with stride 1 and zero padding, up to the order of sums.

    Maps that are not much smaller than the result are resized and convolved plainly. On the meta device all maps are,
    so that operations are counted there as papers count them.

    Args:
        maps: float [B,C_i,h_i,w_i] each.
        weight: float [C_out,sum of C_i,k,m], k and m odd.
        size: (H, W) that each map is resized to, bilinearly.
        bias: float [C_out].
        align_corners: of the resizing.

    Returns:
        float [B,C_out,H,W].
    """
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    smallness = [not x.is_meta and _is_cheaper(x.shape, weight.shape, size) for x in maps]
    if not any(smallness):
        return F.conv2d(joined(maps, size, align_corners=align_corners), weight, bias, padding=padding)
    runs: list[tuple[bool, list[Tensor]]] = []  # a small map is a run of its own, adjacent large maps share one
    for is_small, x in zip(smallness, maps):
        if runs and not is_small and not runs[-1][0]:
            runs[-1][1].append(x)
        else:
            runs.append((is_small, [x]))
    kernels = weight.split([sum(x.shape[1] for x in run) for _, run in runs], dim=1)
    small = [(run[0], kernel) for (is_small, run), kernel in zip(runs, kernels) if is_small]
    large = [(run, kernel) for (is_small, run), kernel in zip(runs, kernels) if not is_small]
    result = _conv_of_small(small, size, align_corners)
    if not large:
        return result if bias is None else result + bias.to(result.dtype).view(-1, 1, 1)
    large_maps = joined([x for run, _ in large for x in run], size, align_corners=align_corners)
    large_kernel = large[0][1] if len(large) == 1 else torch.cat([kernel for _, kernel in large], dim=1)
    return F.conv2d(large_maps, large_kernel, bias, padding=padding) + result


def _is_cheaper(map_shape: Sequence[int], weight_shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Compares the multiplications per value of the result with and without building the resized map."""
    _, channels, h, w = map_shape
    _, _, k, m = weight_shape
    rows, columns = size
    if is_free(h, w, rows, columns):
        return False  # a graph for any size takes the way that is never slow
    share, plain = h * w / (rows * columns), k * m * channels
    cost = share * plain + k * m * w * h / rows + k * h
    return cost < plain / 2 and plain - cost > PASS


def joined(maps: Sequence[Tensor], size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Resizes maps bilinearly to one size and concatenates them along the channels.

    Args:
        maps: float [B,C_i,h_i,w_i] each.
        size: (H, W).
        align_corners: of the resizing.

    Returns:
        float [B,sum of C_i,H,W].
    """
    # A map of one cell is constant after resizing; expand keeps its dtype, whereas resizing it under autocast would
    # make it float32, and with it the whole result.
    resized = [
        x.expand(-1, -1, *size) if has_size(x, (1, 1)) else resize(x, size=size, align_corners=align_corners)
        for x in maps
    ]
    return resized[0] if len(resized) == 1 else torch.cat(resized, dim=1)


def _conv_of_small(pairs: list[tuple[Tensor, Tensor]], size: tuple[int, int], align_corners: bool) -> Tensor:
    """Adds up the results of pairs of a map and its kernel.

    Multiplies at the size of the maps, then resizes along the width, then along the height, for all maps at once.
    """
    rows, columns = size
    lines: list[Tensor] = []
    matrices: list[Tensor] = []
    for x, weight in pairs:
        batch, channels, h, w = x.shape
        width, _, k, m = weight.shape
        points = x.permute(0, 2, 3, 1).reshape(1, -1, channels)
        # What autograd keeps is a view of the weight, not a copy in another order.
        products = torch.matmul(points, weight.flatten(2).permute(2, 1, 0)).view(k, m, batch * h, w * width)
        products = products.transpose(1, 2).reshape(k * batch * h, m * w, width)
        along_width = _resize_matrix(w, columns, taps=m, align_corners=align_corners, like=x)
        is_square = (h, rows, k) == (w, columns, m)
        along_height = (
            along_width if is_square else _resize_matrix(h, rows, taps=k, align_corners=align_corners, like=x)
        )
        matrices.append(along_height)
        lines += torch.matmul(along_width, products).view(k, batch, h, columns * width).unbind(0)
    result = torch.matmul(torch.cat(matrices, dim=1), torch.cat(lines, dim=1))
    return result.view(batch, rows, columns, width).permute(0, 3, 1, 2)


def _resize_matrix(small: int, large: int, *, taps: int, align_corners: bool, like: Tensor) -> Tensor:
    """Returns [large,taps * small]: for each tap, bilinear resizing of an axis, then a shift by tap - taps // 2.

    Zeros come in from outside.
    """
    ones = torch.eye(small, device=like.device, dtype=like.dtype).unsqueeze(1)
    resized = F.interpolate(ones, large, mode="linear", align_corners=align_corners).squeeze(1).t()
    around = F.pad(resized, (0, 0, taps // 2, taps // 2))
    return torch.cat([around[i : i + large] for i in range(taps)], dim=1)
