"""Criterion rows: names, weights, sizes, errors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.criterion import Criterion, Row, build_criterion
from segkit.registry import ConfigError
from segkit.settings import RowSettings


class Mean(nn.Module):
    """Mean of the product of all inputs, so that a test can work it by hand."""

    def forward(self, *tensors):
        product = tensors[0]
        for other in tensors[1:]:
            product = product * other
        return product.mean()


class Two(nn.Module):
    def forward(self, x):
        return {"a": x.sum(), "b": 2 * x.sum()}


def criterion(*rows: dict, loss=Mean, align_corners=False) -> Criterion:
    return Criterion([Row(loss(), RowSettings(type=loss.__name__, **row)) for row in rows], align_corners)


def test_weighted_terms_by_name():
    outputs = {"logits": torch.full((1, 1, 2, 2), 3.0), "aux0.logits": torch.full((1, 1, 2, 2), 5.0)}
    terms = criterion(dict(), dict(on="aux0.logits", weight=0.4))(outputs, {"image": torch.zeros(1, 3, 2, 2)}, 0)
    assert {name: float(value) for name, value in terms.items()} == {"Mean": 3.0, "aux0.Mean": 2.0}


def test_a_pattern_takes_every_match():
    outputs = {f"aux{i}.logits": torch.full((1, 1, 2, 2), float(i)) for i in range(3)}
    terms = criterion(dict(on="aux*.logits"))(outputs, {"image": torch.zeros(1, 3, 2, 2)}, 0)
    assert [float(terms[f"aux{i}.Mean"]) for i in range(3)] == [0.0, 1.0, 2.0]


def test_several_terms_of_one_loss_are_logged_apart():
    terms = criterion(dict(on="x", weight=3.0), loss=Two)({"x": torch.ones(2)}, {}, 0)
    assert {name: float(value) for name, value in terms.items()} == {"x.Two.a": 6.0, "x.Two.b": 12.0}


@pytest.mark.parametrize("align_corners", [False, True])
def test_outputs_are_resized_to_the_target_as_the_model_does(align_corners):
    logits, mask = torch.randn(1, 2, 3, 4), torch.rand(1, 6, 8)
    loss = criterion(dict(target="mask"), align_corners=align_corners)({"logits": logits}, {"mask": mask}, 0)["Mean"]
    resized = F.interpolate(logits, (6, 8), mode="bilinear", align_corners=align_corners)
    assert torch.equal(loss, (resized * mask).mean())


def test_native_leaves_the_size():
    terms = criterion(dict(at="native"))({"logits": torch.ones(1, 1, 2, 2)}, {"image": torch.zeros(1, 3, 8, 8)}, 0)
    assert float(terms["Mean"]) == 1.0


def test_two_outputs_go_to_one_loss():
    outputs = {"logits": torch.full((1, 1, 2, 2), 3.0), "teacher.logits": torch.full((1, 1, 2, 2), 5.0)}
    terms = criterion(dict(on=["logits", "teacher.logits"]))(outputs, {"image": torch.zeros(1, 3, 2, 2)}, 0)
    assert float(terms["Mean"]) == 15.0


def test_warm_up_of_a_weight():
    rows = criterion(dict(weight=dict(value=2.0, warmup=4, start=1.0)))
    outputs, batch = {"logits": torch.ones(1, 1, 2, 2)}, {"image": torch.zeros(1, 3, 2, 2)}
    assert [float(rows(outputs, batch, step)["Mean"]) for step in (0, 2, 4, 9)] == [1.0, 1.5, 2.0, 2.0]


def test_missing_names_are_listed():
    with pytest.raises(ConfigError, match=r"losses.0.on = 'logit'.*did you mean 'logits'.*they hold: logits"):
        criterion(dict(on="logit"))({"logits": torch.ones(1)}, {}, 0)
    with pytest.raises(ConfigError, match=r"losses.0.target = 'masks'.*did you mean 'mask'"):
        criterion(dict(target="masks"))({"logits": torch.ones(1)}, {"mask": torch.ones(1)}, 0)


def test_a_row_builds_its_loss_with_its_own_arguments():
    rows = build_criterion([dict(type="CrossEntropy", on="logits", target="mask", weight=2.0, label_smoothing=0.1)])
    logits, mask = torch.randn(1, 3, 4, 4), torch.randint(3, (1, 4, 4))
    expected = 2 * F.cross_entropy(logits, mask, label_smoothing=0.1)
    assert torch.allclose(rows({"logits": logits}, {"mask": mask}, 0)["CrossEntropy"], expected)


def test_bad_place_of_a_row():
    with pytest.raises(ConfigError, match=r"losses.0.at = 'imgae': it is 'image' or 'native'"):
        build_criterion([dict(type="CrossEntropy", at="imgae")])


def test_dynamic_weights_are_those_of_the_epochs_means():
    """Two terms, epochs of two steps; mean losses 4, 1 then 2, 1: ratios .5 and 1."""
    rows = [dict(type="tests.test_criterion:Mean", on="a"), dict(type="tests.test_criterion:Mean", on="b")]
    ours = build_criterion(rows, weighting=dict(type="DWA", temperature=2.0), epoch_steps=2)
    seen = []
    for step, (a, b) in enumerate([(5.0, 1.0), (3.0, 1.0), (2.0, 1.0), (2.0, 1.0), (1.0, 1.0)]):
        terms = ours({"a": torch.tensor([a]), "b": torch.tensor([b])}, {}, step)
        seen.append((float(terms["a.Mean"]) / a, float(terms["b.Mean"]) / b))
    share = 2 * torch.softmax(torch.tensor([0.5 / 2, 1.0 / 2]), 0)
    assert seen[:4] == [(1.0, 1.0)] * 4 and seen[4] == pytest.approx(share.tolist())


def test_a_weighting_is_part_of_the_state():
    rows = [dict(type="tests.test_criterion:Mean", on="a"), dict(type="tests.test_criterion:Mean", on="b")]
    for weighting in (dict(type="DWA"), dict(type="Uncertainty")):
        one, two = (build_criterion(rows, weighting=weighting, epoch_steps=1) for _ in range(2))
        for step in range(3):
            one({"a": torch.tensor([5.0 - step]), "b": torch.tensor([1.0])}, {}, step)
        two.load_state_dict(one.state_dict())
        outputs = {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])}
        first, second = one(outputs, {}, 3), two(outputs, {}, 3)
        assert {k: float(v.detach()) for k, v in first.items()} == {k: float(v.detach()) for k, v in second.items()}
        assert len(list(two.parameters())) == (weighting["type"] == "Uncertainty")
