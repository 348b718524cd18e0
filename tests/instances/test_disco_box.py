"""DiscoBox's terms against the ops on the same masks, its gate, and the correspondence of cells by hand."""

import pytest
import torch

from segkit.losses.instances.box_level_set import BoxLevelSet
from segkit.losses.instances.disco_box import DiscoBox
from segkit.ops.instances.box_masks import box_masks
from segkit.ops.instances.correspondence import correspondence, correspondence_loss


def inputs(scale=1.0):
    """One level of a head whose every kernel gives the first mask feature; one object."""
    rng = torch.Generator().manual_seed(0)
    mask_features = torch.zeros(1, 2, 16, 16)
    box = torch.tensor([[8.0, 8.0, 47.0, 47.0]])
    masks = torch.from_numpy(box_masks(box.numpy(), (64, 64)))
    mask_features[0, 0] = scale * (8 * masks[0, 2::4, 2::4].float() - 4)
    kernels = torch.zeros(1, 2, 4, 4)
    kernels[:, 0] = 1
    image = torch.zeros(1, 3, 64, 64)
    categories = torch.randn(1, 3, 4, 4, generator=rng)
    leaves = [part.requires_grad_() for part in (categories, kernels, mask_features)]
    return leaves, image, [box], [torch.tensor([1])], [masks]


def run(loss, scale=1.0, number=1):
    (categories, kernels, features), image, *targets = inputs(scale)
    targets = [[part[:number] for part in each] for each in targets]
    return loss([categories], [kernels], features, [kernels], features, image, *targets), (
        categories,
        kernels,
        features,
    )


def test_pseudo_labels_teach_once_the_projection_is_small():
    loss = DiscoBox(ranges=[(1, 2048)], strides=[4], momentum=0.5)
    terms, _ = run(loss)
    p_in, p_out = torch.tensor([4.0, -4.0]).sigmoid().tolist()
    # 10 of 16 rows and columns are in the box
    dice = 1 - 2 * 10 * p_in / (10 * p_in**2 + 6 * p_out**2 + 10 + 0.002)
    assert terms["projection"].item() == pytest.approx(2 * dice, abs=1e-6)
    assert terms["pseudo"] == 0 and loss.mean_projection.item() == pytest.approx(1 + dice, rel=1e-5)
    for _ in range(3):
        terms, leaves = run(loss)
    assert loss.mean_projection < 0.3
    # an even image: the pseudo label is the box without its corners, whose windows hold four of its pixels
    area = 1 - 2 * 96 * p_in / (100 * p_in**2 + 156 * p_out**2 + 96 + 0.002)
    assert terms["pseudo"].item() == pytest.approx(area, abs=1e-6)
    terms["pseudo"].backward()
    assert leaves[2].grad.any()
    again = DiscoBox(ranges=[(1, 2048)], strides=[4])
    again.load_state_dict(loss.state_dict())
    assert run(again)[0]["pseudo"] > 0


def test_category_is_box_level_sets_and_nothing_is_zero_with_a_graph():
    loss = DiscoBox(ranges=[(1, 2048)], strides=[4])
    terms, (categories, kernels, features) = run(loss)
    (_, image, *targets) = inputs()
    level_set = BoxLevelSet(ranges=[(1, 2048)], strides=[4], image=1.0, feature=0.0)
    other = level_set([categories], [kernels], features, torch.zeros(1, 5, 16, 16), image, *targets)
    torch.testing.assert_close(terms["category"], other["category"])
    nothing, leaves = run(loss, number=0)
    assert nothing["projection"] == 0 and nothing["pseudo"] == 0
    sum(nothing.values()).backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_cells_find_themselves_in_a_shifted_object():
    features = torch.randn(16, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    shifted = features.detach().roll(1, 2)
    assignment = correspondence(features, torch.stack([features.detach(), shifted]))
    torch.testing.assert_close(assignment.sum(2), torch.ones(2, 25))
    own = torch.arange(25).view(5, 5)
    assert torch.equal(assignment[0].argmax(1), own.flatten())
    assert torch.equal(assignment[1].argmax(1).view(5, 5)[:, :4], own[:, 1:])
    inside = torch.ones(5, 5, dtype=torch.bool)
    loss = correspondence_loss(features, features.detach().unsqueeze(0), assignment[:1], inside)
    own_cosines = torch.nn.functional.normalize(features.detach().flatten(1), dim=0)
    expected = -((own_cosines.T @ own_cosines) / 0.05).log_softmax(1).diagonal().mean()
    torch.testing.assert_close(loss.detach(), expected)
    nothing = correspondence_loss(features, features.detach().unsqueeze(0), assignment[:1], inside & False)
    assert nothing == 0 and nothing.requires_grad


def test_neighbours_decide_between_equals():
    """A cell as like one as another goes where its neighbours go."""
    features = torch.eye(9).view(9, 3, 3).clone()
    other = features.clone()
    other[:, 2, 2] = features[:, 0, 0]  # the last cell of the other looks like the first
    (assignment,) = correspondence(features, other.unsqueeze(0))
    assert assignment[0].argmax() == 0 and assignment[0, 0] > 1.5 * assignment[0, 8]
    (alone,) = correspondence(features, other.unsqueeze(0), rounds=0)
    assert alone[0, 0] == alone[0, 8]
