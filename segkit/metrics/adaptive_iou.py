"""IoU of training batches at a threshold that follows the model, to watch the training of click models.

As in the code of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.
"""

import torch
from torch import Tensor


class AdaptiveIoU:
    """Mean IoU of each batch's object masks, at the best of three thresholds around a slowly moving one.

    A batch tries t, t - step and t + step, keeps the best mean IoU (the first of equals), and moves t towards its
    threshold. All numbers are float64 tensors on the logits' device, which is never waited for.

    Args:
        start: first threshold.
        step: distance of the two other thresholds.
        beta: share of the old threshold in the new one.
        ema: share of the old running IoU in the new one.

    Attributes:
        threshold: the moving threshold.
        running: running mean of the IoUs; starts at 0.
        latest: IoU of the last batch that had an object.
    """

    def __init__(self, start: float = 0.4, step: float = 0.025, *, beta: float = 0.99, ema: float = 0.9):
        self.start, self.step, self.beta, self.ema = start, step, beta, ema
        self.threshold = torch.tensor(start, dtype=torch.float64)
        self.running = torch.zeros((), dtype=torch.float64)
        self.latest = torch.zeros((), dtype=torch.float64)
        self.reset()

    def reset(self) -> None:
        """Starts a new mean; threshold and running IoU stay."""
        self._total = torch.zeros((), dtype=torch.float64)
        self._batches = torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> Tensor:
        """Takes a batch.

        Samples without a pixel in truth and prediction are left out; a batch without any object changes nothing.

        Args:
            logits: float [B,1,H,W].
            target: [B,1,H,W] or [B,H,W], object above .5, ignored -1.

        Returns:
            `latest`, float64 [].
        """
        if target.dim() == 3:
            target = target[:, None]
        self._to(logits.device)
        probabilities, truth, valid = logits.float().sigmoid(), target > 0.5, target != -1
        candidates = torch.stack([self.threshold, self.threshold - self.step, self.threshold + self.step])
        ious = torch.stack([_mean_iou(((probabilities > t) & valid), truth) for t in candidates])
        best, index = ious.max(0, keepdim=True)  # of equals the first
        threshold = self.beta * self.threshold + (1 - self.beta) * candidates.gather(0, index)[0]
        iou = best[0]
        has_object = truth.any()
        self.threshold = torch.where(has_object, threshold, self.threshold)
        self.running = torch.where(has_object, self.ema * self.running + (1 - self.ema) * iou, self.running)
        self.latest = torch.where(has_object, iou, self.latest)
        self._total = self._total + torch.where(has_object, iou, torch.zeros_like(iou))
        self._batches = self._batches + has_object
        return self.latest

    def mean(self) -> Tensor:
        """Returns the mean over the batches with an object since reset, float64 []; NaN before the first."""
        return self._total / self._batches

    def _to(self, device: torch.device) -> None:
        for name in ("threshold", "running", "latest", "_total", "_batches"):
            setattr(self, name, getattr(self, name).to(device))


def _mean_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean IoU of the samples with a pixel in either mask, bool [B,1,H,W]: float64 [], 0 where there is none."""
    common = (predicted & truth).sum((1, 2, 3)).double()
    union = (predicted | truth).sum((1, 2, 3)).double()
    return (common / union.clamp(min=1)).sum() / (union > 0).sum().clamp(min=1)
