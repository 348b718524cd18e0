"""Matthews correlation coefficient as a loss. Abhishek and Hamarneh, ISBI 2021, https://arxiv.org/abs/2010.13454.
B batch, K classes, H W image."""

from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.region_sums import region_sums
from segkit.registry import LOSSES


@LOSSES.register
class MCC(Loss):
    """1 - (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN)) over the batch, of each class against the
    rest, mean over classes (eq. 3 and 4 of the paper).

    activation: "sigmoid" (binary and multi-label), "softmax", or "none" where probabilities come in. eps: added to each
    of the four counts. segmentation_models_pytorch's form takes probabilities of one class.
    """

    row = dict(target="mask")

    def __init__(self, activation: str = "sigmoid", eps: float = 1e-5, ignore: float = 255):
        super().__init__()
        self.activation, self.eps, self.ignore = activation, eps, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits: float [B,K,H,W]; target: int64 [B,H,W] of class indices, or the logits' shape with 0 and 1
        -> float [], 0 where nothing is valid."""
        sums = region_sums(logits, target, activation=self.activation, ignore=self.ignore)
        overlap, predicted, true, valid = (part.sum(0) for part in sums)
        # shares in place of counts: the product of four counts of a large batch leaves float32's exact range
        number = valid.clamp_min(1)
        tp = (overlap + self.eps) / number
        fp = (predicted - overlap + self.eps) / number
        fn = (true - overlap + self.eps) / number
        tn = (valid - predicted - true + overlap + self.eps) / number
        product = ((tp + fp) * (tp + fn)).sqrt() * ((tn + fp) * (tn + fn)).sqrt()
        return ((1 - (tp * tn - fp * fn) / product) * (valid > 0)).mean()
