"""Optuna's part in a sweep: it chooses the values of each trial, and says which trials are hopeless."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.runners.sweeping import Space, Trial


class OptunaStudy:
    """Asks Optuna for the values of one trial after the other, by the tree-structured Parzen estimator.

    With one seed and equal scores it chooses the same values again, so that finished trials are kept.

    Args:
        spaces: of the swept keys.
        seed: of the choice.
        is_pruning: whether trials below the median are hopeless.

    Raises:
        ConfigError: the package optuna is missing.
    """

    def __init__(self, spaces: "Sequence[Space]", seed: int, *, is_pruning: bool = False):
        try:
            import optuna  # type: ignore[import-not-found]
        except ImportError as error:
            raise ConfigError("--optuna: needs the package optuna: pip install 'segkit[optuna]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.MedianPruner() if is_pruning else optuna.pruners.NopPruner()
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
        self._states = optuna.trial.TrialState
        self._spaces = spaces
        self._asked: Any = None
        self._reported = 0

    def ask(self) -> list[str]:
        """Returns the options of the next trial, "a.b=value" of each key."""
        self._asked, self._reported = self._study.ask(), 0
        return [f"{space.path}={suggest(self._asked, space)}" for space in self._spaces]

    def is_hopeless(self, trial: "Trial") -> bool:
        """Reports the new scores of the trial that runs; returns whether it shall be stopped.

        Args:
            trial: of the options that were asked for last.
        """
        new = trial.scores[self._reported :]
        for step, score in new:
            self._asked.report(_cost(trial, score), int(step))
        self._reported = len(trial.scores)
        return bool(new) and self._asked.should_prune()

    def tell(self, trial: "Trial") -> None:
        """Tells how the trial ended; one that failed, or has no score, counts as failed.

        Args:
            trial: of the options that were asked for last.
        """
        self.is_hopeless(trial)
        if trial.status == "pruned" and trial.scores:
            self._study.tell(self._asked, state=self._states.PRUNED)
        elif trial.status != "finished" or trial.score is None:
            self._study.tell(self._asked, state=self._states.FAIL)
        else:
            self._study.tell(self._asked, _cost(trial, trial.score))


def _cost(trial: "Trial", score: float) -> float:
    """What Optuna makes small."""
    return -score if trial.better == "higher" else score


def suggest(asked: Any, space: "Space") -> str:
    """Asks a trial of Optuna for a value, as text."""
    if space.kind == "choice":
        return str(asked.suggest_categorical(space.path, list(space.values)))
    if space.kind == "int":
        return str(asked.suggest_int(space.path, int(space.low), int(space.high)))
    return repr(asked.suggest_float(space.path, space.low, space.high, log=space.kind == "loguniform"))
