"""One choice of a recipe, and the measurements that some choices go by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One value of a config.

    Args:
        key: its dotted path in the config, "loop.steps"; "base" is the config that the user's own builds on, and
            "dataset.NAME" an argument of the data sets of all sections.
        value: as the config has it; it may hold ref("crop_size").
        reason: why, in a few words.
    """

    key: str
    value: object
    reason: str


@dataclass(frozen=True)
class Measured:
    """What trying a training on this machine gave; see segkit.recipe.trial.

    Args:
        batch: images of a batch that fit.
        step_seconds: of one step with it, reading and augmenting included.
        image_seconds: of scoring one image.
        why_batch: what limits the batch.
        lr: of the range test; None where it was not asked for.
    """

    batch: int
    step_seconds: float
    image_seconds: float
    why_batch: str
    lr: float | None = None
