"""BoxLevelSet's losses behind a plain head against published values and gradients, and what they promise."""

import numpy as np
import pytest
import torch

from segkit.losses.instances.box_level_set import BoxLevelSet
from segkit.ops.instances.grid_assignment import assign_cells, object_shapes
from tests.instances.published import load, off
from tests.instances.solo_head import GRIDS, head, shapes
from tests.oracles import weights_of

RANGES = ((1, 16), (8, 32), (16, 64), (32, 128), (48, 2048))


@pytest.fixture(scope="module")
def known():
    return load("boxsolov2_small")


def targets(known):
    masks = [torch.from_numpy(np.unpackbits(known[f"gt_masks{i}"].numpy(), axis=-1)) for i in (0, 1)]
    return [known["gt_bboxes0"], known["gt_bboxes1"]], [known["gt_labels0"], known["gt_labels1"]], masks


def outputs(known):
    """-> features and weights as leaves, and the head's outputs."""
    features = [known[f"feat{i}"].clone().requires_grad_() for i in range(5)]
    weights = {name: value.requires_grad_() for name, value in weights_of(shapes()).items()}
    return features, weights, head(weights, features)


def test_losses_and_gradients_are_the_published_ones(known):
    features, weights, made = outputs(known)
    assert off(made[3], known["levelset_feats"]) < 1e-5 and off(made[0][1], known["cate_pred1"]) < 1e-5
    terms = BoxLevelSet(ranges=RANGES)(*made, known["img"], *targets(known))
    names = {"projection": "boxpro", "level_set": "levelset", "category": "cate"}
    assert set(terms) == set(names)
    leaves = weights | {f"feat{i}": maps for i, maps in enumerate(features)}
    checked = 0
    for name, published in names.items():
        assert terms[name].item() == pytest.approx(known[f"loss_{published}"].item(), rel=2e-6)
        prefix = f"grad_loss_{published}_"
        for key in [key.removeprefix(prefix) for key in known if key.startswith(prefix)]:
            (gradient,) = torch.autograd.grad(terms[name], leaves[key], retain_graph=True)
            part = known[prefix + key]
            assert off(gradient.flatten()[: part.numel()].view(part.shape), part) < 3e-5, (name, key)
            norm = known[f"gradnorm_loss_{published}_{key}"].item()
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-5), (name, key)
            checked += 1
    assert checked == 12


def test_without_a_positive_all_is_finite_and_has_a_graph(known):
    _, weights, made = outputs(known)
    boxes, labels, masks = targets(known)
    none = ([part[:0] for part in boxes], [part[:0] for part in labels], [part[:0] for part in masks])
    terms = BoxLevelSet(ranges=RANGES)(*made, known["img"], *none)
    assert terms["projection"] == 0 and terms["level_set"] == 0 and terms["category"] > 0
    sum(terms.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in weights.values())
    assert not weights["solo_mask.weight"].grad.any() and weights["solo_cate.weight"].grad.any()


def test_an_image_without_objects_adds_its_empty_cells_alone(known):
    _, _, made = outputs(known)
    boxes, labels, masks = targets(known)
    loss = BoxLevelSet(ranges=RANGES)
    both = loss(*made, known["img"], [boxes[0], boxes[1][:0]], [labels[0], labels[1][:0]], [masks[0], masks[1][:0]])
    first = [[part[:1] for part in list_] for list_ in made[:2]]
    alone = loss(*first, made[2][:1], made[3][:1], known["img"][:1], boxes[:1], labels[:1], masks[:1])
    for name in ("projection", "level_set"):
        torch.testing.assert_close(both[name], alone[name])


def test_options_change_what_they_say(known):
    _, _, made = outputs(known)
    inputs = (*made, known["img"], *targets(known))
    plain = BoxLevelSet(ranges=RANGES)(*inputs)
    with_length = BoxLevelSet(ranges=RANGES, length=1e-5)(*inputs)
    assert with_length["level_set"] > plain["level_set"] and with_length["projection"] == plain["projection"]
    doubled = BoxLevelSet(ranges=RANGES, projection=6.0, image=0.1, feature=10.0)(*inputs)
    torch.testing.assert_close(doubled["projection"], 2 * plain["projection"])
    torch.testing.assert_close(doubled["level_set"], 2 * plain["level_set"])
    consistent = BoxLevelSet(ranges=RANGES, consistency=0.2)(*inputs)["level_set"] - plain["level_set"]
    twice = BoxLevelSet(ranges=RANGES, consistency=0.4)(*inputs)["level_set"] - plain["level_set"]
    assert consistent > 0 and twice.item() == pytest.approx(2 * consistent.item(), rel=1e-5)
    late = BoxLevelSet(ranges=RANGES, projection_steps=1)
    assert late(*inputs)["level_set"] == 0
    resumed = BoxLevelSet(ranges=RANGES, projection_steps=1)
    resumed.load_state_dict(late.state_dict())
    assert resumed(*inputs)["level_set"] == plain["level_set"]


def test_local_consistency_is_that_of_each_level(known):
    """Also where levels have masks of one size, whose trees they share: the mean of all positives, level by level."""
    _, _, made = outputs(known)
    inputs = (*made, known["img"], *targets(known))
    boxes, _, masks = targets(known)
    found, total = object_shapes(boxes, masks), 0.0
    options = dict(image=0.0, feature=0.0, consistency=1.0)
    numbers = [
        sum(len(assign_cells(shape, tuple(known["img"].shape[2:]), grid=grid, bounds=bounds).cells) for shape in found)
        for grid, bounds in zip(GRIDS, RANGES)
    ]
    for i, number in enumerate(numbers):
        ranges = tuple(bounds if k == i else (1e8, 1e9) for k, bounds in enumerate(RANGES))
        total += number * BoxLevelSet(ranges=ranges, **options)(*inputs)["level_set"].item()
    assert min(numbers[:2]) > 0 or min(numbers[3:]) > 0
    whole = BoxLevelSet(ranges=RANGES, **options)(*inputs)["level_set"]
    assert whole.item() == pytest.approx(total / sum(numbers), rel=1e-5)
