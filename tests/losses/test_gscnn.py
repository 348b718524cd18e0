"""The four losses of Gated-SCNN: values and gradients of its authors' code, slow references, numbers by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from segkit.losses.boundary import BoundaryBCE, EdgeAttention, ImageWeightedCrossEntropy
from segkit.losses.dual_task import ProbabilityDualTask, gumbel_like
from segkit.ops.edges import label_edges_in_disc
from tests.oracles import error, fixture

CONTENT, STORED = fixture("gscnn", "losses")
LABELS = torch.from_numpy(STORED["labels"]).long()


def enlarged(name: str) -> torch.Tensor:
    """The stored small map at the labels' size, a leaf."""
    small = torch.from_numpy(STORED[name])
    return F.interpolate(small, LABELS.shape[1:], mode="bilinear", align_corners=False).requires_grad_()


def check(value: torch.Tensor, gradient: torch.Tensor, name: str, gradient_name: str):
    """Holds a value to 1e-5 of itself, its gradient to 1e-5 of the largest entry."""
    assert value.item() == pytest.approx(STORED[name].item(), rel=1e-5)
    entry = CONTENT["outputs"][gradient_name]
    assert error(gradient, STORED[gradient_name], entry | {"std": entry["absmax"]}) < 1e-5
    total = STORED[f"{gradient_name}_abs_sum"].item()
    assert gradient.abs().double().sum().item() == pytest.approx(total, rel=1e-5)


def test_segmentation_loss_is_the_authors():
    logits = enlarged("seg_logits_12x16")
    value = ImageWeightedCrossEntropy(sum_images=True)(logits, LABELS)
    check(value, torch.autograd.grad(value, logits)[0], "seg_loss", "seg_loss/grad_seg")


def test_edge_loss_is_the_authors():
    """Their gradient is that of the probabilities, dp/dx = p (1 - p)."""
    logits, edges = enlarged("edge_logits_12x16"), torch.from_numpy(STORED["edges"]).long()
    value = 20 * BoundaryBCE(sigmoid_twice=True, average="all")(logits, edges)
    p = logits.detach().sigmoid()
    gradient = torch.autograd.grad(value, logits)[0] / (p * (1 - p))
    check(value, gradient, "edge_loss", "edge_loss/grad_edge")
    plain = 20 * BoundaryBCE(average="all")(logits, edges)
    assert plain.item() == pytest.approx(STORED["edge_loss_on_logits"].item(), rel=1e-5)


def test_dual_task_loss_is_the_authors():
    logits = enlarged("seg_logits_12x16")
    uniform = torch.from_numpy(np.random.RandomState(23).rand(*logits.flatten(2).shape).astype(np.float32))
    noise = -(1e-10 - (uniform + 1e-10).log()).log().view_as(logits)
    value = ProbabilityDualTask().with_noise(logits, LABELS, noise)
    check(value, torch.autograd.grad(value, logits)[0], "dual_loss", "dual_loss/grad_seg")
    without = ProbabilityDualTask()(logits, LABELS)
    assert without.item() == pytest.approx(STORED["dual_loss_without_noise"].item(), rel=1e-5)


def test_edge_labels_are_the_authors():
    assert torch.equal(label_edges_in_disc(LABELS, 2), torch.from_numpy(STORED["edges"])[:, 0].long())


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
def test_edge_labels_are_those_of_distance_transforms(radius):
    """Of every class, the first one too, in an image with a border of another class around it."""
    rng = np.random.RandomState(radius)
    mask = rng.randint(0, 4, (2, 5, 6)).repeat(5, 1).repeat(4, 2)
    mask[mask == 3] = 255
    expected = np.zeros(mask.shape, bool)
    for image, edges in zip(mask, expected):
        for c in range(3):
            inside = np.pad(image == c, 1)
            distance = (distance_transform_edt(inside) + distance_transform_edt(~inside))[1:-1, 1:-1]
            edges |= distance <= radius
    assert expected.any() == (radius > 0)
    assert np.array_equal(label_edges_in_disc(torch.from_numpy(mask), radius).bool(), expected)


def test_boundary_loss_reads_edges_of_labels_and_leaves_ignored_pixels_out():
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 1, *LABELS.shape[1:])
    edges = torch.from_numpy(STORED["edges"])[:, 0].long()
    with_ignored = torch.where(LABELS == 255, 255, edges)
    options = dict(sigmoid_twice=True, average="all")
    of_labels = BoundaryBCE(of_labels=2, in_disc=True, **options)(logits, LABELS)
    assert of_labels == BoundaryBCE(**options)(logits, with_ignored) != BoundaryBCE(**options)(logits, edges)


def test_sum_over_images_is_the_mean_times_their_number():
    logits, edge = enlarged("seg_logits_12x16").detach(), enlarged("edge_logits_12x16").detach()
    assert ImageWeightedCrossEntropy(sum_images=True)(logits, LABELS).item() == pytest.approx(
        2 * ImageWeightedCrossEntropy()(logits, LABELS).item(), rel=1e-6
    )
    near = torch.where(edge[:, 0].sigmoid() > 0.8, LABELS, 255)
    expected = sum(ImageWeightedCrossEntropy()(logits[i : i + 1], near[i : i + 1]) for i in (0, 1))
    attended = EdgeAttention(sum_images=True)(logits, edge, LABELS)
    assert attended.item() == pytest.approx(expected.item(), rel=1e-6)
    assert EdgeAttention(sum_images=True)(logits, torch.full_like(edge, 1.3), LABELS) == 0  # 0.79: no edge


def test_probability_dual_task_by_hand():
    """One pixel of two classes with p = (3/4, 1/4), one ignored, with p = (1/2, 1/2) and label 0."""
    logits = torch.tensor([[[[0.5 * math.log(3), 9.0]], [[0.0, -9.0]]]])
    target = torch.tensor([[[1, 255]]])
    small = 5e-7  # 1e-6 / 2: what stands under the root beside p^2

    def root(p: float) -> float:
        return math.sqrt(p * p + small)

    highest, one, none = root(0.75), 1.0, root(0) / root(1)
    differences = [
        abs(root(0.75) / highest - none),
        abs(root(0.25) / highest - one),
        abs(root(0.5) / highest - one),
        abs(root(0.5) / highest - none),
    ]
    assert ProbabilityDualTask()(logits, target).item() == pytest.approx(sum(differences) / 4, rel=1e-5)


def test_noise_is_gumbels_and_follows_the_seed():
    torch.manual_seed(1)
    noise = gumbel_like(torch.empty(200_000))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.02)
    logits, values = enlarged("seg_logits_12x16").detach(), []
    for seed in (2, 2, 3):
        torch.manual_seed(seed)
        values.append(ProbabilityDualTask(noise=True)(logits, LABELS).item())
    assert values[0] == values[1] != values[2]
