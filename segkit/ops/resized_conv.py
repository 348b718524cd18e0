"""A convolution of feature maps that are resized to one size and joined, without the large maps it would read.

Convolution and bilinear resizing are linear: each tap of the kernel multiplies the small map, and its product is
resized and moved to its place afterwards. Both steps along an axis are one matrix. A map that is enlarged r times costs
1 / r^2 of the convolution of the enlarged one, and two thin products of matrices besides.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.resizing import resize

PASS = 400
"""Multiplications for each value of a result that take about as long as one more passage over it."""


def conv_of_resized(
    maps: Sequence[Tensor],
    weight: Tensor,
    size: tuple[int, int],
    *,
    bias: Tensor | None = None,
    align_corners: bool = False,
) -> Tensor:
    """conv2d of the maps, each resized bilinearly to size and joined along the channels; stride 1, zeros around.

    maps: float [B,C_i,h_i,w_i]; weight: float [C_out,sum of C_i,k,m], k and m odd; size: (H, W); bias: float [C_out]
    -> float [B,C_out,H,W].
    Equal to the plain form up to the order of sums. Maps that are not much smaller than the result take the plain form;
    on the meta device all do, so that what is counted there are the operations that papers count.
    """
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    smallness = [not x.is_meta and _is_cheaper(x.shape, weight.shape, size) for x in maps]
    if not any(smallness):
        return F.conv2d(joined(maps, size, align_corners=align_corners), weight, bias, padding=padding)
    runs: list[tuple[bool, list[Tensor]]] = []  # small ones singly, neighbours of the other kind together
    for is_small, x in zip(smallness, maps):
        if runs and not is_small and not runs[-1][0]:
            runs[-1][1].append(x)
        else:
            runs.append((is_small, [x]))
    parts = weight.split([sum(x.shape[1] for x in run) for _, run in runs], dim=1)
    small = [(run[0], part) for (is_small, run), part in zip(runs, parts) if is_small]
    large = [(run, part) for (is_small, run), part in zip(runs, parts) if not is_small]
    result = _of_small(small, size, align_corners)
    if not large:
        return result if bias is None else result + bias.to(result.dtype).view(-1, 1, 1)
    others = joined([x for run, _ in large for x in run], size, align_corners=align_corners)
    kernel = large[0][1] if len(large) == 1 else torch.cat([part for _, part in large], dim=1)
    return F.conv2d(others, kernel, bias, padding=padding) + result


def _is_cheaper(small: Sequence[int], kernel: Sequence[int], size: tuple[int, int]) -> bool:
    """Compares the multiplications for one value of the result. small, kernel: shapes of a map and the weight."""
    (_, channels, h, w), (_, _, k, m), (rows, columns) = small, kernel, size
    share, plain = h * w / (rows * columns), k * m * channels
    cost = share * plain + k * m * w * h / rows + k * h
    return cost < plain / 2 and plain - cost > PASS


def joined(maps: Sequence[Tensor], size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """maps: float [B,C_i,h_i,w_i] -> float [B,sum of C_i,H,W], each resized bilinearly to size."""
    # One cell is the same everywhere; resized under autocast it would be float32, and so all that it joins.
    resized = [
        x.expand(-1, -1, *size) if tuple(x.shape[2:]) == (1, 1) else resize(x, size=size, align_corners=align_corners)
        for x in maps
    ]
    return resized[0] if len(resized) == 1 else torch.cat(resized, dim=1)


def _of_small(pairs: list[tuple[Tensor, Tensor]], size: tuple[int, int], align_corners: bool) -> Tensor:
    """Products at the size of the maps, then along the width, then along the height, for all maps at once."""
    rows, columns = size
    lines, matrices = [], []
    for x, weight in pairs:
        (batch, channels, h, w), (width, _, k, m) = x.shape, weight.shape
        points = x.permute(0, 2, 3, 1).reshape(1, -1, channels)
        # What autograd keeps is a view of the weight, not a copy in another order.
        products = torch.matmul(points, weight.flatten(2).permute(2, 1, 0)).view(k, m, batch * h, w * width)
        products = products.transpose(1, 2).reshape(k * batch * h, m * w, width)
        along_width = _placed(w, columns, m, align_corners, x)
        is_square = (h, rows, k) == (w, columns, m)
        matrices.append(along_width if is_square else _placed(h, rows, k, align_corners, x))
        lines += torch.matmul(along_width, products).view(k, batch, h, columns * width).unbind(0)
    result = torch.matmul(torch.cat(matrices, dim=1), torch.cat(lines, dim=1))
    return result.view(batch, rows, columns, width).permute(0, 3, 1, 2)


def _placed(small: int, large: int, taps: int, align_corners: bool, like: Tensor) -> Tensor:
    """-> [large,taps * small]: for each tap, bilinear resizing of an axis followed by a step of tap - taps // 2 with
    zeros outside."""
    ones = torch.eye(small, device=like.device, dtype=like.dtype).unsqueeze(1)
    resized = F.interpolate(ones, large, mode="linear", align_corners=align_corners).squeeze(1).t()
    around = F.pad(resized, (0, 0, taps // 2, taps // 2))
    return torch.cat([around[i : i + large] for i in range(taps)], dim=1)
