"""BoxInst's row: its terms are the ops', its warm-up counts, and its valid pixels are as published."""

import pytest
import torch

from segkit.losses.instances.box_inst import BoxInst, valid_pixels
from segkit.ops.instances.box_masks import sampled_box_masks
from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.color_affinity import color_similarity, small_lab
from tests.instances.pairs import pairwise_maps

META = [dict(size=(64, 80), valid=(32, 40)), dict(size=(32, 48), valid=(32, 48))]


def inputs(counts=(2, 1)):
    rng = torch.Generator().manual_seed(0)
    # alike neighbours exist: colors change slowly over the image
    coarse = 60 + 12 * torch.rand(2, 3, 3, 4, generator=rng)
    image = torch.nn.functional.interpolate(coarse, size=(32, 48), mode="bilinear")
    image[0, :, :, 40:] = 0
    logits = (3 * torch.randn(sum(counts), 8, 12, generator=rng)).requires_grad_()
    boxes = [torch.tensor([[3.2, 2.9, 30.0, 25.5], [8.0, 4.0, 39.0, 20.0]]), torch.tensor([[0.0, 0.0, 47.0, 31.0]])]
    objects = [torch.tensor([1, 0])[: counts[0]], torch.tensor([0])[: counts[1]]]
    return logits, objects, image, boxes, META


def test_terms_are_the_formulas_and_the_warm_up_counts():
    logits, objects, image, boxes, meta = inputs()
    known = torch.cat([sampled_box_masks(boxes[0][[1, 0]], (32, 48)), sampled_box_masks(boxes[1], (32, 48))])
    valid = valid_pixels(meta, (32, 48))[:, 2::4, 2::4]
    alike = (color_similarity(small_lab(image), valid) >= 0.3).float()[[0, 0, 1]] * known.unsqueeze(1)
    maps = pairwise_maps(logits)
    pairwise = (maps * alike).sum() / alike.sum()
    assert alike.sum() > 50
    loss = BoxInst(warm_up=4)
    for factor in (0.25, 0.5, 0.75, 1, 1):
        terms = loss(logits, objects, image, boxes, meta)
        torch.testing.assert_close(terms["projection"], box_projection(logits.sigmoid(), known).mean())
        torch.testing.assert_close(terms["pairwise"], factor * pairwise)
    again = BoxInst(warm_up=10)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again(logits, objects, image, boxes, meta)["pairwise"], 0.6 * pairwise)


def test_valid_pixels_lack_padding_and_the_lowest_rows_of_the_file():
    valid = valid_pixels(META, (32, 48))
    # ten of 64 rows are five of 32
    assert valid[0, :27, :40].all() and valid[0].sum() == 27 * 40
    assert valid[1, :22].all() and valid[1].sum() == 22 * 48


@pytest.mark.parametrize("counts", [(0, 0), (0, 1)])
def test_images_without_masks(counts):
    logits, *rest = inputs(counts)
    terms = BoxInst()(logits, *rest)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values()) and logits.grad.isfinite().all()
    assert sum(counts) or not any(terms.values())
