"""SegFix, Yuan et al., ECCV 2020, https://arxiv.org/abs/2007.04269: boundary pixels take the class of an inner one.

B batch, K classes, H W image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeInt
from segkit.files import DataError
from segkit.models.bases import Network
from segkit.ops.edges import direction_offsets, shifted
from segkit.ops.resizing import resize
from segkit.readers.arrays import read_mat
from segkit.refiners._trained import load_trained
from segkit.refiners.base import Refiner
from segkit.registry import HEADS, REFINERS
from segkit.types import Meta

NEEDED = "a network of SegFix (model.head = dict(type='SegFixHead'), model.num_classes = 2; see configs/segfix)"


def predicted_offsets(boundary: Tensor, direction: Tensor, size: tuple[int, int]) -> Tensor:
    """Computes the offsets that a network of SegFix predicts, in steps of one pixel.

    Args:
        boundary: float [B,h,w], probability of a boundary.
        direction: float [B,D,h,w], logits of the directions.
        size: (H, W) of the image.

    Returns:
        int64 [B,2,H,W], y and x; 0 where no boundary is predicted.
    """
    is_boundary = resize(boundary.unsqueeze(1), size=size, align_corners=True)[:, 0] > 0.5
    directions = resize(direction, size=size, align_corners=True).argmax(1)
    return direction_offsets(directions, is_boundary, direction.shape[1])


@REFINERS.register
class SegFix(Refiner):
    """Gives each pixel at a predicted boundary the probabilities of a pixel farther inside of its object.

    It does not know the classes: one network serves every model on images like those that it was trained on. Offsets
    come from a network (configs/segfix), or from files as the authors published them for Cityscapes.

    Args:
        checkpoint: of a network of SegFix.
        offsets: folder of files NAME.mat with a variable `mat`, [H,W,2] of whole steps y, x; NAME is the image's file
            without suffix. Give this or `checkpoint`.
        scale: pixels for each step; 0 changes nothing.

    Raises:
        DataError: neither or both are given, the checkpoint holds another network, or the folder does not exist.
    """

    network: Network | None

    def __init__(self, checkpoint: str | None = None, offsets: str | None = None, scale: NonNegativeInt = 2):
        super().__init__()
        if (checkpoint is None) == (offsets is None):
            raise DataError("give either checkpoint, a network of SegFix, or offsets, a folder of .mat files")
        self.scale, self.folder = scale, None if offsets is None else Path(offsets).expanduser()
        if self.folder is not None and not self.folder.is_dir():
            raise DataError(f"offsets = '{offsets}': no such folder")
        self.network = None if checkpoint is None else load_trained(checkpoint, _is_segfix, NEEDED)
        self._metas: Sequence[Meta] = ()

    def begin(self, metas: Sequence[Meta]) -> None:
        """Takes note of the images' names, by which files of offsets are found; see Refiner.begin."""
        self._metas = metas

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refines maps; see Refiner.refine."""
        if self.network is not None:
            outputs = self.network(image)
            boundary = outputs["logits"].float().softmax(1)[:, 1]
            size = (image.shape[-2], image.shape[-1])
            steps = predicted_offsets(boundary, outputs["direction"].float(), size)
        else:
            steps = self._read(coarse)
        return shifted(coarse, steps * self.scale)

    def _read(self, coarse: Tensor) -> Tensor:
        """The offsets in files, int64 [B,2,H,W]."""
        if len(self._metas) != len(coarse):
            raise DataError(
                f"offsets = '{self.folder}': the names of the images are unknown, by which their offsets are found; "
                "predict files, or give checkpoint"
            )
        size = (coarse.shape[-2], coarse.shape[-1])
        maps = [read_offsets(self._file(meta), size) for meta in self._metas]
        return torch.from_numpy(np.stack(maps)).to(coarse.device)

    def _file(self, meta: Meta) -> Path:
        assert self.folder is not None
        names = dict.fromkeys((Path(meta["path"]).stem, meta["id"], Path(meta["id"]).name))
        files = [self.folder / f"{name}.mat" for name in names if ".." not in Path(name).parts]
        return next((file for file in files if file.is_file()), files[0])


def read_offsets(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Reads a file of offsets in the format of SegFix's authors.

    Args:
        path: a .mat file with the variable `mat`, [H,W,2] of y and x.
        size: (H, W) of the image.

    Returns:
        int64 [2,H,W].

    Raises:
        DataError: the file is missing, of another size, or holds no whole numbers.
    """
    values = np.asarray(read_mat(path, "mat"))
    if values.dtype.kind not in "iuf" or values.ndim != 3 or values.shape[2] != 2:
        raise DataError(f"{path}: 'mat' of shape {values.shape} and type {values.dtype}; must be offsets [H,W,2]")
    if values.shape[:2] != size:
        raise DataError(
            f"{path}: offsets for {values.shape[1]}x{values.shape[0]} pixels, and the image has {size[1]}x{size[0]}"
        )
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise DataError(f"{path}: holds offsets that are no whole numbers")
    return np.ascontiguousarray(values.transpose(2, 0, 1)).astype(np.int64)


def _is_segfix(network: Network) -> bool:
    head = getattr(network, "head", None)
    return isinstance(head, HEADS.get("SegFixHead")) and network.num_classes == 2
