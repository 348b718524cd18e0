"""Edge losses, RMI, affinity, presence and correlation: numbers by hand or slow references."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segkit.losses.affinity import Affinity
from segkit.losses.boundary import BoundaryBCE, EdgeAttention, ImageWeightedCrossEntropy
from segkit.losses.class_presence import ClassPresence
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.dual_task import DualTask, SobelL1, mean_of_neighbors
from segkit.losses.mcc import MCC
from segkit.losses.rmi import RMI
from segkit.ops.edges import label_edges, slope, sobel, triangle_smooth

FIXTURES = Path(__file__).parents[1] / "fixtures" / "losses"


def test_label_edges_by_hand():
    mask = torch.tensor([[[0, 0, 0, 1, 1], [0, 0, 0, 1, 255], [0, 0, 0, 255, 255]]])
    expected = torch.tensor([[[0, 0, 1, 1, 0], [0, 0, 1, 1, 255], [0, 0, 1, 255, 255]]])
    assert torch.equal(label_edges(mask), expected)
    assert label_edges(mask, radius=2)[0, 0].tolist() == [0, 1, 1, 1, 1]


def test_slopes_by_hand():
    ramp = 2.0 * torch.arange(5.0).expand(1, 1, 4, 5) + 1.0 * torch.arange(4.0).view(1, 1, 4, 1)
    assert slope(ramp)[0, 0, 1, 1:4].tolist() == pytest.approx([5**0.5] * 3)  # 2 along x and 1 along y
    assert sobel(ramp)[0, 0, 1, 1:4].tolist() == pytest.approx([(4**2 + 2**2 + 1e-4) ** 0.5] * 3)
    spike = torch.zeros(1, 1, 9, 9)
    spike[0, 0, 4, 4] = 9.0
    assert triangle_smooth(spike, 2)[0, 0, 4].tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, 0])


def test_boundary_bce_balances_edges_and_others():
    target = torch.tensor([[[1, 0, 0, 255]]])
    logits = torch.tensor([[[[0.5, -1.0, 2.0, 9.0]]]])
    edge, other = math.log1p(math.exp(-0.5)), math.log1p(math.exp(-1)) + math.log1p(math.exp(2))
    expected = (2 / 3 * edge + 1 / 3 * other) / 3
    assert BoundaryBCE()(logits, target).item() == pytest.approx(expected)
    assert BoundaryBCE(average="all")(logits, target).item() == pytest.approx(expected * 3 / 4)


def test_image_weighted_cross_entropy_by_hand():
    """Three pixels of class 0 and one of class 1: weights 1 + 1/4 and 1 + 3/4."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1, 1, 1] = 2.0
    target = torch.tensor([[[0, 0], [0, 1]]])
    rare = math.log1p(math.exp(-2))
    expected = (3 * 1.25 * math.log(2) + 1.75 * rare) / (3 * 1.25 + 1.75)
    assert ImageWeightedCrossEntropy()(logits, target).item() == pytest.approx(expected)
    assert ImageWeightedCrossEntropy(0.0)(logits, target).item() == pytest.approx(CrossEntropy()(logits, target).item())
    edges = torch.full((1, 1, 2, 2), 5.0)
    edges[0, 0, 0] = 1.0  # probability 0.73, below the threshold
    bottom = torch.where(torch.tensor([[[False], [True]]]), target, 255)
    attended = EdgeAttention()(logits, edges, target)
    assert attended.item() == pytest.approx(ImageWeightedCrossEntropy()(logits, bottom).item())


def test_dual_task_is_0_on_the_label_and_counts_a_shifted_edge():
    label = torch.zeros(1, 16, 16, dtype=torch.int64)
    label[:, :, 8:] = 1
    sure = 100.0 * F.one_hot(label, 2).permute(0, 3, 1, 2).float()
    loss = DualTask(radius=0)
    assert loss(sure, label) == 0
    # an edge has slope 1/2 on its two columns in both classes; shifted by 4, no columns are shared
    assert loss(sure.roll(4, 3), label).item() == pytest.approx(0.5)
    assert DualTask(radius=3)(sure.roll(1, 3), label) < DualTask(radius=3)(sure.roll(4, 3), label)


def test_sobel_l1_by_hand():
    """A step of 1 smoothed over 3 columns rises by 1/3 a column: its derivative is 2/3 on two columns, 1/3 beside."""
    target = torch.zeros(1, 1, 9, 12)
    target[..., 6:] = 1
    logits = torch.zeros(1, 1, 9, 12)  # 1/2 everywhere: flat where no border is near
    values = (sobel(mean_of_neighbors(logits.sigmoid())) - sobel(mean_of_neighbors(target))).abs()
    inner = torch.tensor([0.0, 1 / 3, 2 / 3, 2 / 3, 1 / 3, 0.0])
    eps = 1e-4
    assert torch.allclose(values[0, 0, 4, 3:9], (inner.square() + eps).sqrt() - eps**0.5)
    # In the corner the mean of 3 x 3 ones is 4/9, beside it 6/9, then 1; outside 0. Both derivatives are
    # (2 * 6/9 + 9/9) / 4 of one axis: 7/12.
    corner = sobel(mean_of_neighbors(torch.ones(1, 1, 6, 6)))[0, 0, 0, 0].item()
    assert corner == pytest.approx((2 * (7 / 12) ** 2 + eps) ** 0.5)
    assert SobelL1()(100 * (2 * target - 1), target) < 1e-6


def test_sobel_l1_is_the_published_edge_loss():
    """CascadePSP's term on its final map, and the edge strengths that it compares."""
    with np.load(FIXTURES / "cascadepsp_edges.npz") as file:
        stored = {name: torch.from_numpy(file[name]) for name in file.files}
    small = 3 * np.random.RandomState(30).standard_normal((2, 1, 12, 16)).astype(np.float32)
    logits = F.interpolate(torch.from_numpy(small), (48, 64), mode="bilinear", align_corners=False)
    for maps, name in ((logits.sigmoid(), "pred_sobel"), (stored["gt"], "gt_sobel")):
        assert torch.allclose(sobel(mean_of_neighbors(maps)), stored[name], atol=2e-6)
    assert SobelL1()(logits, stored["gt"]).item() == pytest.approx(stored["grad_loss"].item(), rel=1e-5)


def rmi_reference(logits: torch.Tensor, target: torch.Tensor, radius: int, stride: int) -> float:
    """Class by class and image by image with inverse and log determinant."""
    total, num_classes = 0.0, logits.shape[1]
    for image, labels in zip(logits.double(), target):
        for c in range(num_classes):
            valid = (labels != 255).double()
            maps = [(labels == c).double(), image[c].sigmoid() * valid + 1e-6]
            maps = [F.avg_pool2d(m[None, None], stride, stride, stride // 2)[0, 0] if stride > 1 else m for m in maps]
            rows, columns = maps[0].shape[0] - radius + 1, maps[0].shape[1] - radius + 1
            y, p = (
                torch.stack([m[i : i + rows, j : j + columns].flatten() for i in range(radius) for j in range(radius)])
                for m in maps
            )
            y, p = y - y.mean(1, keepdim=True), p - p.mean(1, keepdim=True)
            eye = 5e-4 * torch.eye(radius**2, dtype=torch.float64)
            left = y @ y.T - y @ p.T @ torch.linalg.inv(p @ p.T + eye) @ p @ y.T
            total += 0.5 * torch.logdet(left + eye).item() / radius**2
    return total / len(logits)


@pytest.mark.parametrize(("radius", "stride"), [(3, 4), (2, 1)])
def test_rmi_equals_a_plain_reference(radius, stride):
    rng = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn((2, 3, 24, 28), generator=rng)
    target = torch.randint(0, 3, (2, 6, 7), generator=rng).repeat_interleave(4, 1).repeat_interleave(4, 2)
    target[0, :9, :9] = 255
    value = RMI(weight=0.0, radius=radius, stride=stride)(logits, target).item()
    assert value == pytest.approx(rmi_reference(logits, target, radius, stride), rel=1e-5)
    with_bce = RMI(weight=1.0, radius=radius, stride=stride)(logits, target).item()
    valid = (target != 255).unsqueeze(1)
    onehot = torch.zeros_like(logits).scatter_(1, (target * valid[:, 0]).unsqueeze(1), 1.0)
    bce = F.binary_cross_entropy_with_logits(logits, onehot, reduction="none")
    assert with_bce == pytest.approx((bce * valid).sum().item() / valid.sum().item(), rel=1e-5)


def test_mcc_by_hand():
    target = torch.tensor([[[1, 1, 1, 0, 0, 0, 0, 0]]])
    sure = 100.0 * torch.tensor([[[[1, 1, -1, 1, -1, -1, -1, -1]]]])  # TP 2, FN 1, FP 1, TN 4
    assert MCC()(sure, target).item() == pytest.approx(1 - (2 * 4 - 1) / (3 * 3 * 5 * 5) ** 0.5, abs=1e-4)
    perfect = 100.0 * (2.0 * target.unsqueeze(1) - 1)
    assert MCC()(perfect, target) < 1e-4
    assert MCC()(-perfect, target) > 2 - 1e-4


def test_class_presence_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.5], [9.0, 9.0, 9.0]])
    target = torch.tensor([[[0, 2], [2, 255]], [[255, 255], [255, 255]]])
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(-0.5))) / 3
    assert ClassPresence()(logits, target).item() == pytest.approx(expected)
    # one output is the presence of label 1: absent, present, unknown
    one = torch.tensor([[2.0], [-1.0], [9.0]])
    labels = torch.tensor([[[0, 0, 255]], [[0, 1, 0]], [[255, 255, 255]]])
    expected = (math.log1p(math.exp(2)) + math.log1p(math.exp(1))) / 2
    assert ClassPresence()(one, labels).item() == pytest.approx(expected)


def test_affinity_by_hand():
    """Labels 0 0 1: rows 0 and 1 have one partner each, row 2 none; all p = 1/2."""
    target = torch.tensor([[[0, 0, 1]]])
    loss = Affinity((1, 3))
    recall, specificity, precision = math.log(2), math.log(2), math.log(3)
    assert loss(torch.zeros(1, 3, 3), target).item() == pytest.approx(math.log(2) + recall + specificity + precision)
    same = torch.tensor([[[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]])
    # p = label: recall and specificity are perfect; a row's own pair counts in its precision, 1 / 2
    assert loss(200 * (same - 0.5), target).item() == pytest.approx(math.log(2), abs=1e-6)
