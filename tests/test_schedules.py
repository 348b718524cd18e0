"""Learning rates at hand-worked steps."""

import math

import pytest
import torch

from segkit.engine.optim import build_optimizer
from segkit.engine.preflight import preflight
from segkit.engine.schedules import (
    Constant,
    Cosine,
    Cyclic,
    LearningRate,
    MultiStep,
    OneCycle,
    Poly,
    Step,
    rising_rates,
)
from segkit.engine.setup import DataSets
from segkit.registry import ConfigError
from segkit.runners.base import build_runner
from segkit.settings import WarmupSettings
from tests.tiny import sections


def test_poly_is_the_published_one():
    assert Poly(0.9, 1e-4).rate(0.01, 0, 100) == pytest.approx(0.01)
    assert Poly(0.9, 1e-4).rate(0.01, 50, 100) == pytest.approx((0.01 - 1e-4) * 0.5**0.9 + 1e-4)
    assert Poly(0.9).rate(0.01, 100, 100) == 0.0


def test_an_end_above_the_rate_is_said():
    poly, groups = dict(type="Poly", min_lr=1e-4), [dict(match="head", lr=10), dict(match="backbone", lr=0.1)]
    assert rising_rates(poly, dict(type="SGD", lr=1e-5, groups=groups)) == [
        "schedule.min_lr = 0.0001 is above optimizer.lr = 1e-05: this rate rises during the training; set "
        "schedule.min_lr=0, or a larger rate"
    ]
    (text,) = rising_rates(poly, dict(type="SGD", lr=5e-4, groups=groups))
    assert "is above optimizer.groups.1 = 5e-05" in text
    assert Poly(0.9, 1e-4).rate(1e-5, 90, 100) > 1e-5  # it does rise
    for schedule, optimizer in (
        (poly, dict(lr=1e-4)),
        (dict(type="Poly"), dict(lr=1e-5)),
        (None, dict(lr=1e-5)),
        (poly, dict(type="SGD")),
        (poly, None),
    ):
        assert rising_rates(schedule, optimizer) == []
    cfg = sections()
    cfg["schedule"], cfg["optimizer"]["lr"] = poly, 1e-6
    train = preflight(cfg, build_runner(cfg), DataSets(), limit=1)[0].report
    assert train.is_ok and "schedule.min_lr = 0.0001 is above optimizer.lr = 1e-06" in train.warnings[-1]


def test_steps():
    assert [Step(2, 0.1).rate(1.0, s, 9) for s in (0, 1, 2, 4)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [MultiStep((2, 0.5), 0.1).rate(1.0, s, 8) for s in (1, 2, 4)] == pytest.approx([1, 0.1, 0.01])


def test_cosine_and_cycles():
    assert [Cosine(0.2).rate(1.0, s, 4) for s in (0, 2, 4)] == pytest.approx([1.0, 0.6, 0.2])
    cyclic = Cyclic(max_factor=3.0, half_cycle=2, decay=0.5, momentum_low=0.8)
    assert [cyclic.rate(1.0, s, 9) for s in (0, 1, 2, 3, 4, 6)] == pytest.approx([1, 2, 3, 2, 1, 2])
    assert [cyclic.momentum(0.9, s, 9) for s in (0, 2)] == pytest.approx([0.9, 0.8])


def test_a_cyclic_trace_is_the_closed_form():
    """Smith's formula, and torch's CyclicLR: 1e-4 to 1e-2 and back in 2 x 7 steps, momentum against it."""
    model = torch.nn.Linear(1, 1)
    theirs = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    reference = torch.optim.lr_scheduler.CyclicLR(
        theirs, 1e-4, 1e-2, step_size_up=7, base_momentum=0.8, max_momentum=0.9, cycle_momentum=True
    )
    own = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    ours = LearningRate(own, Cyclic(max_factor=100.0, half_cycle=7, momentum_low=0.8), 40, None)
    for step in range(40):
        ours.set(step)
        cycle = math.floor(1 + step / 14)
        height = max(0.0, 1 - abs(step / 7 - 2 * cycle + 1))
        assert own.param_groups[0]["lr"] == pytest.approx(1e-4 + (1e-2 - 1e-4) * height, rel=1e-9)
        assert own.param_groups[0]["lr"] == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
        assert own.param_groups[0]["momentum"] == pytest.approx(theirs.param_groups[0]["momentum"], rel=1e-6)
        theirs.step()
        reference.step()


def test_one_cycle_equals_torch():
    model = torch.nn.Linear(1, 1)
    theirs = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.95)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        theirs, 1.0, total_steps=20, pct_start=0.3, base_momentum=0.85, max_momentum=0.95, final_div_factor=1e4 / 25
    )
    ours = OneCycle(rise=6 / 19 - 1 / 19, momentum_low=0.85)  # torch's peak lies at 0.3 * 20 - 1 = 5 of 19
    for step in range(20):
        assert ours.rate(1.0, step, 20) == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
        assert ours.momentum(0.95, step, 20) == pytest.approx(theirs.param_groups[0]["momentum"], rel=1e-6)
        theirs.step()
        if step < 19:
            reference.step()


def test_warm_up_multiplies_and_groups_keep_their_factor():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([dict(params=parameters[:1], lr=1.0), dict(params=parameters[1:], lr=0.1)])
    rate = LearningRate(optimizer, Constant(), 10, WarmupSettings(steps=4, factor=0.5))
    seen = []
    for step in (0, 2, 4):
        rate.set(step)
        seen.append([group["lr"] for group in optimizer.param_groups])
    assert seen == [pytest.approx([0.5, 0.05]), pytest.approx([0.75, 0.075]), pytest.approx([1.0, 0.1])]


def test_warm_up_longer_than_the_run():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigError, match=r"schedule.warmup.steps = 10: the run has only 10 steps"):
        LearningRate(optimizer, Constant(), 10, WarmupSettings(steps=10))


def test_polynomial_of_a_run_is_monotone():
    rates = [Poly().rate(1.0, step, 50) for step in range(51)]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 51 and math.isclose(rates[0], 1.0)


def rates_of(total: int, schedule, settings: WarmupSettings, **group) -> list[float]:
    optimizer = torch.optim.SGD([dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=2.0, **group)])
    rate = LearningRate(optimizer, schedule, total, settings)
    seen = []
    for step in range(total):
        rate.set(step)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_warm_up_of_mmengine():
    """Against its recursions: each scheduler changes the last value once a step and ends in its own last step."""
    value, expected = 2.0 * 0.1, []
    for step in range(30):
        expected.append(value)
        if step + 1 < 10:  # the linear one, over 10 - 1 changes
            value *= 1 + 0.9 / (9 * 0.1 + step * 0.9)
        elif 10 < step + 1 < 30:  # the polynomial one, over 20 - 1 changes
            value *= (1 - 1 / (19 - (step + 1 - 10) + 1)) ** 0.9
        else:
            value = 2.0
    assert rates_of(30, Poly(0.9), WarmupSettings(10, 0.1, "mmengine")) == pytest.approx(expected)


def test_a_schedule_that_begins_after_the_warm_up():
    """transformers: 0, .5, 1, 1.5, then 2 * (1 - (step - 4) / 6)."""
    expected = [0.0, 0.5, 1.0, 1.5, *(2 * (1 - k / 6) for k in range(6))]
    assert rates_of(10, Poly(1.0), WarmupSettings(4, 0.0, "before")) == pytest.approx(expected)


def test_an_encoder_that_waits():
    """EoMT: 0 for 3 steps, a rise over 2, then the polynomial over the rest."""
    expected = [0.0, 0.0, 0.0, 0.0, 1.0, *(2 * (1 - k / 5) for k in range(5))]
    assert rates_of(10, Poly(1.0), WarmupSettings(3, 0.0, "before"), wait=3, warmup=2) == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"schedule.warmup.steps = 7 after a wait of 3: the run has only 10 steps"):
        rates_of(10, Poly(1.0), WarmupSettings(3), wait=3, warmup=7)


def test_rows_of_groups_make_parameters_wait():
    model = torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(1, 1), head=torch.nn.Linear(1, 1)))
    section = dict(type="SGD", lr=1.0, groups=[dict(match="^backbone", wait=5, warmup=7)])
    groups = build_optimizer(section, model).param_groups
    assert [(group.get("wait"), group.get("warmup"), len(group["params"])) for group in groups] == [
        (5, 7, 2),
        (None, None, 2),
    ]


def test_a_warm_up_of_a_share_of_the_run_is_that_of_so_many_steps():
    def rates(steps: float) -> list[float]:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        rate = LearningRate(optimizer, Cosine(0.2), 36, WarmupSettings(steps=steps, factor=0.0, law="before"))
        found = []
        for step in range(36):
            rate.set(step)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    assert rates(0.1) == rates(4) and rates(0.1)[:5] == [0, 0.25, 0.5, 0.75, 1] and rates(0.0) == rates(0)
