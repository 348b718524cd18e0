"""Region energy against published numbers, autograd of the plain formula, and by hand."""

import pytest
import torch

from segkit.ops.instances import level_set
from segkit.ops.instances.level_set import box_areas, contour_length, region_energy
from tests.instances.published import load, off


def plain_energy(masks, boxes, target):
    """The formula as it stands: every map is made."""
    phi = torch.stack([masks, 1 - masks], 1) * boxes.unsqueeze(1)
    target = target * boxes.unsqueeze(1)
    energy = 0
    for region in phi.unbind(1):
        mean = (region.unsqueeze(1) * target).sum((2, 3)) / region.sum((1, 2)).clamp_min(1e-5).unsqueeze(1)
        energy = energy + ((target - mean[..., None, None]) ** 2 * region.unsqueeze(1)).sum((1, 2, 3))
    return energy / target.shape[1]


def test_values_and_gradients_are_the_published_ones():
    known = load("levelset")
    logits, boxes = known["logits"][:, 0].requires_grad_(), known["box"][:, 0]
    target = (known["img"] * known["box"]).requires_grad_()
    masks = logits.sigmoid()
    region, length, area = region_energy(masks, boxes, target), contour_length(masks, boxes), box_areas(boxes)
    assert off(region, known["region"]) < 1e-6 and off(length, known["length"]) < 1e-6
    assert torch.equal(area, known["pixel_num"])
    plain, with_length = region / area, (region + 1e-5 * length) / area
    pairs = [(region, "region"), (length, "length"), (plain, "loss_boxinstseg"), (with_length, "loss_boxlevelset")]
    for value, name in pairs:
        if name.startswith("loss"):
            assert off(value, known[name]) < 1e-6
        to_logits, to_target = torch.autograd.grad(value.mean(), (logits, target), retain_graph=True, allow_unused=True)
        # the published gradients are 3e-6 off the same formula in float64, ours 1.4e-6
        assert off(to_logits, known[f"grad_logits_mean_{name}"][:, 0]) < 5e-6
        if f"grad_target_mean_{name}" in known:
            assert off(to_target[:1], known[f"grad_target_mean_{name}"]) < 5e-6
    assert off(region_energy(masks, boxes, known["target2"]), known["region_target2"]) < 1e-6


@pytest.mark.parametrize("soft", [False, True])
def test_gradients_equal_autograd_of_the_formula(soft):
    rng = torch.Generator().manual_seed(0)
    masks, boxes = torch.rand(3, 5, 6, generator=rng, dtype=torch.float64), torch.zeros(3, 5, 6, dtype=torch.float64)
    boxes[:, 1:4, 2:5] = torch.rand(3, 3, 3, generator=rng, dtype=torch.float64) if soft else 1
    masks[2] = torch.tensor(1e-8)  # an inside smaller than any area: its mean is no mean
    masks.requires_grad_()
    target = torch.randn(2, 4, 5, 6, generator=rng, dtype=torch.float64).requires_grad_()
    index, weight = torch.tensor([0, 0, 1]), torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    ours, plain = region_energy(masks, boxes, target, index=index), plain_energy(masks, boxes, target[index])
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=0)
    for a, b in zip(*(torch.autograd.grad((value * weight).sum(), (masks, target)) for value in (ours, plain))):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_by_hand():
    target = torch.tensor([[[[1.0, 1.0, 3.0, 9.0]]]])
    box = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    # inside: 1 and 3 around 2; outside: 1 around 1; the pixel beyond the box does not count
    assert region_energy(torch.tensor([[[1.0, 0.0, 1.0, 1.0]]]), box, target).tolist() == [2.0]
    assert region_energy(torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]), box, target).tolist() == [0.0]
    # b p = 1 0 1 0, b (1 - p) = 0 1 0 0
    assert contour_length(torch.tensor([[[1.0, 0.0, 1.0, 1.0]]]), box).tolist() == [3.0 + 2.0]


def test_empty_boxes_no_instances_and_low_precision():
    masks = torch.rand(2, 4, 5, requires_grad=True)
    energy = region_energy(masks, torch.zeros(2, 4, 5), torch.rand(2, 3, 4, 5))
    (gradient,) = torch.autograd.grad(energy.sum(), masks)
    assert not energy.any() and not gradient.any()
    none = torch.zeros(0, 4, 5, requires_grad=True)
    index = torch.zeros(0, dtype=torch.int64)
    assert region_energy(none, torch.zeros(0, 4, 5), torch.rand(1, 3, 4, 5), index=index).sum().requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        value = region_energy(masks.bfloat16(), torch.ones(2, 4, 5), torch.rand(2, 3, 4, 5).bfloat16())
    assert value.dtype == torch.float32


@pytest.mark.parametrize("shared", [True, False])
def test_crops_on_a_cpu_equal_the_whole_maps_of_other_devices(shared):
    """Boxes at the border, in the middle, soft, of one pixel and of none; masks that leave a region empty."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 20, 30, generator=rng)
    boxes = torch.zeros(6, 20, 30)
    boxes[0, :5, :7], boxes[1, 4:12, 10:30], boxes[1, 4], boxes[2, 19, 29], boxes[4], boxes[5, 3:9] = 1, 1, 0.5, 1, 1, 1
    logits[5], logits[4] = -200, 200  # outside or inside, each of the two regions empty once
    target = torch.randn(2 if shared else 6, 3, 20, 30, generator=rng)
    index = torch.tensor([0, 1, 1, 0, 1, 0]) if shared else None
    weights = torch.rand(6, generator=rng)
    found = []
    for energies in (level_set._CroppedEnergy, level_set._RegionEnergy):
        masks, values = logits.sigmoid().requires_grad_(), target.clone().requires_grad_()
        energy = energies.apply(masks, boxes, values, index)
        found.append((energy.detach(), *torch.autograd.grad((energy * weights).sum(), (masks, values))))
    assert found[0][0][3] == 0 and found[0][1].abs().max() > 0.1
    for ours, reference in zip(*found):
        assert off(ours, reference) < 1e-6
