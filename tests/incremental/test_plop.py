"""PLOP's terms against cssegmentation's on its own inputs, and by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.losses.incremental.incremental_kd import OldClassKD
from segkit.losses.incremental.plop import LocalPOD, PseudoLabelCE
from segkit.ops.incremental.local_pod import local_pod
from segkit.ops.incremental.pseudo_labels import entropy, entropy_histogram, median_thresholds, pseudo_labels

with np.load(Path(__file__).parents[1] / "fixtures/mib/plop.npz") as arrays:
    PUBLISHED = {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def maps() -> list[torch.Tensor]:
    """Logits of student and teacher, then the pairs of features."""
    order = (3, 0, 1, 2)
    return [PUBLISHED[f"pod/{side}{i}"] for i in order for side in ("new", "old")]


def test_pooled_cells_are_the_published_ones():
    torch.testing.assert_close(
        local_pod(PUBLISHED["pod/new0"]), PUBLISHED["pod/localpod_scale124_of_new0"], rtol=1e-5, atol=1e-7
    )


def test_distillation_of_features_is_the_published_one():
    assert LocalPOD()(*maps()).item() == pytest.approx(PUBLISHED["pod/pod_loss_16_5"].item(), rel=1e-5)


def test_entropy_is_the_published_one():
    values = entropy(PUBLISHED["pod/old3"].softmax(1))
    torch.testing.assert_close(values, PUBLISHED["pod/entropy_of_softmax_old3"], rtol=1e-5, atol=1e-8)


def test_ilt_distillation_is_the_published_one():
    value = 100 * OldClassKD()(PUBLISHED["pod/new3"], PUBLISHED["pod/old3"])
    assert value.item() == pytest.approx(PUBLISHED["pod/ilt_kd_scale100"].item(), rel=1e-5)


def test_pooled_cells_by_hand():
    """2 x 4: the whole map's two rows and four columns, then the 2 x 2 grid of cells of 1 x 2."""
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).view(1, 1, 2, 4)
    whole = [2.5, 6.5, 3.0, 4.0, 5.0, 6.0]
    cells = [1.5, 1.0, 2.0, 3.5, 3.0, 4.0, 5.5, 5.0, 6.0, 7.5, 7.0, 8.0]
    assert local_pod(x, (1, 2)).tolist() == [whole + cells]
    assert local_pod(x, (1, 2, 4)).tolist() == [whole + cells]  # no grid of 4 x 4 in two rows


def test_equal_student_and_teacher_have_no_distance_and_a_finite_gradient():
    teacher = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = torch.cat([teacher, torch.zeros(1, 2, 8, 8)], 1).requires_grad_()
    value = LocalPOD()(logits, teacher, teacher, teacher)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value == 0 and gradient.isfinite().all()


def test_pod_by_hand():
    """One pixel: rows and columns of the whole map are the square itself, so the norm is sqrt(2 sum (x^2 - t^2)^2)."""
    logits = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)  # 1 + 3 in the background
    teacher = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)
    own, other = torch.tensor([[[[2.0]]]]), torch.tensor([[[[1.0]]]])
    of_logits = (2 * ((16 - 4) ** 2 + (4 - 1) ** 2)) ** 0.5
    of_features = (2 * 3**2) ** 0.5
    expected = 3**0.5 * (0.1 * of_logits + 10 * of_features) / 2
    assert LocalPOD(10, 0.1)(logits, teacher, own, other).item() == pytest.approx(expected)


def test_features_are_compared_before_their_leaky_relu():
    """All pairs but the last, the embedding; the gradient is that of the values before it."""
    rng = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(1, 3, 4, 4, generator=rng), torch.randn(1, 2, 4, 4, generator=rng)
    before = torch.randn(4, 1, 3, 4, 4, generator=rng).requires_grad_()
    *maps, own, other = before
    expected = LocalPOD()(logits, teacher, *maps, own, other)
    activated = [torch.nn.functional.leaky_relu(x, 0.01) for x in maps]
    value = LocalPOD(leak=0.01)(logits, teacher, *activated, own, other)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = [torch.autograd.grad(x, before)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
    assert value.item() != pytest.approx(LocalPOD()(logits, teacher, *activated, own, other).item(), rel=1e-2)


@pytest.mark.parametrize(("count", "message"), [(1, "pairs"), (2, "same shape")])
def test_maps_without_partner_are_refused(count, message):
    x = torch.zeros(1, 3, 4, 4)
    extra = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 5, 4)][:count]
    with pytest.raises(ValueError, match=message):
        LocalPOD()(x, x[:, :2], *extra)


def test_grids_need_the_whole_map():
    with pytest.raises(ValueError, match="1 must be among"):
        LocalPOD(scales=(2, 4))


# -- thresholds


def searched_median(counts: list[int], floor: float) -> float:
    """The authors' search, bin after bin, in float32."""
    counts = torch.tensor(counts)
    n, half, running = len(counts), counts.sum() / 2, 0.0
    if half <= 0:
        return floor
    for lower in range(n):
        lower = lower / n
        index = int(lower * n)
        if half >= running and half <= running + counts[index]:
            break
        running += lower * n
    return max(lower + (half - running) / counts[index] * (1 / n), floor)


def test_medians_by_hand():
    histogram = torch.zeros(5, 100, dtype=torch.int64)
    histogram[0, 10], histogram[0, 20] = 1, 3  # half is 2: a third into bin 20
    histogram[1, 0] = 1  # half of bin 0
    histogram[2, 99] = 4
    histogram[3, :2] = 5  # half is reached at the end of bin 0
    values = median_thresholds(histogram).tolist()
    assert values == pytest.approx([0.2 + 0.01 / 3, 0.005, 0.995, 0.01, 0.001])
    assert median_thresholds(histogram, floor=0.3).tolist() == pytest.approx([0.3, 0.3, 0.995, 0.3, 0.3])


def test_medians_of_many_values_are_those_of_the_values():
    values = torch.rand(3, 4001, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    histogram = torch.stack([torch.histc(row, 100, 0, 1) for row in values]).long()
    torch.testing.assert_close(median_thresholds(histogram).double(), values.median(1).values, atol=0.01, rtol=0)


def test_published_search_for_the_median():
    """In bin 0 both searches agree; later the published one is wrong, and at an empty last bin not finite."""
    rng = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, 40, (100,), generator=rng) for _ in range(6)]
    rows += [torch.randint(0, high, (100,), generator=rng) for high in (2, 3, 200)]
    rows += [torch.zeros(100, dtype=torch.int64), torch.eye(100, dtype=torch.int64)[57] * 7]
    rows += [torch.eye(100, dtype=torch.int64)[0] * 9, torch.arange(100) * (torch.arange(100) < 70)]
    histogram = torch.stack(rows)
    values = median_thresholds(histogram, published=True)
    expected = torch.tensor([float(searched_median(row.tolist(), 0.001)) for row in rows])
    torch.testing.assert_close(values, expected, equal_nan=True)
    assert values[-2] == median_thresholds(histogram)[-2]
    assert not torch.equal(values[:6], median_thresholds(histogram)[:6])


def test_histogram_counts_background_pixels_by_the_teachers_class():
    """Two classes and three with this step's: certain pixels have entropy 0, an even one (log 2 / 2) / log 2 = 1/2,
    divided by log 3: 0.455."""
    teacher = torch.tensor([[50.0, 0.0, 0.0, 50.0], [0.0, 50.0, 0.0, 0.0]]).view(1, 2, 1, 4)
    target = torch.tensor([[[0, 0, 0, 2]]])
    histogram = entropy_histogram(teacher, target, 3)
    expected = torch.zeros(2, 100, dtype=torch.int64)
    expected[0, 0] = expected[1, 0] = expected[0, 45] = 1
    assert torch.equal(histogram, expected)


def test_pseudo_labels_by_hand():
    """Pixels: certain class 1 on background, even on background, certain class 0 on an old label, a new label, void."""
    teacher = torch.tensor([[0.0, 0.0, 50.0, 50.0, 50.0], [50.0, 0.0, 0.0, 0.0, 0.0]]).view(1, 2, 1, 5)
    target = torch.tensor([[[0, 0, 1, 2, 255]]])
    labels, share = pseudo_labels(teacher, target, torch.tensor([0.4, 0.4]), num_classes=3, ignore=255)
    assert labels.tolist() == [[[1, 255, 0, 2, 255]]]
    assert share.tolist() == pytest.approx([2 / 3])
    labels, share = pseudo_labels(teacher, target, torch.tensor([0.5, 0.0]), num_classes=3, ignore=255)
    assert labels.tolist() == [[[255, 0, 0, 2, 255]]] and share.tolist() == pytest.approx([2 / 3])


def test_loss_on_pseudo_labels_by_hand():
    """The same pixels with even logits of 3 classes: log 3 each, three of five take part with the factor 2/3."""
    teacher = torch.tensor([[0.0, 0.0, 50.0, 50.0, 50.0], [50.0, 0.0, 0.0, 0.0, 0.0]]).view(1, 2, 1, 5)
    target = torch.tensor([[[0, 0, 1, 2, 255]]])
    logits = torch.zeros(1, 3, 1, 5)
    value = PseudoLabelCE([0.4, 0.4])(logits, teacher, target)
    assert value.item() == pytest.approx(np.log(3) * 3 / 5 * 2 / 3)
    value = PseudoLabelCE([0.4, 0.4], average="valid")(logits, teacher, target)
    assert value.item() == pytest.approx(np.log(3) * 2 / 3)


def test_thresholds_are_measured_and_kept_in_the_state():
    rng = torch.Generator().manual_seed(0)
    teacher, target = torch.randn(4, 3, 6, 6, generator=rng) * 3, torch.randint(0, 5, (4, 6, 6), generator=rng)
    logits = torch.randn(4, 5, 6, 6, generator=rng)
    loss = PseudoLabelCE()
    assert not loss.is_ready and PseudoLabelCE([0.1] * 3).is_ready
    with pytest.raises(ValueError, match="observe"):
        loss(logits, teacher, target)
    for half in (slice(0, 2), slice(2, 4)):
        loss.observe(teacher[half], target[half], 5)
    loss.finish()
    assert loss.is_ready
    assert torch.equal(loss.thresholds, median_thresholds(entropy_histogram(teacher, target, 5)))
    resumed = PseudoLabelCE()
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed(logits, teacher, target), loss(logits, teacher, target))
    with pytest.raises(ValueError, match="before any batch"):
        loss.finish()
