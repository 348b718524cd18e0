"""Losses that teach heads of instances by masks, against numbers worked by hand and slow references."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from segkit.losses.instances.condinst_masks import CondInstMasks
from segkit.losses.instances.mask2former_masks import Mask2FormerMasks
from segkit.losses.instances.solov2_masks import SOLOv2Masks
from segkit.ops.instances.point_masks import at_places, mask_costs, point_dice, uncertain_places


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_places_by_hand():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    places = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [0.5, 0.75], [0.0, 0.25]]])
    # centres of pixels, the middle of all four, between the lower two, half a pixel beyond the left border
    assert at_places(maps, places)[0].tolist() == pytest.approx([1, 2, 2.5, 3.5, 0.5])
    assert at_places(maps[:0], places).shape == (0, 5)


def test_uncertain_places_are_where_logits_are_near_zero():
    ramp = torch.linspace(-4, 4, 33).expand(1, 33, 33)
    places = uncertain_places(ramp, 40, generator())
    values = at_places(ramp, places)[0].abs()
    assert places.shape == (1, 40, 2) and values[:30].max() < 2 < values[30:].max()


def test_costs_equal_the_loss_of_each_pair():
    logits, known = torch.randn(3, 7, generator=generator()), (torch.rand(2, 7, generator=generator(1)) > 0.5).float()
    entropy, dice = mask_costs(logits, known)
    for q, k in itertools.product(range(3), range(2)):
        x, t = logits[q].tolist(), known[k].tolist()
        p = [1 / (1 + math.exp(-v)) for v in x]
        by_hand = -sum(b * math.log(a) + (1 - b) * math.log(1 - a) for a, b in zip(p, t)) / 7
        assert float(entropy[q, k]) == pytest.approx(by_hand, abs=1e-6)
        overlap = 1 - (2 * sum(a * b for a, b in zip(p, t)) + 1) / (sum(p) + sum(t) + 1)
        assert float(dice[q, k]) == pytest.approx(overlap, abs=1e-6)
        assert float(point_dice(logits[q : q + 1].sigmoid(), known[k : k + 1])) == pytest.approx(overlap, abs=1e-6)


def queries(seed: int, sets: int = 2) -> tuple[list, list]:
    source = generator(seed)
    return (
        [torch.randn(2, 3, 3, generator=source).requires_grad_() for _ in range(sets)],
        [torch.randn(2, 3, 4, 6, generator=source).requires_grad_() for _ in range(sets)],
    )


def objects() -> tuple[list, list]:
    """Two objects in the first image, none in the second; masks of twice the size of the queries'."""
    masks = torch.zeros(2, 8, 12, dtype=torch.uint8)
    masks[0, :4, :6], masks[1, 2:8, 6:12] = 1, 1
    return [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.int64)], [masks, masks[:0]]


def slow_mask2former(classes, maps, labels, masks) -> dict[str, float]:
    """Every assignment is tried; two objects in image 0 alone."""
    total = {"category": 0.0, "mask": 0.0, "dice": 0.0}
    small = F.interpolate(masks[0][None].float(), scale_factor=0.5, mode="bilinear")[0]
    for logits, shapes in zip(classes, maps):

        def terms(q, k, shapes=shapes):
            x = shapes[0, q]
            entropy = F.binary_cross_entropy_with_logits(x, small[k])
            p = x.sigmoid()
            return entropy, 1 - (2 * (p * small[k]).sum() + 1) / (p.sum() + small[k].sum() + 1)

        def cost(pair, logits=logits, terms=terms):
            of_masks = sum(5 * sum(terms(q, k)) for k, q in enumerate(pair))
            return float(of_masks - 2 * sum(logits[0, q].softmax(0)[labels[0][k]] for k, q in enumerate(pair)))

        best = min(itertools.permutations(range(3), 2), key=cost)
        wanted = torch.full((2, 3), 2)
        for k, q in enumerate(best):
            wanted[0, q] = labels[0][k]
            entropy, dice = terms(q, k)
            total["mask"] += 5 * float(entropy) / 2
            total["dice"] += 5 * float(dice) / 2
        weights = torch.where(wanted == 2, 0.1, 1.0)
        values = -logits.log_softmax(2).gather(2, wanted[..., None])[..., 0]
        total["category"] += 2 * float((values * weights).sum() / weights.sum())
    return total


@pytest.mark.parametrize("seed", range(3))
def test_mask2former_on_whole_masks_equals_the_slow_form(seed):
    (classes, maps), (labels, masks) = queries(seed), objects()
    terms = Mask2FormerMasks(points=0)(classes, maps, labels, masks)
    slow = slow_mask2former([x.detach() for x in classes], [x.detach() for x in maps], labels, masks)
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(slow, abs=1e-5)


@pytest.mark.parametrize("points", [0, 30])
def test_mask2former_weighs_masks_by_their_quality(points):
    classes, maps = queries(1, sets=1)
    labels, masks = objects()

    def terms(*quality: float) -> dict[str, float]:
        loss = Mask2FormerMasks(points=points)  # the same points each time
        found = loss(classes, maps, labels, masks, [torch.tensor(quality), torch.zeros(0)])
        return {name: float(value.detach()) for name, value in found.items()}

    plain = Mask2FormerMasks(points=points)(classes, maps, labels, masks)
    assert terms(1, 1) == pytest.approx({name: float(value) for name, value in plain.items()})
    one, other, none, both = terms(1, 0), terms(0, 1), terms(0, 0), terms(0.5, 1)
    for name in ("mask", "dice"):
        assert none[name] == 0 and both[name] == pytest.approx((0.5 * one[name] + other[name]) / 2)
    assert one["category"] == none["category"] == both["category"]


def test_mask2former_at_points():
    """Maps without structure have the same value everywhere: points and pixels agree. Places follow the step."""
    (classes, maps), (labels, _) = queries(0), objects()
    flat = [one[..., :1, :1].expand(-1, -1, 4, 6) for one in maps]
    # the border of a map is mixed with 0 beyond it, hence masks and logits of zero
    empty = [torch.zeros(2, 8, 12, dtype=torch.uint8), torch.zeros(0, 8, 12, dtype=torch.uint8)]
    zero = [one * 0 for one in flat]
    whole, some = (Mask2FormerMasks(points=points)(classes, zero, labels, empty) for points in (0, 50))
    assert float(whole["mask"]) == pytest.approx(float(some["mask"]), abs=1e-5)
    assert float(some["mask"]) == pytest.approx(2 * 5 * math.log(2), abs=1e-5)
    _, masks = objects()
    loss = Mask2FormerMasks(points=30)
    first, second = (float(loss(classes, maps, labels, masks)["mask"]) for _ in range(2))
    again = Mask2FormerMasks(points=30)
    again.load_state_dict({**loss.state_dict(), "_extra_state": {"calls": 1}})
    assert float(again(classes, maps, labels, masks)["mask"]) == second != first
    many = Mask2FormerMasks(points=20000)
    anywhere = float(Mask2FormerMasks(points=0)(classes, maps, labels, masks)["mask"])
    assert float(many(classes, maps, labels, masks)["mask"]) == pytest.approx(anywhere, rel=0.4)


@pytest.mark.parametrize("points", [0, 20])
def test_mask2former_without_objects_and_with_more_than_queries(points):
    classes, maps = queries(3)
    none = [torch.zeros(0, 8, 12, dtype=torch.uint8)] * 2
    terms = Mask2FormerMasks(points=points)(classes, maps, [torch.zeros(0, dtype=torch.int64)] * 2, none)
    assert float(terms["mask"]) == float(terms["dice"]) == 0 < float(terms["category"])
    sum(terms.values()).backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (*classes, *maps))
    crowd = (torch.rand(2, 5, 8, 12, generator=generator()) > 0.5).byte()
    terms = Mask2FormerMasks(points=points)(classes, maps, [torch.zeros(5, dtype=torch.int64)] * 2, list(crowd))
    assert all(value.isfinite() and value > 0 for value in terms.values())


def test_condinst_by_hand():
    # masks of one pixel each at stride 4: the pixel at 2, 2 of each block decides
    masks = torch.zeros(2, 4, 8, dtype=torch.uint8)
    masks[0, 2, 2], masks[1] = 1, 1
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, math.log(3)]]], requires_grad=True)
    value = CondInstMasks()(logits, [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.int64)], [masks, masks[:0]])
    first = 1 - 2 * 0.5 / (0.5 + 1)
    second = 1 - 2 * (0.5 + 0.75) / (0.25 + 0.5625 + 2)
    assert float(value) == pytest.approx((first + second) / 2, abs=1e-5)
    nothing = CondInstMasks()(logits[:0], [torch.zeros(0, dtype=torch.int64)] * 2, [masks, masks])
    nothing.backward()
    assert float(nothing) == 0 and not logits.grad.any()


def test_masks_count_by_their_quality():
    masks = [(torch.rand(2, 16, 16, generator=generator(3)) > 0.5).to(torch.uint8)]
    logits, objects = torch.randn(3, 4, 4, generator=generator(4)), [torch.tensor([1, 0, 1])]
    loss = CondInstMasks()
    each = [float(loss(logits[k : k + 1], [objects[0][k : k + 1]], masks)) for k in range(3)]
    assert float(loss(logits, objects, masks, [torch.ones(2)])) == pytest.approx(sum(each) / 3)
    # object 0 has no quality, and the mean is over the other two places
    assert float(loss(logits, objects, masks, [torch.tensor([0, 0.5])])) == pytest.approx(0.5 * (each[0] + each[2]) / 2)
    assert float(loss(logits, objects, masks, [torch.zeros(2)])) == 0
    parts = solo()
    known = torch.zeros(2, 32, 32, dtype=torch.uint8)
    known[0, :12, :12], known[1, 16:30, 16:30] = 1, 1
    boxes = [torch.tensor([[0.0, 0, 12, 12], [16, 16, 30, 30]])]
    rest = dict(boxes=boxes, labels=[torch.tensor([1, 0])], masks=[known])
    solov2 = SOLOv2Masks(ranges=((1, 16), (16, 64)), strides=(4, 4))
    plain = float(solov2(**parts, **rest)["dice"])
    assert float(solov2(**parts, **rest, mask_quality=[torch.ones(2)])["dice"]) == pytest.approx(plain)
    one, other = (float(solov2(**parts, **rest, mask_quality=[torch.eye(2)[k]])["dice"]) for k in (0, 1))
    assert (one + other) / 2 == pytest.approx(plain) and one != pytest.approx(other)
    weighed = solov2(**parts, **rest, mask_quality=[torch.tensor([0.25, 1.0])])["dice"]
    assert float(weighed) == pytest.approx((0.25 * one + other) / 2)


def solo(batch: int = 1) -> dict:
    """A level of 2 x 2 cells and one of 1, 8 channels, images of 32 x 32."""
    source = generator(5)
    return dict(
        categories=[torch.randn(batch, 2, side, side, generator=source).requires_grad_() for side in (2, 1)],
        kernels=[torch.randn(batch, 8, side, side, generator=source).requires_grad_() for side in (2, 1)],
        mask_features=torch.randn(batch, 8, 8, 8, generator=source).requires_grad_(),
        image=torch.zeros(batch, 3, 32, 32),
    )


def test_solov2_by_hand():
    """One object of 12 x 12 in the upper left quarter: cell 0 of the first level, no cell of the second."""
    parts = solo()
    masks = torch.zeros(1, 32, 32, dtype=torch.uint8)
    masks[0, 0:12, 0:12] = 1
    loss = SOLOv2Masks(ranges=((1, 16), (16, 64)), strides=(4, 4))
    terms = loss(**parts, boxes=[torch.tensor([[0.0, 0.0, 12.0, 12.0]])], labels=[torch.tensor([1])], masks=[masks])
    kernel, features = parts["kernels"][0][0, :, 0, 0], parts["mask_features"][0]
    p = torch.einsum("d,dhw->hw", kernel, features).sigmoid()
    known = torch.zeros(8, 8)
    known[:3, :3] = 1
    dice = 1 - 2 * (p * known).sum() / ((p**2).sum() + known.sum() + 0.002)
    assert float(terms["dice"]) == pytest.approx(3 * float(dice), abs=1e-6)
    focal = 0.0
    for level, maps in enumerate(parts["categories"]):
        for k, y, x in itertools.product(range(2), range(maps.shape[2]), range(maps.shape[3])):
            chance = float(maps[0, k, y, x].sigmoid())
            if (level, k, y, x) == (0, 1, 0, 0):
                focal += 0.25 * (1 - chance) ** 2 * -math.log(chance)
            else:
                focal += 0.75 * chance**2 * -math.log(1 - chance)
    assert float(terms["category"]) == pytest.approx(focal / 2, abs=1e-5)


def test_solov2_without_a_positive_is_zero_with_a_graph():
    parts = solo(2)
    none = [torch.zeros(0, 32, 32, dtype=torch.uint8)] * 2
    terms = SOLOv2Masks(ranges=((1, 16), (16, 64)), strides=(4, 4))(
        **parts, boxes=[torch.zeros(0, 4)] * 2, labels=[torch.zeros(0, dtype=torch.int64)] * 2, masks=none
    )
    sum(terms.values()).backward()
    assert float(terms["dice"]) == 0 < float(terms["category"])
    assert all(x.grad is not None for x in (*parts["categories"], *parts["kernels"], parts["mask_features"]))
