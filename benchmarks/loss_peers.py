"""The losses as they are usually published: one-hot labels, boolean indexing, loops over classes. Peers of losses.py.

B batch, K classes, H W image. Each takes logits float [B,K,H,W] and target int64 [B,H,W] with 255 ignored -> float [].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def onehot(target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """-> float one-hot [B,K,H,W], 0 on ignored pixels, and valid float [B,1,H,W]."""
    valid = target != IGNORE
    label = F.one_hot((target * valid).long(), num_classes).permute(0, 3, 1, 2)
    return (label * valid.unsqueeze(1)).float(), valid.unsqueeze(1).float()


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, ignore_index=IGNORE)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    label, valid = onehot(target, logits.shape[1])
    values = F.binary_cross_entropy_with_logits(logits, label, reduction="none") * valid
    return values.sum() / (valid.sum() * logits.shape[1])


def focal(logits: Tensor, target: Tensor) -> Tensor:
    values = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    return ((1 - torch.exp(-values)) ** 2 * values)[target != IGNORE].mean()


def sigmoid_focal(logits: Tensor, target: Tensor) -> Tensor:
    """One class against the rest after another, as segmentation_models_pytorch does."""
    valid = target != IGNORE
    total = 0
    for c in range(logits.shape[1]):
        x, label = logits[:, c][valid], (target == c)[valid].float()
        values = F.binary_cross_entropy_with_logits(x, label, reduction="none")
        total = total + ((1 - torch.exp(-values)) ** 2 * values).mean()
    return total / logits.shape[1]


def _regions(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    label, valid = onehot(target, logits.shape[1])
    p = logits.log_softmax(1).exp() * valid
    p, label = p.flatten(2), label.flatten(2)
    return (p * label).sum((0, 2)), p.sum((0, 2)), label.sum((0, 2))


def dice(logits: Tensor, target: Tensor) -> Tensor:
    overlap, predicted, true = _regions(logits, target)
    return ((1 - 2 * overlap / (predicted + true).clamp_min(1e-7)) * (true > 0)).mean()


def jaccard(logits: Tensor, target: Tensor) -> Tensor:
    overlap, predicted, true = _regions(logits, target)
    return ((1 - overlap / (predicted + true - overlap).clamp_min(1e-7)) * (true > 0)).mean()


def tversky(logits: Tensor, target: Tensor) -> Tensor:
    label, valid = onehot(target, logits.shape[1])
    p = logits.softmax(1) * valid
    tp = (p * label).sum((0, 2, 3))
    fp = (p * (1 - label)).sum((0, 2, 3))
    fn = ((1 - p) * label).sum((0, 2, 3))
    return ((1 - tp / (tp + 0.3 * fp + 0.7 * fn + 1e-7)) * (label.sum((0, 2, 3)) > 0)).mean()


def combo(logits: Tensor, target: Tensor) -> Tensor:
    label, valid = onehot(target, logits.shape[1])
    p = logits.sigmoid()
    clipped = p.clamp(1e-7, 1 - 1e-7)
    values = -(0.5 * label * clipped.log() + 0.5 * (1 - label) * (1 - clipped).log()) * valid
    p = p * valid
    overlap, total = (p * label).sum((0, 2, 3)), p.sum((0, 2, 3)) + label.sum((0, 2, 3))
    region = (1 - (2 * overlap + 1) / (total + 1)).mean()
    return 0.5 * values.sum() / (valid.sum() * logits.shape[1]) + 0.5 * region


def _jaccard_steps(sorted_label: Tensor) -> Tensor:
    total = sorted_label.sum()
    loss = 1 - (total - sorted_label.cumsum(0)) / (total + (1 - sorted_label).cumsum(0))
    loss[1:] = loss[1:] - loss[:-1].clone()
    return loss


def lovasz_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """Class after class, present ones alone, as the authors publish it."""
    p, labels = logits.softmax(1).permute(0, 2, 3, 1).reshape(-1, logits.shape[1]), target.flatten()
    valid = labels != IGNORE
    p, labels = p[valid], labels[valid]
    losses = []
    for c in range(p.shape[1]):
        foreground = (labels == c).float()
        if foreground.sum() == 0:
            continue
        errors, order = torch.sort((foreground - p[:, c]).abs(), 0, descending=True)
        losses.append(torch.dot(errors, _jaccard_steps(foreground[order])))
    return sum(losses) / len(losses)


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    valid = target != IGNORE
    x, label = logits[:, 0][valid], target[valid].float()
    errors, order = torch.sort(1 - x * (2 * label - 1), dim=0, descending=True)
    return torch.dot(F.relu(errors), _jaccard_steps(label[order]))


def ohem(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.softmax(1)
    index = torch.where(target == IGNORE, 0, target)
    p = p.gather(1, index.unsqueeze(1))
    mask = target.flatten() != IGNORE
    ordered, order = p.flatten()[mask].sort()
    bound = max(ordered[min(100_000, ordered.numel() - 1)], 0.7)
    values = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none").flatten()[mask][order]
    return values[ordered < bound].mean()


def mcc(logits: Tensor, target: Tensor) -> Tensor:
    p, label = logits.sigmoid().flatten(), target.flatten()
    valid = label != IGNORE
    p, label = p[valid], label[valid].float()
    tp, tn = (p * label).sum() + 1e-5, ((1 - p) * (1 - label)).sum() + 1e-5
    fp, fn = (p * (1 - label)).sum() + 1e-5, ((1 - p) * label).sum() + 1e-5
    return 1 - (tp * tn - fp * fn) / torch.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))


def _click_target(target: Tensor) -> Tensor:
    return torch.where(target == IGNORE, -1, target).unsqueeze(1).float()


def normalized_focal(logits: Tensor, target: Tensor) -> Tensor:
    label = _click_target(target)
    positive, valid = label > 0.5, label != -1
    p = logits.sigmoid()
    alpha = torch.where(positive, 0.5 * valid, 0.5 * valid)
    pt = torch.where(valid, 1 - (label - p).abs(), torch.ones_like(p))
    beta = (1 - pt) ** 2
    count = valid.sum(dim=(-2, -1), keepdim=True)
    multiplier = count / (beta.sum(dim=(-2, -1), keepdim=True) + 1e-12)
    beta = beta * multiplier.detach()
    values = -alpha * beta * torch.log(torch.min(pt + 1e-12, torch.ones_like(pt))) * valid
    return (values.sum((1, 2, 3)) / (valid.sum((1, 2, 3)) + 1e-12)).mean()


def binary_focal(logits: Tensor, target: Tensor) -> Tensor:
    label = _click_target(target)
    valid = label != -1
    p = logits.sigmoid()
    alpha = torch.where(label > 0.5, 0.5 * valid, 0.5 * valid)
    pt = torch.where(valid, 1 - (label - p).abs(), torch.ones_like(p))
    values = -alpha * (1 - pt) ** 2 * torch.log(torch.min(pt + 1e-9, torch.ones_like(pt))) * valid
    return (values.sum((1, 2, 3)) / (valid.sum((1, 2, 3)) + 1e-9)).mean()


def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    label = _click_target(target)
    valid = (label != -1).float()
    p = logits.sigmoid()
    overlap, union = (p * label * valid).sum((1, 2, 3)), (torch.max(p, label) * valid).sum((1, 2, 3))
    return (1 - overlap / (union + 1e-8)).mean()


def boundary_bce(logits: Tensor, target: Tensor) -> Tensor:
    x, label = logits.permute(0, 2, 3, 1).reshape(1, -1), target.reshape(1, -1).float()
    positive, negative = label == 1, label == 0
    weight = torch.zeros_like(x)
    total = positive.sum() + negative.sum()
    weight[positive], weight[negative] = negative.sum() / total, positive.sum() / total
    return F.binary_cross_entropy_with_logits(x, label, weight, reduction="sum") / total


def class_presence(logits: Tensor, target: Tensor) -> Tensor:
    """logits: float [B,K]; a histogram of each image in turn."""
    num_classes = logits.shape[1]
    present = [
        torch.histc(mask[mask != IGNORE].float(), bins=num_classes, min=0, max=num_classes - 1) > 0 for mask in target
    ]
    return F.binary_cross_entropy_with_logits(logits, torch.stack(present).float())


def distillation(logits: Tensor, target: Tensor) -> Tensor:
    """The teacher is the rolled batch: any other logits of the same size."""
    teacher = logits.detach().roll(1, 0)
    values = F.kl_div(logits.log_softmax(1), teacher.softmax(1), reduction="none").sum(1)
    return values[target != IGNORE].mean()


def rmi(logits: Tensor, target: Tensor) -> Tensor:
    label, valid = onehot(target, logits.shape[1])
    bce = F.binary_cross_entropy_with_logits(logits, label, weight=valid, reduction="sum") / (valid.sum() + 1)
    maps = [F.avg_pool2d(m, 4, 4, padding=2) for m in (label, logits.sigmoid() * valid + 1e-6)]
    height, width = maps[0].shape[2] - 2, maps[0].shape[3] - 2
    y, p = (
        torch.stack([m[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)], 2).flatten(3).double()
        for m in maps
    )
    y, p = y - y.mean(3, keepdim=True), p - p.mean(3, keepdim=True)
    eye = 5e-4 * torch.eye(9, dtype=torch.float64, device=logits.device)
    cross = y @ p.transpose(2, 3)
    inverse = torch.inverse(p @ p.transpose(2, 3) + eye)
    left = y @ y.transpose(2, 3) - cross @ inverse @ cross.transpose(2, 3) + eye
    roots = torch.linalg.cholesky(left).diagonal(dim1=2, dim2=3)
    return 0.5 * bce + 0.5 * ((roots + 1e-8).log().sum(2).mean(0).float() / 9).sum()
