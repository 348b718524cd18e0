"""Mean field within boxes, against the rounds as the paper writes them, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from segkit.ops.instances.mean_field import mean_field, window_affinity


def plain_mean_field(masks, boxes, image, rounds):
    """masks, boxes: [n,h,w] of one image [C,h,w]: probabilities of two labels, their logarithms, windows unfolded."""
    (channels, height, width), pad = image.shape, 1
    around = F.unfold(F.pad(image, [pad] * 4, value=1e3).unsqueeze(0), 3).view(channels, 9, height, width)
    place = torch.tensor([[2.0, 1, 2], [1, 0, 1], [2, 1, 2]]).view(9, 1, 1)
    kernel = 2 * torch.exp(-(around - image.unsqueeze(1)).square().sum(0) / (2 * 0.25) - place / (2 * 900))
    chance = torch.where(masks * boxes > 0.5, 0.9, 0.1)
    for _ in range(rounds):
        both = torch.stack([1 - chance, chance], 1)
        unfolded = F.unfold(-both.log().flatten(0, 1).unsqueeze(1), 3, padding=1).view(-1, 2, 9, height, width)
        posterior = torch.exp(-(unfolded * kernel).sum(2))
        posterior = torch.stack([posterior[:, 0], posterior[:, 1] * boxes], 1)
        posterior = posterior / posterior.sum(1, keepdim=True)
        chance = torch.where(posterior[:, 1] > 0.5, 0.9, 0.1)
    return chance > 0.5


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_labels_are_those_of_the_rounds_as_they_are_written(rounds):
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(3, 3, 9, 8, generator=rng) * 0.4
    masks, boxes = torch.rand(4, 9, 8, generator=rng), torch.zeros(4, 9, 8)
    boxes[:, 2:8, 1:7] = 1
    ours = mean_field(masks, boxes, window_affinity(image), [1, 0, 3], rounds=rounds)
    parts = [(masks[:1], boxes[:1], image[0]), (masks[1:], boxes[1:], image[2])]
    plain = torch.cat([plain_mean_field(*part, rounds) for part in parts])
    assert torch.equal(ours, plain) and ours.any() and not ours.all()
    assert not torch.equal(ours, masks * boxes > 0.5)


def test_affinity_by_hand_and_a_hole_is_filled():
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 0, 0] = 1.0
    affinity = window_affinity(image)[0]
    assert affinity[4].eq(2).all()
    assert affinity[0, 1, 1].item() == pytest.approx(2 * math.exp(-1 / 0.5 - 2 / 1800))
    assert affinity[0, 0].eq(0).all() and affinity[8, 2].eq(0).all()
    masks = torch.ones(1, 3, 3)
    masks[0, 1, 1] = 0
    even = window_affinity(torch.zeros(1, 1, 3, 3))
    assert mean_field(masks, torch.ones(1, 3, 3), even, [1]).all()
    boxes = torch.ones(1, 3, 3)
    boxes[0, :, 2] = 0
    assert mean_field(masks, boxes, even, [1]).tolist() == [[[True, True, False]] * 3]
