"""Masks of boxes by MAL's network, as annotations in COCO's format that any network of instances learns from.

Lan et al., MAL, CVPR 2023, section 3.1, https://arxiv.org/abs/2301.03992. B crops, H W image, h w masks.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from segkit.data.files.coco_json import row_of
from segkit.data.instances.base import annotation
from segkit.data.instances.box_crops import BoxCrops
from segkit.models.mask_labeler import MaskLabeler
from segkit.ops.resizing import resize

THRESHOLD = 0.1
"""Probability above which a pixel is in a mask, as in the authors' code."""


def pasted_mask(
    probabilities: Tensor, crop: Sequence[int], size: tuple[int, int], *, threshold: float = THRESHOLD
) -> np.ndarray:
    """Puts the mask of a crop into its image.

    Args:
        probabilities: float [h,w], 0 outside of the box.
        crop: x0, y0, x1, y1 in pixels of the image, which it may leave.
        size: (H, W).
        threshold: probability above which a pixel belongs to the mask.

    Returns:
        bool [H,W].
    """
    x0, y0, x1, y1 = crop
    inside = (resize(probabilities[None], size=(y1 - y0, x1 - x0))[0] > threshold).cpu().numpy()
    mask = np.zeros(size, bool)
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, size[0]), min(x1, size[1])
    mask[top:bottom, left:right] = inside[top - y0 : bottom - y0, left - x0 : right - x0]
    return mask


@torch.no_grad()
def box_labels(
    model: MaskLabeler, crops: BoxCrops, *, batch_size: int = 8, threshold: float = THRESHOLD
) -> Iterator[dict[str, Any]]:
    """Labels boxes.

    Args:
        model: in evaluation mode.
        crops: of the boxes, with training=False.
        batch_size: crops that are labelled at once.
        threshold: see pasted_mask.

    Yields:
        An annotation for each box, in the order of the crops: that of its file with `segmentation`, a run-length code.
        `area` and `bbox` stay those of the box.
    """
    device, rng = model.mean.device, np.random.default_rng(0)
    for start in range(0, len(crops), batch_size):
        numbers = range(start, min(start + batch_size, len(crops)))
        samples = [crops.sample(number, rng) for number in numbers]
        images = torch.from_numpy(np.stack([sample["image"] for sample in samples])).permute(0, 3, 1, 2).to(device)
        boxes = torch.from_numpy(np.stack([cast(np.ndarray, sample["mask"]) for sample in samples])).to(device).float()
        rows = [crops.objects[number] for number in numbers]
        areas = torch.tensor([row.w * row.h for _, row in rows], device=device)
        probabilities = cast(Tensor, model(images, areas)["logits"])[:, 0].sigmoid()
        probabilities = probabilities * resize(boxes, size=probabilities.shape[1:])
        for sample, (image, row), found in zip(samples, rows, probabilities):
            height, width = (int(side) for side in cast(np.ndarray, crops.dataset.sizes)[image])
            mask = pasted_mask(found, sample["meta"]["crop"], (height, width), threshold=threshold)
            code = row_of(mask)["segmentation"]
            yield annotation(row, crops.dataset.image_ids[image], code)


def labelled_file(crops: BoxCrops, entries: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Makes the content of a COCO file: images and categories of the boxes' file, and annotations, each id once.

    Args:
        crops: of the boxes.
        entries: of box_labels.
    """
    truth = crops.dataset.annotations
    known = {entry["id"]: entry for entry in entries}
    return dict(images=truth["images"], categories=truth["categories"], annotations=[*known.values()])
