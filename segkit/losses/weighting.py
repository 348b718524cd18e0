"""Weights of several loss terms that change during training.

DWA computes plain numbers from epoch means; Uncertainty learns parameters; NormalizedPseudo follows moving averages.
Fixed weights belong to the rows of the criterion. K terms.
"""

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.dist import all_reduce_sum, world_size
from segkit.registry import WEIGHTINGS, ConfigError


class Weighting:
    """Base of all weightings.

    Attributes:
        names: of the terms that are weighted, as the criterion labels them.
    """

    names: list[str]

    def weigh(self, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Weights the terms of a training step.

        Args:
            terms: float [] by name.
            step: number of the training step.

        Returns:
            The same names, weighted; terms that are not in `names` are unchanged.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no weigh()")

    def current(self) -> dict[str, float] | dict[str, Tensor]:
        """Returns the weight of each term in the last step by name, without graph, for the log; {} for none."""
        return {}


@WEIGHTINGS.register
class DWA(Weighting):
    """Dynamic weight average: a term that falls more slowly counts more.

    Liu et al., MTAN, CVPR 2019, https://arxiv.org/abs/1803.10704, eq. 7. w_k = K softmax_k(r_k / T) with r_k =
    L_k(t - 1) / L_k(t - 2), the ratio of the last two epochs' mean losses. Weights are 1 until two epochs are known,
    and always sum to K. An epoch may be a stated number of steps. In a criterion `weigh` keeps the means itself;
    elsewhere:

        dwa = DWA(["ce", "dice"])
        dwa.end_epoch({"ce": 0.7, "dice": 0.4})  # after every epoch
        dwa.weights["ce"]

    Args:
        names: of the terms, as the criterion labels them.
        temperature: T.
        epoch_steps: training steps of one epoch of the data.
        every: training steps after which the means are taken, in place of an epoch's; 0 for an epoch.
    """

    def __init__(
        self,
        names: list[str],
        temperature: PositiveFloat = 2.0,
        *,
        epoch_steps: PositiveInt = 1,
        every: NonNegativeInt = 0,
    ):
        self.names, self.temperature, self.epoch_steps = list(names), temperature, every or epoch_steps
        self.history: list[dict[str, float]] = []
        self.epoch, self.count = 0, 0
        self.sums: dict[str, Tensor] = {}

    def weigh(self, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Weights the terms; reads the device once per epoch, and sums over all processes; see Weighting.weigh."""
        epoch = step // self.epoch_steps
        if epoch != self.epoch and self.count:
            totals = all_reduce_sum(torch.stack([self.sums[name].float() for name in self.names])).tolist()
            count = int(all_reduce_sum(torch.tensor(self.count)))
            self.end_epoch({name: total / count for name, total in zip(self.names, totals)})
            self.count, self.sums = 0, {}
        self.epoch = epoch
        self.count += 1
        for name in self.names:
            value = terms[name].detach()
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value
        weights = self.weights
        return {name: value * weights.get(name, 1.0) for name, value in terms.items()}

    def end_epoch(self, means: dict[str, float]) -> None:
        """Takes the epoch's unweighted mean of each term; only the last two epochs are kept.

        Raises:
            ValueError: the mean of a term is missing.
        """
        missing = [name for name in self.names if name not in means]
        if missing:
            raise ValueError(f"DWA has no mean of {', '.join(missing)}; available: {', '.join(sorted(means))}")
        self.history = [*self.history, {name: float(means[name]) for name in self.names}][-2:]

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term by name."""
        if len(self.history) < 2:
            return dict.fromkeys(self.names, 1.0)
        before, last = self.history
        # a term that was 0 has no ratio: it counts as unchanged
        ratios = [last[name] / before[name] if before[name] > 0 else 1.0 for name in self.names]
        largest = max(ratios)
        powers = [math.exp((ratio - largest) / self.temperature) for ratio in ratios]
        return {name: len(powers) * power / sum(powers) for name, power in zip(self.names, powers)}

    def current(self) -> dict[str, float]:
        """Returns the weight of each term by name."""
        return self.weights

    def state_dict(self) -> dict:
        """Returns the last two epochs' means and the sums of the running epoch, as plain numbers and tensors."""
        running = {"epoch": self.epoch, "count": self.count, "sums": dict(self.sums)}
        return {"history": [dict(means) for means in self.history], **running}

    def load_state_dict(self, state: dict) -> None:
        """Restores what state_dict returned."""
        self.history = [dict(means) for means in state["history"]]
        self.epoch, self.count, self.sums = state["epoch"], state["count"], dict(state["sums"])


@WEIGHTINGS.register
class Uncertainty(nn.Module, Weighting):
    """Learned weights: each term is weighted by its learned uncertainty.

    Classification terms become exp(-s_k) L_k + s_k / 2, regression-like ones exp(-s_k) L_k / 2 + s_k / 2, where s_k =
    log sigma_k^2 is learned, from 0. Kendall et al., CVPR 2018, https://arxiv.org/abs/1705.07115, eq. 7 and 10. The sum
    of the returned terms is trained; the parameters belong in the optimizer, best without weight decay. Processes that
    train together share the mean of their gradients.

    Args:
        names: of the terms, as the criterion labels them.
        regression: names of the regression-like terms.
    """

    factor: Tensor

    def __init__(self, names: list[str], regression: list[str] | None = None):
        super().__init__()
        self.names = list(names)
        self.log_variance = nn.Parameter(torch.zeros(len(names)))
        # the model's wrapper averages gradients of the model alone
        self.log_variance.register_hook(lambda gradient: all_reduce_sum(gradient) / world_size())
        halves = [0.5 if name in (regression or ()) else 1.0 for name in names]
        self.register_buffer("factor", torch.tensor(halves), persistent=False)

    def forward(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights the terms.

        Args:
            terms: float [] by name.

        Returns:
            The same names, weighted, with the penalty s_k / 2; terms that are not in `names` are unchanged.
        """
        precision = self.factor * torch.exp(-self.log_variance)
        weighted = {
            name: precision[i] * terms[name] + self.log_variance[i] / 2
            for i, name in enumerate(self.names)
            if name in terms
        }
        return {**terms, **weighted}

    def weigh(self, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Same as `forward`; the step is not used."""
        return self(terms)

    def current(self) -> dict[str, Tensor]:
        """Returns the factor of each term."""
        return self.weights()

    def weights(self) -> dict[str, Tensor]:
        """Returns the factor of each term now, without graph, for the log."""
        return dict(zip(self.names, (self.factor * torch.exp(-self.log_variance)).detach()))


@WEIGHTINGS.register
class NormalizedPseudo(Weighting):
    """Normalized loss of self-training: terms of pseudo labels are scaled to the size of those of true labels.

    With h the sum of the other terms and p that of the pseudo terms, the training minimizes h + alpha (EMA(h) / EMA(p))
    p. The moving averages begin with the first values, and take up a value before they are used; no gradient goes
    through them. Over several processes they are those of the mean values. A step whose p is 0, because no pixel of its
    pseudo labels counts, leaves the average of p as it is.

    Zoph et al., NeurIPS 2020, https://arxiv.org/abs/2006.06882.

    Args:
        names: of the terms, as the criterion labels them.
        alpha: weight of the pseudo terms after scaling; 0 trains on true labels alone.
        decay: of the moving averages.
        pseudo: pattern of the names of pseudo terms; "pseudo.*" are those of rows on outputs "pseudo.logits" and the
            like, which the runner SelfTraining gives.

    """

    def __init__(
        self, names: list[str], alpha: NonNegativeFloat = 1.0, decay: Decay = 0.9, *, pseudo: str = "pseudo.*"
    ):
        self.names, self.alpha, self.decay, self.pseudo = list(names), alpha, decay, pseudo
        self.averages: Tensor | None = None

    def _check(self, names: Iterable[str]) -> None:
        names = list(names)
        found = [fnmatchcase(name, self.pseudo) for name in names]
        if all(found) or not any(found):
            what = "every row of losses is" if all(found) else "no row of losses is"
            raise ConfigError(
                f"weighting.pseudo = {self.pseudo!r}: {what} one of pseudo labels; terms: {', '.join(names)}; rows of "
                "pseudo labels have on='pseudo.logits', those of true labels on='labelled.logits'"
            )

    def weigh(self, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Scales the pseudo terms of a training step.

        Args:
            terms: float [] by name.
            step: not used.

        Returns:
            The same names; the sum of them is trained.

        Raises:
            ConfigError: all terms, or none of them, are pseudo terms.
        """
        self._check(terms)
        is_pseudo = {name: fnmatchcase(name, self.pseudo) for name in terms}
        values = {name: value.detach().float() for name, value in terms.items()}
        h = torch.stack([value for name, value in values.items() if not is_pseudo[name]]).sum()
        p = torch.stack([value for name, value in values.items() if is_pseudo[name]]).sum()
        now = all_reduce_sum(torch.stack([h, p])) / world_size()
        if self.averages is None:
            self.averages = now
        else:
            before = self.averages.to(now.device)
            moved = torch.where(before > 0, self.decay * before + (1 - self.decay) * now, now)
            self.averages = torch.where(now > 0, moved, before)
        factor = self.factor
        return {name: value * factor if is_pseudo[name] else value for name, value in terms.items()}

    @property
    def factor(self) -> Tensor:
        """What pseudo terms are multiplied with now: alpha EMA(h) / EMA(p), float []; 0 before there is a p."""
        if self.averages is None:
            return torch.zeros(())
        h, p = self.averages
        return torch.where(p > 0, self.alpha * h / p.clamp_min(torch.finfo(p.dtype).tiny), 0.0)

    def state_dict(self) -> dict:
        """Returns the two moving averages."""
        return {} if self.averages is None else {"averages": self.averages.detach().cpu()}

    def load_state_dict(self, state: dict) -> None:
        """Restores what state_dict returned."""
        self.averages = state["averages"].clone()
