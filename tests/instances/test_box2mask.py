"""Box2Mask's losses against published values and gradients, and what they promise."""

import pytest
import torch

from segkit.losses.instances.box2mask import Box2Mask, gather_matched
from tests.instances.published import load, off
from tests.instances.published_box2mask import box_masks_of
from tests.oracles import threads


@pytest.fixture(autouse=True)
def two_threads():
    """As the published values were computed with: rounding decides between edges of a tree that are nearly equal."""
    with threads(2):
        yield


@pytest.fixture(scope="module")
def known():
    return load("box2mask_loss")


def outputs(known, sets=(0, 1)):
    """-> class logits and mask logits of the sets and level-set features, leaves."""
    classes = [known[f"cls_layer{i}"].clone().requires_grad_() for i in sets]
    masks = [known[f"mask_layer{i}"].clone().requires_grad_() for i in sets]
    return classes, masks, known["lst_feat"].clone().requires_grad_()


def targets(known, number=(3, 2)):
    masks = [part[:n] for part, n in zip(box_masks_of(known), number)]
    return (
        [known[f"gt_bboxes{i}"][:n] for i, n in enumerate(number)],
        [known[f"gt_labels{i}"][:n] for i, n in enumerate(number)],
        masks,
    )


@pytest.mark.parametrize("k", [0, 1])
def test_losses_and_gradients_of_a_set_are_the_published_ones(known, k):
    made = outputs(known, [k])
    terms = Box2Mask()(*made, known["img"], *targets(known))
    leaves = {"cls": made[0][0], "mask": made[1][0], "lst": made[2]}
    checked = 0
    for name, published in {"category": "cls", "projection": "project", "level_set": "levelset"}.items():
        assert terms[name].item() == pytest.approx(known[f"layer{k}_loss_{published}"].item(), rel=1e-6)
        for key, leaf in leaves.items():
            gradient_name = f"layer{k}_grad_loss_{published}_{key}"
            norm_name = gradient_name.replace("_grad_", "_gradnorm_")
            if norm_name not in known:
                continue
            (gradient,) = torch.autograd.grad(terms[name], leaf, retain_graph=True)
            assert gradient.norm().item() == pytest.approx(known[norm_name].item(), rel=3e-5), (name, key)
            if gradient_name in known:
                place = known.get(f"{gradient_name}_bq")
                part = gradient if place is None else gradient[place[:, 0], place[:, 1]]
                assert off(part, known[gradient_name]) < 3e-5, (name, key)
                assert part.square().sum() == pytest.approx(gradient.square().sum().item(), rel=1e-6)
            checked += 1
    assert checked == 4


def test_parts_of_the_level_set_are_the_published_ones(known):
    made = outputs(known, [0])
    for key, own in {
        "img_lst_x0.05": dict(feature=0.0, consistency=0.0),
        "feat_lst_x5": dict(image=0.0, consistency=0.0),
        "lcm_x0.2": dict(image=0.0, feature=0.0),
    }.items():
        value = Box2Mask(**own)(*made, known["img"], *targets(known))["level_set"]
        assert value.item() == pytest.approx(known[f"L0_{key}"].item(), rel=1e-6)
    matches = Box2Mask().match(made[0], made[1], *targets(known)[1:])
    matched = gather_matched(made[1], targets(known)[2], matches)
    assert off(matched.boxes, known["L0_box_mask_targets"][:, 0]) < 1e-6 and matched.counts == [3, 2]


def test_sets_are_added_up(known):
    made = outputs(known)
    both = Box2Mask()(*made, known["img"], *targets(known))
    for name, published in {"category": "cls", "projection": "project", "level_set": "levelset"}.items():
        total = sum(known[f"layer{k}_loss_{published}"].item() for k in (0, 1))
        assert both[name].item() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("number", [(0, 0), (2, 0), (0, 1)])
def test_images_without_objects(known, number):
    made = outputs(known)
    terms = Box2Mask()(*made, known["img"], *targets(known, number))
    assert all(value.isfinite() for value in terms.values()) and terms["category"] > 0
    assert (terms["projection"] == 0) == (sum(number) == 0) and (terms["level_set"] == 0) == (sum(number) == 0)
    sum(terms.values()).backward()
    for leaf in (*made[0], *made[1], made[2]):
        assert leaf.grad is not None and leaf.grad.isfinite().all()


def test_of_more_objects_than_queries_some_stay_without(known):
    classes, masks, features = outputs(known)
    classes, masks = [part[:, :2] for part in classes], [part[:, :2] for part in masks]
    terms = Box2Mask()(classes, masks, features, known["img"], *targets(known))
    assert all(value.isfinite() for value in terms.values())
    matches = Box2Mask().match(classes, masks, *targets(known)[1:])
    assert [len(queries) for queries, _ in matches[0]] == [2, 2]
    assert len(Box2Mask().match(classes, masks, *targets(known)[1:])) == 2


@pytest.mark.slow
def test_projection_alone_at_first_and_low_precision(known):
    made = outputs(known)
    loss = Box2Mask(projection_steps=2)
    values = [loss(*made, known["img"], *targets(known))["level_set"].item() for _ in range(3)]
    assert values[:2] == [0, 0] and values[2] > 0
    low = [[part.detach().bfloat16() for part in each] for each in made[:2]]
    with torch.autocast("cpu", torch.bfloat16):
        terms = Box2Mask()(*low, made[2].detach().bfloat16(), known["img"], *targets(known))
    assert all(value.dtype == torch.float32 for value in terms.values())
