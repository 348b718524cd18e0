"""Targets of the level-set loss: masks smoothed along the edges of the image, then along those of learned features.

Li et al., BoxLevelSet, ECCV 2022, section 3.3, https://arxiv.org/abs/2207.09055; Box2Mask does the same. B batch, n
instances in the order of their images, C channels, h w mask.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.rooted_tree import image_trees
from segkit.ops.instances.tree_filter import tree_filter

IMAGE_SIGMA, FEATURE_SIGMA = 0.02, 1.0
"""sigma of tree_filter along the image's tree and along the features' tree."""


def structure_maps(masks: Tensor, image: Tensor, features: Tensor, counts: Sequence[int]) -> Tensor:
    """Filters masks along the tree of their image, and the result along the tree of the features.

    The gradient reaches the masks through both filters and the features through the second: it is what trains them. All
    instances of an image share its two trees.

    Args:
        masks: float [n,h,w] probabilities.
        image: float [B,3,h,w], normalized; gets no gradient.
        features: float [B,C,h,w].
        counts: the number of instances of each image, n in all.

    Returns:
        float32 [n,2,h,w], the masks after the first and after both filters.
    """
    used = [i for i, count in enumerate(counts) if count]
    if not used:
        return full_precision(masks).unsqueeze(1).expand(-1, 2, -1, -1)
    counts = [counts[i] for i in used]
    image, features = full_precision(image[used]).detach(), full_precision(features[used])
    low = tree_filter(masks, image, image_trees(image), counts, sigma=IMAGE_SIGMA)
    high = tree_filter(low, features, image_trees(features), counts, sigma=FEATURE_SIGMA)
    return torch.stack([low, high], 1)


def image_index(counts: Sequence[int], device: torch.device) -> Tensor:
    """Returns the image of each instance, int64 [n].

    Args:
        counts: the number of instances of each image.
        device: of the result.
    """
    return torch.tensor([i for i, count in enumerate(counts) for _ in range(count)], dtype=torch.int64, device=device)
