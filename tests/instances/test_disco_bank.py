"""DiscoBox's bank of objects, the cells of boxes and the term of correspondence, by hand."""

import pytest
import torch
import torch.nn.functional as F

from segkit.losses.instances.disco_bank import BankObjects, ObjectBank, mean_features
from segkit.losses.instances.disco_box import DiscoBox
from segkit.ops.instances.box_cells import box_cells, box_features
from segkit.ops.instances.box_masks import box_masks
from segkit.ops.instances.correspondence import correspondence, correspondence_loss

LEFT = torch.tensor([[True, False], [True, False]])


def objects(angles, labels=None, ratios=None, masks=None) -> BankObjects:
    """One per angle: the same two channels in each of 2 x 2 cells, the left ones in the mask."""
    angles = torch.tensor(angles, dtype=torch.float32)
    number = len(angles)
    features = torch.stack([angles.cos(), angles.sin()], 1)[:, :, None, None].expand(-1, -1, 2, 2)
    return BankObjects(
        torch.zeros(number, dtype=torch.int64) if labels is None else torch.tensor(labels),
        3 * features,
        LEFT.expand(number, 2, 2) if masks is None else masks,
        torch.ones(number) if ratios is None else torch.tensor(ratios),
    )


def filled(*rows: BankObjects, classes: int = 2, **own) -> ObjectBank:
    bank = ObjectBank(**({"size": 4, "retrieved": 2} | own))
    for row in rows:
        bank.reserve(classes, row.features)
        bank.add(row)
    return bank


def test_a_ramp_is_its_own_value_at_the_middle_of_each_cell():
    """A map of 8 x 8 at stride 4 that holds the x of its pixels' centres; a box of 14 pixels has cells of 2."""
    ramp = (4 * torch.arange(8.0) + 2).expand(1, 1, 8, 8)
    maps = torch.cat([ramp, ramp.transpose(2, 3)]).requires_grad_()
    boxes = [torch.tensor([[5.0, 9.0, 19.0, 23.0]]), torch.tensor([[5.0, 9.0, 19.0, 23.0], [8.0, 8.0, 8.0, 8.0]])]
    cells = box_features(maps, boxes, (32, 32))
    x, y = 6 + 2 * torch.arange(7.0), 10 + 2 * torch.arange(7.0)
    torch.testing.assert_close(cells[0, 0], x.expand(7, 7))
    torch.testing.assert_close(cells[1, 0], y.unsqueeze(1).expand(7, 7))
    torch.testing.assert_close(cells[2, 0], torch.full((7, 7), 8.0))  # a box without an area
    cells[0].sum().backward()
    assert maps.grad[0].sum().item() == pytest.approx(49) and not maps.grad[1].any()
    one = box_cells(ramp[0].expand(2, 8, 8), torch.cat([boxes[0], boxes[0] - 1]), (32, 32))
    torch.testing.assert_close(one[1], x.expand(7, 7) - 1)
    assert box_features(maps, [boxes[0][:0]] * 2, (32, 32)).shape == (0, 1, 7, 7)


def test_objects_are_described_by_their_cells_in_the_mask():
    features = torch.tensor([[[3.0, 9.0], [3.0, 9.0]], [[4.0, 0.0], [4.0, 0.0]]]).unsqueeze(0)
    assert torch.allclose(mean_features(features, LEFT.unsqueeze(0)), torch.tensor([[0.6, 0.8]]))
    assert not mean_features(features, LEFT.unsqueeze(0) & False).any()


def test_the_most_similar_of_the_class_are_retrieved():
    bank = filled(objects([0.1, 0.0, 0.3]), objects([0.0, 0.0], labels=[1, 1]))
    others, is_used = bank.retrieve(objects([0.02, 1.0, 0.02], labels=[0, 0, 1]))
    # cos(1 - 0.3) = 0.76 passes, cos(1 - 0.1) = 0.62 does not: one of two
    assert is_used.tolist() == [True, False, True]
    expected = torch.tensor([[1.0, 0.0], [0.995004, 0.099833]])
    assert torch.allclose(others[0, :, :, 0, 0].float(), expected, atol=1e-3)
    assert bank.retrieve(objects([0.0], labels=[1]))[1].tolist() == [True]
    assert filled(objects([0.0])).retrieve(objects([0.0]))[1].tolist() == [False]  # free places do not count


@pytest.mark.parametrize(("ratio", "is_alike"), [(0.89, False), (0.91, True), (1.19, True), (1.21, False)])
def test_ratio_of_sides(ratio, is_alike):
    bank = filled(objects([0.0, 0.0], ratios=[2.0, 2.0]))
    assert bank.retrieve(objects([0.0], ratios=[2 * ratio]))[1].item() is is_alike


def test_masks_overlap_inside_and_outside():
    """Of 3 x 3 cells: the own mask has 8, the other all 9 or 7 of them. Inside 8/9 and 7/8 pass, outside 0/1 and 1/2
    do not."""
    own = torch.ones(1, 3, 3, dtype=torch.bool)
    own[0, 0, 0] = False
    features = torch.ones(1, 2, 3, 3)
    more, less = own | True, own.clone()
    less[0, 2, 2] = False
    for mask, is_alike in ((own, True), (more, False), (less, False)):
        held = BankObjects(torch.tensor([0]), features, mask, torch.ones(1))
        bank = filled(held, held)
        assert bank.retrieve(held._replace(masks=own))[1].item() is is_alike


def test_the_oldest_of_a_class_gives_way():
    angles = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    one_by_one = filled(*(objects([angle]) for angle in angles))
    at_once = filled(objects(angles))
    for bank in (one_by_one, at_once):
        held = bank.held["means"][:4, 1].float().asin()
        assert torch.allclose(held, torch.tensor([0.4, 0.5, 0.2, 0.3]), atol=1e-3)
        assert bank.held["counts"].tolist() == [6, 0]


def test_state_is_what_is_held():
    bank = filled(objects([0.0, 0.1, 0.2, 0.3, 0.4], labels=[1, 1, 1, 1, 1]), objects([0.2]))
    state = bank.state_dict()["_extra_state"]
    assert state["features"].shape == (5, 2, 2, 2)  # one of the first class, four of the second
    again = ObjectBank(4, 2)
    again.load_state_dict(bank.state_dict())
    for one in (bank, again):
        one.reserve(2, torch.zeros(0, 2, 2, 2))
        one.add(objects([0.5], labels=[1]))
    for name, value in bank.held.items():
        own = slice(None) if name == "counts" else slice(0, -1)  # the last place is nobody's
        assert torch.equal(value[own], again.held[name][own]), name
    with pytest.raises(ValueError, match="holds 2 classes"):
        again.reserve(3, torch.zeros(0, 2, 2, 2))
    other = ObjectBank(5, 2)
    other.load_state_dict(bank.state_dict())
    assert not other.held
    with pytest.raises(ValueError, match="retrieved = 5"):
        ObjectBank(4, 5)


def scene(shift: float, seed: int = 0):
    """One level of a head, one object in a 64 x 64 image; teacher and student differ in their features alone."""
    rng = torch.Generator().manual_seed(seed)
    box = torch.tensor([[8.0, 8.0, 47.0, 47.0]])
    masks = torch.from_numpy(box_masks(box.numpy(), (64, 64)))
    features = torch.randn(1, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    teacher = torch.cat([8 * masks[:, 2::4, 2::4].float().unsqueeze(1) - 4, features], 1)
    student = (teacher + shift * torch.randn(teacher.shape, generator=rng)).requires_grad_()
    kernels = torch.zeros(1, 7, 4, 4)
    kernels[:, 0] = 1
    categories = torch.zeros(1, 3, 4, 4)
    image = torch.zeros(1, 3, 64, 64)
    return ([categories], [kernels], student, [kernels], teacher, image, [box], [torch.tensor([1])], [masks]), student


def disco(**own) -> DiscoBox:
    return DiscoBox(ranges=[(1, 2048)], strides=[4], bank=3, retrieved=2, **own)


def test_correspondence_teaches_from_the_third_image_on():
    """The first two objects fill the bank; the term is then that of the ops on the same cells."""
    loss = disco(correspondence_threshold=3.0)
    values = [loss(*scene(0.1, seed)[0])["correspondence"].item() for seed in range(2)]
    assert values == [0, 0]
    inputs, student = scene(0.1, 2)
    term = loss(*inputs)["correspondence"]
    own, teacher = (box_features(maps, inputs[6], (64, 64)) for maps in (student, inputs[4]))
    others = F.normalize(teacher, dim=1).half().float().expand(2, -1, -1, -1)
    assignment = correspondence(teacher[0], others)
    # an even image: the pseudo label is the box without its corners
    pseudo = torch.zeros(1, 16, 16)
    pseudo[:, 2:12, 2:12] = 1
    pseudo[:, 2:12:9, 2:12:9] = 0
    inside = box_cells(pseudo, inputs[6][0], (64, 64))[0] > 0.5
    expected = correspondence_loss(own[0], others, assignment, inside)
    torch.testing.assert_close(term, expected)
    (gradient,) = torch.autograd.grad(term, student)
    assert gradient[:, :, 2:12, 2:12].abs().sum() > 0 and not gradient[:, :, :, 13:].any()
    loss.eval()
    counts = loss.bank.held["counts"].clone()
    assert counts.tolist() == [0, 3, 0]
    loss(*inputs)
    assert torch.equal(loss.bank.held["counts"], counts)


def test_correspondence_waits_for_the_projection_and_can_be_left_out():
    loss = disco(correspondence_threshold=0.2)
    for seed in range(3):
        term = loss(*scene(0.1, seed)[0])["correspondence"]
    assert loss.mean_projection > 0.2 and term == 0
    loss.mean_projection.fill_(0.15)
    saved = loss.state_dict()
    again = disco(correspondence_threshold=0.2)
    again.load_state_dict(saved)
    terms, (inputs, _) = [], scene(0.1, 3)
    for one in (loss, again):
        terms.append(one(*inputs)["correspondence"])
    assert terms[0] > 0 and torch.equal(*terms)
    assert "correspondence" not in disco(correspondence=0.0)(*inputs)


def test_many_objects_at_once_are_as_one_by_one():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 5, 5, generator=generator)
    others = torch.randn(3, 2, 4, 5, 5, generator=generator)
    together = correspondence(features, others)
    weight = torch.rand(3, 5, 5, generator=generator) > 0.5
    values = []
    for i in range(3):
        torch.testing.assert_close(together[i], correspondence(features[i], others[i]))
        values.append(correspondence_loss(features[i], others[i], together[i], weight[i]) * weight[i].sum())
    total = correspondence_loss(features, others, together, weight)
    torch.testing.assert_close(total, sum(values) / weight.sum())
