"""Classification loss of the queries of a mask classifier, shared by box and mask losses. B batch, Q queries, K
classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


def query_class_loss(
    logits: Tensor, matches: list[tuple[Tensor, Tensor]], labels: list[Tensor], no_object: float
) -> Tensor:
    """Computes the cross entropy of the queries' classes, divided by the sum of the class weights.

    Args:
        logits: float [B,Q,K+1], the last class being no object.
        matches: B of the matched queries and objects, int64 each, as matching.hungarian returns them. The target of
            other queries is no object.
        labels: B of int64 [n], the classes of the objects.
        no_object: weight of the class no object; the other classes have weight 1.

    Returns:
        float32 [].
    """
    num_classes = logits.shape[2] - 1
    target = torch.full(logits.shape[:2], num_classes, device=logits.device)
    for row, (queries, objects), label in zip(target, matches, labels):
        queries = queries.to(label.device, non_blocking=True)
        objects = objects.to(label.device, non_blocking=True)
        row[queries] = label[objects]
    logits = full_precision(logits)
    weight = logits.new_ones(num_classes + 1)
    weight[-1] = no_object
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)
