"""Criterion rows: names, weights, sizes, errors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.criterion import Criterion, Row, build_criterion, complete_row
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


def full(value: float) -> torch.Tensor:
    """A map of one value that requires a gradient."""
    return torch.full((1, 1, 2, 2), value, requires_grad=True)


def parameter(value: float) -> torch.Tensor:
    return torch.tensor([value], requires_grad=True)


def criterion(*rows: dict, loss=Mean, align_corners=False) -> Criterion:
    return Criterion([Row(loss(), RowSettings(type=loss.__name__, **row)) for row in rows], align_corners)


def test_weighted_terms_by_name():
    outputs = {"logits": full(3.0), "aux0.logits": full(5.0)}
    terms = criterion(dict(), dict(on="aux0.logits", weight=0.4))(outputs, {"image": torch.zeros(1, 3, 2, 2)}, 0)
    assert {name: value.item() for name, value in terms.items()} == {"Mean": 3.0, "aux0.Mean": 2.0}


def test_a_loss_that_takes_other_inputs_is_named_with_its_row():
    class NeedsTarget(nn.Module):
        def forward(self, logits, target):
            return (logits - target).mean()

    with pytest.raises(ConfigError, match=r"losses\.0: forward\(\) of NeedsTarget .*missing .*'target'.*target='mask'"):
        criterion(dict(), loss=NeedsTarget)({"logits": full(1.0)}, {"image": torch.zeros(1, 3, 2, 2)}, 0)


def test_a_pattern_takes_every_match():
    outputs = {f"aux{i}.logits": full(float(i)) for i in range(3)}
    terms = criterion(dict(on="aux*.logits"))(outputs, {"image": torch.zeros(1, 3, 2, 2)}, 0)
    assert [terms[f"aux{i}.Mean"].item() for i in range(3)] == [0.0, 1.0, 2.0]


def test_several_terms_of_one_loss_are_logged_apart():
    terms = criterion(dict(on="x", weight=3.0), loss=Two)({"x": torch.ones(2, requires_grad=True)}, {}, 0)
    assert {name: value.item() for name, value in terms.items()} == {"x.Two.a": 6.0, "x.Two.b": 12.0}


@pytest.mark.parametrize("align_corners", [False, True])
def test_outputs_are_resized_to_the_target_as_the_model_does(align_corners):
    logits, mask = torch.randn(1, 2, 3, 4, requires_grad=True), torch.rand(1, 6, 8)
    loss = criterion(dict(target="mask"), align_corners=align_corners)({"logits": logits}, {"mask": mask}, 0)["Mean"]
    resized = F.interpolate(logits, (6, 8), mode="bilinear", align_corners=align_corners)
    assert torch.equal(loss, (resized * mask).mean())


def test_native_leaves_the_size():
    terms = criterion(dict(at="native"))({"logits": full(1.0)}, {"image": torch.zeros(1, 3, 8, 8)}, 0)
    assert terms["Mean"].item() == 1.0


def test_two_outputs_go_to_one_loss():
    outputs = {"logits": full(3.0), "teacher.logits": full(5.0).detach()}
    terms = criterion(dict(on=["logits", "teacher.logits"]))(outputs, {"image": torch.zeros(1, 3, 2, 2)}, 0)
    assert terms["Mean"].item() == 15.0


def test_warm_up_of_a_weight():
    rows = criterion(dict(weight=dict(value=2.0, warmup=4, start=1.0)))
    outputs, batch = {"logits": full(1.0)}, {"image": torch.zeros(1, 3, 2, 2)}
    assert [rows(outputs, batch, step)["Mean"].item() for step in (0, 2, 4, 9)] == [1.0, 1.5, 2.0, 2.0]


def test_a_weight_may_rise_later():
    """0 for 10 steps, then up to 2 within 4."""
    rows = criterion(dict(weight=dict(value=2.0, warmup=4, after=10)))
    outputs, batch = {"logits": full(1.0)}, {"image": torch.zeros(1, 3, 2, 2)}
    values = [rows(outputs, batch, step)["Mean"].item() for step in (0, 9, 10, 11, 14, 99)]
    assert values == [0.0, 0.0, 0.0, 0.5, 2.0, 2.0]


def test_missing_names_are_listed():
    with pytest.raises(ConfigError, match=r"losses.0.on = 'logit'.*did you mean 'logits'.*available: logits"):
        criterion(dict(on="logit"))({"logits": torch.ones(1)}, {}, 0)
    with pytest.raises(ConfigError, match=r"losses.0.target = 'masks'.*did you mean 'mask'"):
        criterion(dict(target="masks"))({"logits": torch.ones(1)}, {"mask": torch.ones(1)}, 0)


def test_a_row_builds_its_loss_with_its_own_arguments():
    rows = build_criterion([dict(type="CrossEntropy", on="logits", target="mask", weight=2.0, label_smoothing=0.1)])
    logits, mask = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randint(3, (1, 4, 4))
    expected = 2 * F.cross_entropy(logits, mask, label_smoothing=0.1)
    assert torch.allclose(rows({"logits": logits}, {"mask": mask}, 0)["CrossEntropy"], expected)


def test_bad_place_of_a_row():
    with pytest.raises(ConfigError, match=r"losses.0.at = 'imgae': must be 'image' or 'native'"):
        build_criterion([dict(type="CrossEntropy", at="imgae")])


def test_dynamic_weights_are_those_of_the_epochs_means():
    """Two terms, epochs of two steps; mean losses 4, 1 then 2, 1: ratios .5 and 1."""
    rows = [dict(type="tests.test_criterion:Mean", on="a"), dict(type="tests.test_criterion:Mean", on="b")]
    ours = build_criterion(rows, weighting=dict(type="DWA", temperature=2.0), epoch_steps=2)
    seen = []
    for step, (a, b) in enumerate([(5.0, 1.0), (3.0, 1.0), (2.0, 1.0), (2.0, 1.0), (1.0, 1.0)]):
        terms = ours({"a": parameter(a), "b": parameter(b)}, {}, step)
        seen.append((terms["a.Mean"].item() / a, terms["b.Mean"].item() / b))
    share = 2 * torch.softmax(torch.tensor([0.5 / 2, 1.0 / 2]), 0)
    assert seen[:4] == [(1.0, 1.0)] * 4 and seen[4] == pytest.approx(share.tolist())


def test_a_weighting_is_part_of_the_state():
    rows = [dict(type="tests.test_criterion:Mean", on="a"), dict(type="tests.test_criterion:Mean", on="b")]
    for weighting in (dict(type="DWA"), dict(type="Uncertainty")):
        one, two = (build_criterion(rows, weighting=weighting, epoch_steps=1) for _ in range(2))
        for step in range(3):
            one({"a": parameter(5.0 - step), "b": parameter(1.0)}, {}, step)
        two.load_state_dict(one.state_dict())
        outputs = {"a": parameter(1.0), "b": parameter(2.0)}
        first, second = one(outputs, {}, 3), two(outputs, {}, 3)
        assert {k: float(v.detach()) for k, v in first.items()} == {k: float(v.detach()) for k, v in second.items()}
        assert len(list(two.parameters())) == (weighting["type"] == "Uncertainty")


class OwnRow(Mean):
    """Two outputs of its own choice."""

    row = dict(on=["student", "teacher"], at="native")


OWN = "tests.test_criterion:OwnRow"


def test_a_loss_states_its_row_and_a_config_overrides_single_keys():
    assert complete_row(dict(type=OWN)) == dict(type=OWN, on=["student", "teacher"], at="native")
    assert complete_row(dict(type=OWN, on=["a", "b"])) == dict(type=OWN, on=["a", "b"], at="native")
    assert complete_row(dict(type="CrossEntropy", on="aux0.logits"))["target"] == "mask"
    assert complete_row(dict(type="torch.nn:L1Loss")) == dict(type="torch.nn:L1Loss")
    terms = build_criterion([dict(type=OWN)])({"student": full(3.0), "teacher": full(5.0)}, {}, 0)
    assert terms["OwnRow"].item() == 15.0


def test_a_row_states_no_other_keys(monkeypatch):
    monkeypatch.setattr(OwnRow, "row", dict(weight=2.0))
    with pytest.raises(ConfigError, match=r"losses.0: OwnRow.row has the key 'weight'; it may have on, target, at"):
        build_criterion([dict(type=OWN)])


def test_labels_of_rows_with_several_outputs():
    """Without the branch where that tells them apart, with it where not; equal ones get an apostrophe."""
    outputs = {name: full(1.0) for name in ("logits", "t", "features.0", "features.1", "aux0.logits")}
    batch = {"image": torch.zeros(1, 3, 2, 2)}

    def labels(*rows: dict, **own) -> list[str]:
        built = build_criterion([dict(type="tests.test_criterion:Mean", **row) for row in rows], **own)
        return list(built(outputs, batch, 0))

    first, second = dict(on=["features.0", "t"]), dict(on=["features.1", "t"])
    assert labels(first, dict(on="aux0.logits")) == ["Mean", "aux0.Mean"]
    assert labels(first, second) == ["features.0.Mean", "features.1.Mean"]
    assert labels(first, dict(second, name="deep")) == ["Mean", "deep"]
    assert labels(dict(on=["logits", "t"]), dict(on="logits")) == ["Mean", "Mean'"]
    assert labels(first, first, second, dict(), weighting=dict(type="DWA"), epoch_steps=1) == [
        "features.0.Mean",
        "features.0.Mean'",
        "features.1.Mean",
        "Mean",
    ]


def test_what_a_loss_trains_requires_a_gradient():
    logits, teacher = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randn(1, 2, 4, 4)
    outputs = {"logits": logits, "teacher.logits": teacher}
    batch = {"image": torch.zeros(1, 3, 4, 4), "mask": torch.randint(3, (1, 4, 4))}
    rows = [dict(type="UnbiasedCE"), dict(type="UnbiasedKD", on=["teacher.logits", "logits"])]
    swapped = build_criterion(rows)
    with pytest.raises(
        ConfigError,
        match=r"losses\.1\.on = \['teacher\.logits', 'logits'\]: 'teacher\.logits' carries no gradient, so UnbiasedKD "
        r"would train nothing; the first name is what the loss trains \(swap the names\?\)",
    ):
        swapped(outputs, batch, 0)
    assert build_criterion(rows[:1])(outputs, batch, 0)


def test_a_frozen_head_is_named_unless_its_row_only_reports():
    outputs = {"logits": full(3.0), "aux0.logits": full(5.0).detach()}
    batch = {"image": torch.zeros(1, 3, 2, 2)}
    with pytest.raises(
        ConfigError, match=r"losses\.1\.on = 'aux0\.logits': .* so Mean would train nothing.*frozen part"
    ):
        criterion(dict(), dict(on="aux*.logits"))(outputs, batch, 0)
    terms = criterion(dict(), dict(on="aux*.logits", weight=0.0))(outputs, batch, 0)
    assert terms["aux0.Mean"].item() == 0.0
    warming = dict(weight=dict(value=1.0, warmup=10))
    assert criterion(warming)(outputs, batch, 0)["Mean"].item() == 0.0


def test_the_value_must_carry_a_gradient_and_only_the_first_step_looks():
    class Cut(Mean):
        def forward(self, x):
            return x.detach().sum()

    batch = {"image": torch.zeros(1, 3, 2, 2)}
    with pytest.raises(ConfigError, match=r"losses\.0: the value of Cut carries no gradient.*'logits'"):
        criterion(dict(), loss=Cut)({"logits": full(1.0)}, batch, 0)
    rows = criterion(dict())
    with torch.no_grad():
        rows({"logits": full(1.0)}, batch, 0)
    rows({"logits": full(1.0)}, batch, 0)
    assert float(rows({"logits": full(2.0).detach()}, batch, 1)["Mean"]) == 2.0
