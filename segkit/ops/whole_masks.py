"""From maps of a padded, resized image to masks of the image as it is on disk. n masks, h w map."""

from torch import Tensor

from segkit.ops.cell_masks import resized


def at_original(maps: Tensor, size: tuple[int, int], meta: dict) -> Tensor:
    """maps: float [n,h,w] over an input of size (H, W) pixels; meta: dict(size=(H0, W0) of the file, valid=(h, w) of
    the image in its padding; without it nothing is padded) -> float [n,H0,W0]: resized to the input, its padding cut
    off, resized to the file, each bilinear."""
    height, width = meta.get("valid", size)
    return resized(resized(maps, size)[:, :height, :width], tuple(meta["size"]))
