"""Learning rates as functions of the step; nothing is stored, so a resumed run has the rate of an unbroken one."""

import math

from torch.optim import Optimizer

from segkit.registry import SCHEDULES, ConfigError
from segkit.settings import WarmupSettings


class Schedule:
    """Base: `rate(base, step, total)` -> learning rate of the step 0..total-1 for a group whose rate is `base`."""

    def rate(self, base: float, step: int, total: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} gives no rate()")

    def momentum(self, base: float, step: int, total: int) -> float:
        """SGD's momentum, or Adam's first beta; constant unless the schedule cycles it."""
        return base


@SCHEDULES.register
class Constant(Schedule):
    """The same rate throughout."""

    def rate(self, base: float, step: int, total: int) -> float:
        return base


@SCHEDULES.register
class Poly(Schedule):
    """(base - min_lr) * (1 - step / total) ** power + min_lr; ParseNet, Liu et al. 2015, section 3.2."""

    def __init__(self, power: float = 0.9, min_lr: float = 0.0):
        self.power, self.min_lr = power, min_lr

    def rate(self, base: float, step: int, total: int) -> float:
        return (base - self.min_lr) * max(1 - step / total, 0.0) ** self.power + self.min_lr


@SCHEDULES.register
class Step(Schedule):
    """base * gamma ** (step // every)."""

    def __init__(self, every: int, gamma: float = 0.1):
        self.every, self.gamma = every, gamma

    def rate(self, base: float, step: int, total: int) -> float:
        return base * self.gamma ** (step // self.every)


@SCHEDULES.register
class MultiStep(Schedule):
    """base * gamma ** (number of milestones passed); milestones are steps, or fractions of the run below 1."""

    def __init__(self, milestones: tuple[float, ...], gamma: float = 0.1):
        self.milestones, self.gamma = tuple(milestones), gamma

    def rate(self, base: float, step: int, total: int) -> float:
        return base * self.gamma ** sum(step >= (m * total if m < 1 else m) for m in self.milestones)


@SCHEDULES.register
class Cosine(Schedule):
    """Half a cosine from base to min_lr; SGDR, Loshchilov and Hutter, ICLR 2017, eq. 5 with one period."""

    def __init__(self, min_lr: float = 0.0):
        self.min_lr = min_lr

    def rate(self, base: float, step: int, total: int) -> float:
        return self.min_lr + (base - self.min_lr) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))


@SCHEDULES.register
class Cyclic(Schedule):
    """Triangular cycles between base and max_lr, half a cycle lasting half_cycle steps; Smith, WACV 2017, section 3.

    max_lr is relative to the optimizer's lr: each group keeps its own factor. decay shrinks the triangle per cycle.
    momentum_low: momentum at the peak of the rate (None: not cycled).
    """

    def __init__(
        self, max_factor: float = 10.0, half_cycle: int = 2000, decay: float = 1.0, momentum_low: float | None = None
    ):
        self.max_factor, self.half_cycle, self.decay, self.momentum_low = max_factor, half_cycle, decay, momentum_low

    def _height(self, step: int) -> float:
        cycle, place = divmod(step / self.half_cycle, 2)
        return (1 - abs(place - 1)) * self.decay**cycle

    def rate(self, base: float, step: int, total: int) -> float:
        return base * (1 + (self.max_factor - 1) * self._height(step))

    def momentum(self, base: float, step: int, total: int) -> float:
        return base if self.momentum_low is None else base - (base - self.momentum_low) * self._height(step)


@SCHEDULES.register
class OneCycle(Schedule):
    """From base / div_factor up to base in the first `rise` of the run, then down to base / final_div, by cosines.

    Super-Convergence, Smith and Topin 2018. momentum_low: momentum at the peak (None: not cycled).
    """

    def __init__(
        self, rise: float = 0.3, div_factor: float = 25.0, final_div: float = 1e4, momentum_low: float | None = None
    ):
        self.rise, self.div_factor, self.final_div, self.momentum_low = rise, div_factor, final_div, momentum_low

    def _at(self, start: float, peak: float, end: float, place: float) -> float:
        if place < self.rise:
            return peak + (start - peak) * 0.5 * (1 + math.cos(math.pi * place / self.rise))
        return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * min((place - self.rise) / (1 - self.rise), 1.0)))

    def rate(self, base: float, step: int, total: int) -> float:
        return self._at(base / self.div_factor, base, base / self.final_div, step / max(total - 1, 1))

    def momentum(self, base: float, step: int, total: int) -> float:
        low = base if self.momentum_low is None else self.momentum_low
        return self._at(base, low, base, step / max(total - 1, 1))


class LearningRate:
    """Sets the rate of every parameter group before a step: schedule and warm-up.

    warmup: for its steps the rate is multiplied by a factor that rises linearly to 1.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, total: int, warmup: WarmupSettings | None = None):
        if warmup is not None and warmup.steps >= total:
            raise ConfigError(f"schedule.warmup.steps = {warmup.steps}: the run has only {total} steps")
        self.optimizer, self.schedule, self.total, self.warmup = optimizer, schedule, total, warmup
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
            group.setdefault("base_momentum", group["betas"][0] if "betas" in group else group.get("momentum"))

    def set(self, step: int) -> None:
        """Rates of the step number `step` (0 is the first)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(group["base_lr"], step, self.total) * self._warm(step)
            if group["base_momentum"]:
                momentum = self.schedule.momentum(group["base_momentum"], step, self.total)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def _warm(self, step: int) -> float:
        if self.warmup is None or step >= self.warmup.steps:
            return 1.0
        return self.warmup.factor + (1 - self.warmup.factor) * step / self.warmup.steps
