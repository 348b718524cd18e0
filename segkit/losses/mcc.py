"""Matthews correlation coefficient as a loss.

Abhishek and Hamarneh, ISBI 2021, https://arxiv.org/abs/2010.13454. B batch, K classes, H W image.
"""

from torch import Tensor

from segkit.constraints.named import NonNegativeFloat
from segkit.losses.base import Loss
from segkit.ops.region_sums import region_sums
from segkit.registry import LOSSES


@LOSSES.register
class MCC(Loss):
    """1 - Matthews correlation coefficient of each class against the rest, averaged over classes.

    1 - (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN)) over the batch (eq. 3 and 4 of the paper).
    segmentation_models_pytorch's form takes probabilities of one class.

    Args:
        activation: "sigmoid" (binary and multi-label), "softmax", or "none" where the inputs are probabilities.
        eps: added to each of the four counts.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")

    def __init__(self, activation: str = "sigmoid", eps: NonNegativeFloat = 1e-5, ignore: float | None = None):
        super().__init__()
        self.activation, self.eps, self.ignore = activation, eps, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W] of class indices, or the logits' shape with 0 and 1.

        Returns:
            float [], 0 where nothing is valid.
        """
        sums = region_sums(logits, target, activation=self.activation, ignore=self.ignore)
        overlap, predicted, true, valid = (values.sum(0) for values in sums)
        # shares instead of counts: the product of four counts of a large batch leaves float32's exact range
        number = valid.clamp_min(1)
        tp = (overlap + self.eps) / number
        fp = (predicted - overlap + self.eps) / number
        fn = (true - overlap + self.eps) / number
        tn = (valid - predicted - true + overlap + self.eps) / number
        product = ((tp + fp) * (tp + fn)).sqrt() * ((tn + fp) * (tn + fn)).sqrt()
        return ((1 - (tp * tn - fp * fn) / product) * (valid > 0)).mean()
