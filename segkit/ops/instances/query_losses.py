"""Classification loss of the queries of a mask classifier, shared by box and mask losses."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


def query_class_loss(
    logits: Tensor, matches: list[tuple[Tensor, Tensor]], labels: list[Tensor], no_object: float
) -> Tensor:
    """logits: float [B,Q,K+1] -> float32 [], cross entropy over the sum of the class weights."""
    num_classes = logits.shape[2] - 1
    target = torch.full(logits.shape[:2], num_classes, device=logits.device)
    for row, (queries, objects), label in zip(target, matches, labels):
        queries, objects = (part.to(label.device, non_blocking=True) for part in (queries, objects))
        row[queries] = label[objects]
    weight = torch.ones(num_classes + 1, device=logits.device)
    weight[-1] = no_object
    return F.cross_entropy(full_precision(logits).flatten(0, 1), target.flatten(), weight)
