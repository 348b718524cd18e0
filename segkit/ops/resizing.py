"""Bilinear and nearest-neighbour resizing of maps and masks, and the way of predictions back to the stored image."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-3
"""Part of a pixel that rounding may leave."""


def is_free(*sizes: int | torch.SymInt | Tensor) -> bool:
    """Whether one of the sizes is left open by torch.export or torch.jit.trace, so that no branch may depend on it."""
    if torch.jit.is_tracing():
        return any(isinstance(size, Tensor) for size in sizes)
    return torch.compiler.is_exporting() and any(isinstance(size, torch.SymInt) for size in sizes)


def has_size(x: Tensor, size: Sequence[int]) -> bool:
    """Whether a map [...,h,w] has a size (H, W) for certain: of open sizes, at every size of the image."""
    return is_same_size(x.shape[-2:], size)


def is_same_size(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two sizes (H, W) are equal for certain: of open sizes, at every size of the image."""
    return all(a == b if not is_free(a, b) else _is_always(a, b) for a, b in zip(first, second))


def is_zero(*lengths: int | torch.SymInt) -> bool:
    """Whether lengths are all 0 for certain: of those that are left open, at every size of the image."""
    return all(not length if not is_free(length) else _is_always(length, 0) for length in lengths)


def _is_always(first: int | torch.SymInt, second: int | torch.SymInt) -> bool:
    """Whether two lengths, of which torch.export leaves one open, are equal whatever it is."""
    if torch.jit.is_tracing():
        return False
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(first == second)


def scaled_side(length: int, scale: float, rounding: float = 0.0) -> int:
    """Returns a scaled length, at least 1: rounded down after `rounding` is added; of lengths left open as well."""
    return length if scale == 1 else max(torch.sym_int(length * scale + rounding), 1)


def grid_means(x: Tensor, cells: int | tuple[int, int]) -> Tensor:
    """Means over the cells of a grid, as F.adaptive_avg_pool2d.

    Where torch.export leaves the size open, they are two matrix products, since exported graphs have no such pooling.

    Args:
        x: float [B,C,h,w].
        cells: rows and columns of the grid, or one number for both.

    Returns:
        float [B,C,rows,columns].
    """
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    if (rows, columns) == (1, 1) or not is_free(*x.shape[-2:]):
        return F.adaptive_avg_pool2d(x, (rows, columns))
    along_height, along_width = _cell_means(x.shape[-2], rows, x), _cell_means(x.shape[-1], columns, x)
    return torch.matmul(torch.matmul(along_height, x), along_width.t())


def _cell_means(length: int, cells: int, like: Tensor) -> Tensor:
    """Returns [cells,length]: what takes the mean of each cell of an axis; cells may share a pixel."""
    numbers = torch.arange(cells, device=like.device)
    return interval_means(numbers * length // cells, ((numbers + 1) * length + cells - 1) // cells, length, like)


def interval_means(first: Tensor, end: Tensor, length: int, like: Tensor) -> Tensor:
    """Returns what takes the means of n intervals of an axis; no branch depends on the length.

    Args:
        first: the first position of each interval, int64 [n].
        end: the position behind its last, int64 [n].
        length: of the axis.
        like: a map whose dtype and device are taken.

    Returns:
        float [n,length].
    """
    positions = torch.arange(length, device=like.device)
    is_inside = (positions >= first[:, None]) & (positions < end[:, None])
    return is_inside.to(like.dtype) / (end - first)[:, None].to(like.dtype)


def resize(
    x: Tensor,
    *,
    like: Tensor | None = None,
    size: Sequence[int] | None = None,
    align_corners: bool = False,
    mode: str = "bilinear",
) -> Tensor:
    """Resizes maps to a given size.

    Args:
        x: float [B,C,h,w], or float [n,h,w] of masks.
        like: a map whose height and width are taken. Give this or `size`.
        size: height and width in pixels.
        align_corners: as in torch.nn.functional.interpolate: whether the centers of the corner pixels stay in place
            (True) or the corners of the image (False). No effect for "nearest".
        mode: "bilinear" or "nearest".

    Returns:
        float [B,C,H,W] or [n,H,W]; `x` itself where it has that size already.
    """
    if like is not None:
        size = like.shape[-2:]
    assert size is not None, "resize needs `like` or `size`"
    height_width = tuple(size)
    if has_size(x, height_width):
        return x
    corners = None if mode == "nearest" else align_corners
    if x.dim() == 3:
        return F.interpolate(x[:, None], height_width, mode=mode, align_corners=corners)[:, 0]
    return F.interpolate(x, height_width, mode=mode, align_corners=corners)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes masks bilinearly, one after the other: not all of them exist as float at their own size at once.

    Args:
        masks: uint8 or bool [n,H,W].
        size: height and width in pixels.

    Returns:
        float32 [n,h,w].
    """
    small = masks.new_zeros(len(masks), *size, dtype=torch.float32)
    for i, mask in enumerate(masks):
        small[i] = resize(mask[None].float(), size=size)[0]
    return small


def box_in_network(matrix: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Returns where the stored image lies in the network's image.

    Args:
        matrix: float64 [2,3], of Meta.
        size: (H0, W0) of the stored image.

    Returns:
        x0, y0, x1, y1 in continuous pixels; None where it does not lie upright, at any multiple of a quarter turn.
    """
    linear = np.abs(matrix[:, :2])
    smallest = TINY / max(size)  # what tilts the image by less than TINY of a pixel
    if not np.isfinite(matrix).all():
        return None
    if linear[[0, 1], [1, 0]].max() > smallest and linear[[0, 1], [0, 1]].max() > smallest:
        return None
    corners = np.array([(0, 0), size[::-1]], np.float64) @ matrix[:, :2].T + matrix[:, 2]
    (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def is_resized(matrix: np.ndarray | None, size: tuple[int, int], seen: tuple[int, int]) -> bool:
    """Returns whether the network's image is the stored one, resized and nothing else.

    Args:
        matrix: of Meta, None where it has none.
        size: (H0, W0) of the stored image.
        seen: (h, w) of the network's image without padding.
    """
    if matrix is None:
        return True
    expected = np.array([[seen[1] / size[1], 0, 0], [0, seen[0] / size[0], 0]])
    reach = np.array([size[1], size[0], 1.0])
    return bool(np.abs((matrix - expected) * reach).max() < TINY)


def to_original(
    maps: Tensor,
    size: tuple[int, int],
    matrix: np.ndarray | None,
    *,
    seen: tuple[int, int],
    align_corners: bool = False,
) -> Tensor:
    """Brings maps of the network's image back to the stored image: cuts off padding, flips back, resizes.

    Resizing is bilinear. Where the stored image begins or ends between two pixels of the maps, they are sampled at the
    centers of its pixels, whatever `align_corners`.

    Args:
        maps: float [B,C,h',w'] or [n,h',w'], over the network's image without padding, at any scale.
        size: (H0, W0) of the stored image.
        matrix: of Meta; None: the stored image was resized.
        seen: (h, w) of the network's image without padding.
        align_corners: of the resizing.

    Returns:
        float [B,C,H0,W0] or [n,H0,W0].

    Raises:
        ValueError: the matrix turns the image by less than a quarter turn, or deforms it.
    """
    if matrix is None or is_resized(matrix, size, seen):
        return resize(maps, size=size, align_corners=align_corners)
    box = box_in_network(matrix, size)
    if box is None:
        raise ValueError(f"matrix = {matrix.tolist()}: does not keep the sides of the image upright")
    scale_y, scale_x = maps.shape[-2] / seen[0], maps.shape[-1] / seen[1]
    spans = [(box[1] * scale_y, box[3] * scale_y), (box[0] * scale_x, box[2] * scale_x)]  # rows, columns
    linear = matrix[:, :2]
    if abs(linear[0, 0]) < abs(linear[0, 1]):  # rows of the stored image are columns of the network's
        maps, linear, spans = maps.transpose(-1, -2), linear[::-1], spans[::-1]
    flipped = [axis for axis, sign in ((-2, linear[1, 1]), (-1, linear[0, 0])) if sign < 0]
    if flipped:
        maps = maps.flip(flipped)
    lengths = maps.shape[-2:]
    spans = [
        (length - span[1], length - span[0]) if axis in flipped else span
        for axis, length, span in zip((-2, -1), lengths, spans)
    ]
    ends = [round(end) for span in spans for end in span]
    is_on_grid = all(abs(end - whole) < TINY for end, whole in zip((*spans[0], *spans[1]), ends))
    y0, y1, x0, x1 = ends
    if is_on_grid and min(y0, x0) >= 0 and y1 <= lengths[0] and x1 <= lengths[1] and y0 < y1 and x0 < x1:
        return resize(maps[..., y0:y1, x0:x1], size=size, align_corners=align_corners)
    for axis, span, length in zip((-2, -1), spans, size):
        maps = _sampled(maps, axis, span, length)
    return maps


def _sampled(maps: Tensor, axis: int, span: tuple[float, float], length: int) -> Tensor:
    """Samples an axis linearly at the centers of `length` equal parts of the span; ends repeat the last value."""
    last = maps.shape[axis] - 1
    centers = span[0] + (np.arange(length) + 0.5) * (span[1] - span[0]) / length - 0.5
    centers = centers.clip(0, last)
    low = np.floor(centers).astype(np.int64).clip(0, max(last - 1, 0))
    share = torch.from_numpy(centers - low).to(maps.device, maps.dtype)
    share = share[:, None] if axis == -2 else share
    below = torch.from_numpy(low).to(maps.device)
    first, second = maps.index_select(axis, below), maps.index_select(axis, (below + 1).clamp_max(last))
    return torch.lerp(first, second, share)


def aligned_bilinear(maps: Tensor, factor: int) -> Tensor:
    """Enlarges maps so that the value at position y goes to position factor y + factor // 2 (CondInst's upsampling).

    The last row and column are repeated before the interpolation, the first ones after it.

    Args:
        maps: float [B,C,h,w].
        factor: how many times larger the result is; 1 returns the maps unchanged.

    Returns:
        float [B,C,factor h,factor w].
    """
    if factor == 1:
        return maps
    height, width = maps.shape[2:]
    padded = F.pad(maps, [0, 1, 0, 1], mode="replicate")
    size = (factor * height + 1, factor * width + 1)
    large = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    large = F.pad(large, [factor // 2, 0, factor // 2, 0], mode="replicate")
    return large[:, :, : size[0] - 1, : size[1] - 1]


def fitted(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts a doubled map, or repeats its last row and column, at the bottom and right.

    An encoder halves an odd side rounding up or down; in either case each cell keeps its position.

    Args:
        x: float [B,C,h,w].
        size: (H, W), at most one more than the map has.

    Returns:
        float [B,C,H,W].
    """
    bottom, right = size[0] - x.shape[-2], size[1] - x.shape[-1]
    if is_free(bottom, right):
        return _repeated(_repeated(x, size[0], -2), size[1], -1)
    x = x[..., : size[0], : size[1]]
    return F.pad(x, (0, max(right, 0), 0, max(bottom, 0)), mode="replicate") if bottom > 0 or right > 0 else x


def _repeated(x: Tensor, length: int, axis: int) -> Tensor:
    """Cuts an axis, or repeats its last value, by reading positions: no branch depends on a length."""
    positions = torch.arange(length, device=x.device).clamp_max(x.shape[axis] - 1)
    return x.index_select(axis, positions)
