"""Tree energy: teaches pixels without a label by what is near them on trees of the image and of learned features.

Liang et al., TreeEnergyLoss, CVPR 2022, https://arxiv.org/abs/2203.10739. B batch, K classes, C channels, H W image,
h w logits.
"""

from torch import Tensor

from segkit.constraints.named import PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.rooted_tree import image_trees
from segkit.ops.instances.tree_filter import tree_filter
from segkit.ops.resizing import resize
from segkit.registry import LOSSES

FEATURE_SIGMA = 1.0
"""sigma of tree_filter along the tree of the features."""


@LOSSES.register
class TreeEnergy(Loss):
    """Tree energy loss: the mean distance of probabilities and their tree filters, on pixels without a label.

    L1 distance, summed over classes and averaged over unlabelled pixels, of the softmax P and Y = F_high(F_low(P)).
    F_low filters along the tree of the image, F_high along that of learned features (eq. 3 to 6 of the paper). Y is not
    detached: the gradient goes through both filters, as in the authors' code. It stands beside a CrossEntropy of the
    labelled pixels; published weights are 0.4 (stride 16 and Cityscapes) and 0.6 (stride 32). Unlabelled pixels are
    marked by the transform MarkUnlabelled; padding is not among them. `projected` comes from model.projection=256;
    without it name the logits alone: on=["logits"].

    Args:
        sigma: of the filter along the image, whose values are 0..1: 0.02 for VOC, 0.002 for Cityscapes and ADE20K.
    """

    row = dict(on=["logits", "projected"], target=["image", "unlabelled"], at="native")
    one_channel = "BinaryCrossEntropy on the labelled pixels alone"
    no_compile = "spanning trees are grown step by step, as long as the image needs"

    def __init__(self, sigma: PositiveFloat = 0.02):
        super().__init__()
        self.sigma = sigma

    def forward(self, logits: Tensor, *others: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,h,w].
            others: the features, float [B,C,h,w], or nothing; then the image, uint8 or float [B,3,H,W] in 0..255; then
                the unlabelled pixels, uint8 [B,H,W].

        Returns:
            float32 [], 0 with a graph where every pixel has a label.
        """
        self.need_channels(logits)
        *features, image, unlabelled = others
        probabilities = full_precision(logits).softmax(1)
        size = (logits.shape[2], logits.shape[3])
        low, high = filtered(
            probabilities,
            resize(image.to(probabilities.dtype) / 255, size=size),
            resize(full_precision(features[0]), size=size) if features else None,
            sigma=self.sigma,
        )
        target = low if high is None else high
        is_open = resize(unlabelled.unsqueeze(1).to(probabilities.dtype), size=size, mode="nearest")[:, 0]
        distance = (probabilities - target).abs().sum(1)
        return (distance * is_open).sum() / is_open.sum().clamp_min(1)


def filtered(
    probabilities: Tensor, image: Tensor, features: Tensor | None, *, sigma: float
) -> tuple[Tensor, Tensor | None]:
    """Filters the probabilities of all classes along the trees of an image and of features.

    Args:
        probabilities: float [B,K,h,w].
        image: float [B,3,h,w] in 0..1; gets no gradient.
        features: float [B,C,h,w], or None.
        sigma: of tree_filter on the image.

    Returns:
        After the first filter, float32 [B,K,h,w], and after both; None without features.
    """
    counts = [probabilities.shape[1]] * len(probabilities)
    image = image.detach()
    low = tree_filter(probabilities.flatten(0, 1), image, image_trees(image), counts, sigma=sigma)
    if features is None:
        return low.view_as(probabilities), None
    high = tree_filter(low, features, image_trees(features), counts, sigma=FEATURE_SIGMA)
    return low.view_as(probabilities), high.view_as(probabilities)
