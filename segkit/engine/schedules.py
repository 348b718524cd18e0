"""Learning rates as functions of the step; nothing is stored, so a resumed run has the rates of an unbroken one."""

import math
from typing import Annotated

from torch.optim import Optimizer

from segkit.constraints.named import Decay, NonNegativeFloat, PositiveFloat, PositiveInt, Range
from segkit.registry import SCHEDULES, ConfigError, build
from segkit.settings import WarmupSettings


class Schedule:
    """Base of the schedules: a subclass gives `rate`, and `momentum` where it changes it."""

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step.

        Args:
            base: learning rate of the parameter group in section `optimizer`.
            step: number of the step, 0..total - 1.
            total: steps of the run.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no rate()")

    def momentum(self, base: float, step: int, total: int) -> float:
        """Returns SGD's momentum, or Adam's first beta, of a step; constant unless the schedule cycles it.

        Args:
            base: the value of the parameter group in section `optimizer`.
            step: number of the step, 0..total - 1.
            total: steps of the run.
        """
        return base


@SCHEDULES.register
class Constant(Schedule):
    """The same rate throughout."""

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the base rate; see Schedule.rate."""
        return base


@SCHEDULES.register
class Poly(Schedule):
    """Polynomial decay: (base - min_lr) * (1 - step / total) ** power + min_lr, and at least `floor`.

    ParseNet, Liu et al. 2015, section 3.2.

    Args:
        power: exponent.
        min_lr: learning rate at the end.
        floor: least learning rate; unlike min_lr it leaves larger ones as they are (SSUL's code).
    """

    def __init__(self, power: PositiveFloat = 0.9, min_lr: NonNegativeFloat = 0.0, *, floor: NonNegativeFloat = 0.0):
        self.power, self.min_lr, self.floor = power, min_lr, floor

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step; see Schedule.rate."""
        rate = (base - self.min_lr) * max(1 - step / total, 0.0) ** self.power + self.min_lr
        return max(rate, self.floor)


@SCHEDULES.register
class Step(Schedule):
    """Step decay: base * gamma ** (step // every).

    Args:
        every: steps between two decays.
        gamma: factor of each decay.
    """

    def __init__(self, every: PositiveInt, gamma: NonNegativeFloat = 0.1):
        self.every, self.gamma = every, gamma

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step; see Schedule.rate."""
        return base * self.gamma ** (step // self.every)


@SCHEDULES.register
class MultiStep(Schedule):
    """Step decay at milestones: base * gamma ** (number of milestones passed).

    Args:
        milestones: steps, or fractions of the run where they are below 1.
        gamma: factor at each milestone.
    """

    def __init__(self, milestones: tuple[NonNegativeFloat, ...], gamma: NonNegativeFloat = 0.1):
        self.milestones, self.gamma = tuple(milestones), gamma

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step; see Schedule.rate."""
        return base * self.gamma ** sum(step >= (m * total if m < 1 else m) for m in self.milestones)


@SCHEDULES.register
class Cosine(Schedule):
    """Cosine decay: half a cosine from base to min_lr.

    SGDR, Loshchilov and Hutter, ICLR 2017, eq. 5 with one period.

    Args:
        min_lr: learning rate at the end.
    """

    def __init__(self, min_lr: NonNegativeFloat = 0.0):
        self.min_lr = min_lr

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step; see Schedule.rate."""
        return self.min_lr + (base - self.min_lr) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))


@SCHEDULES.register
class Cyclic(Schedule):
    """Triangular cycles between base and max_factor * base.

    Smith, WACV 2017, section 3.

    Args:
        max_factor: largest learning rate over the base rate; the same for all parameter groups.
        half_cycle: steps of the rise, and of the fall.
        decay: factor of the triangle's height after each cycle.
        momentum_low: momentum at the peak of the rate; None keeps the momentum constant.
    """

    def __init__(
        self,
        max_factor: PositiveFloat = 10.0,
        half_cycle: PositiveInt = 2000,
        decay: NonNegativeFloat = 1.0,
        momentum_low: Decay | None = None,
    ):
        self.max_factor, self.half_cycle, self.decay, self.momentum_low = max_factor, half_cycle, decay, momentum_low

    def _height(self, step: int) -> float:
        """Height of the triangle, 0..1."""
        cycle, position = divmod(step / self.half_cycle, 2)
        return (1 - abs(position - 1)) * self.decay**cycle

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step; see Schedule.rate."""
        return base * (1 + (self.max_factor - 1) * self._height(step))

    def momentum(self, base: float, step: int, total: int) -> float:
        """Returns the momentum of a step; see Schedule.momentum."""
        return base if self.momentum_low is None else base - (base - self.momentum_low) * self._height(step)


@SCHEDULES.register
class OneCycle(Schedule):
    """One cycle: from base / div_factor up to base, then down to base / final_div, both by cosines.

    Super-Convergence, Smith and Topin 2018.

    Args:
        rise: fraction of the run that the rate rises, 0..1.
        div_factor: base rate over the rate at the start.
        final_div: base rate over the rate at the end.
        momentum_low: momentum at the peak of the rate; None keeps the momentum constant.
    """

    def __init__(
        self,
        rise: Annotated[float, Range(0, 1, below=True)] = 0.3,
        div_factor: PositiveFloat = 25.0,
        final_div: PositiveFloat = 1e4,
        momentum_low: Decay | None = None,
    ):
        self.rise, self.div_factor, self.final_div, self.momentum_low = rise, div_factor, final_div, momentum_low

    def _at(self, start: float, peak: float, end: float, *, position: float) -> float:
        """The value at a position of the run, 0..1: from start to peak, then to end."""
        if position < self.rise:
            return peak + (start - peak) * 0.5 * (1 + math.cos(math.pi * position / self.rise))
        fall = min((position - self.rise) / (1 - self.rise), 1.0)
        return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * fall))

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the learning rate of a step; see Schedule.rate."""
        return self._at(base / self.div_factor, base, base / self.final_div, position=step / max(total - 1, 1))

    def momentum(self, base: float, step: int, total: int) -> float:
        """Returns the momentum of a step; see Schedule.momentum."""
        low = base if self.momentum_low is None else self.momentum_low
        return self._at(base, low, base, position=step / max(total - 1, 1))


class LearningRate:
    """Sets learning rate and momentum of every parameter group before a step.

    Args:
        optimizer: each of its groups keeps its base values as "base_lr" and "base_momentum". A group's "wait" and
            "warmup", where it has them, are steps at rate 0 before its warm-up, and steps of its warm-up.
        schedule: gives the values.
        total: steps of the run.
        warmup: for its steps the rate is multiplied by a factor that rises linearly to 1; None for no warm-up.

    Raises:
        ConfigError: the warm-up is as long as the run, or longer.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, total: int, warmup: WarmupSettings | None = None):
        self.optimizer, self.schedule, self.total = optimizer, schedule, total
        self.warmup = WarmupSettings(0) if warmup is None else warmup
        share = self.warmup.steps
        self.warmup_steps = round(share * total) if share < 1 else int(share)
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
            group.setdefault("base_momentum", group["betas"][0] if "betas" in group else group.get("momentum"))
            wait, steps = self._wait_and_warmup(group)
            if steps + wait >= total and steps + wait > 0:
                raise ConfigError(
                    f"schedule.warmup.steps = {steps}{f' after a wait of {wait}' if wait else ''}: the run has only "
                    f"{total} steps; choose a shorter warm-up"
                )

    def set(self, step: int) -> None:
        """Sets the values for a step, 0 for the first."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(group, step)
            if group["base_momentum"]:
                momentum = self.schedule.momentum(group["base_momentum"], step, self.total)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def _wait_and_warmup(self, group: dict) -> tuple[int, int]:
        return group.get("wait", 0), group.get("warmup", self.warmup_steps)

    def _rate(self, group: dict, step: int) -> float:
        base = group["base_lr"]
        wait, steps = self._wait_and_warmup(group)
        law, start = self.warmup.law, wait + steps
        # each of mmengine's schedulers is at its end in the last of its own steps
        early = law == "mmengine"
        if law == "multiplied":
            scheduled = self.schedule.rate(base, step, self.total)
        elif step < start:
            scheduled = base
        else:
            scheduled = self.schedule.rate(base, step - start, max(self.total - start - early, 1))
        if step < wait:
            return 0.0
        if step >= start:
            return scheduled
        rise = (step - wait) / max(steps - early, 1)
        return scheduled * (self.warmup.factor + (1 - self.warmup.factor) * rise)


def learning_rate(section: dict | None, optimizer: Optimizer, total: int) -> LearningRate:
    """Builds what section `schedule` describes.

    Args:
        section: of the config; None is Poly.
        optimizer: see LearningRate.
        total: steps of the run.

    Raises:
        ConfigError: there is no such schedule, or the warm-up is as long as the run.
    """
    schedule = dict(section or {"type": "Poly"})
    warmup = WarmupSettings(**schedule.pop("warmup")) if schedule.get("warmup") else None
    return LearningRate(optimizer, build(schedule, SCHEDULES, "schedule"), total, warmup)


def rising_rates(schedule: dict | None, optimizer: dict | None) -> list[str]:
    """Finds learning rates that a schedule with `min_lr` would raise, which is seldom meant.

    Args:
        schedule: section `schedule`.
        optimizer: section `optimizer`.

    Returns:
        A sentence for `optimizer.lr`, else one for each row of `optimizer.groups`, where `min_lr` is above it.
    """
    end, lr = (schedule or {}).get("min_lr"), (optimizer or {}).get("lr")
    if optimizer is None or end is None or lr is None:
        return []
    rates = {f"optimizer.groups.{i}": lr * row.get("lr", 1.0) for i, row in enumerate(optimizer.get("groups") or ())}
    rates = {"optimizer.lr": lr} if end > lr else rates
    return [
        f"schedule.min_lr = {end:g} is above {name} = {rate:g}: this rate rises during the training; set "
        "schedule.min_lr=0, or a larger rate"
        for name, rate in rates.items()
        if end > rate
    ]
