"""Checks that losses of instances get the masks they are made for: filled boxes, or outlines."""

import inspect

from segkit.criterion import complete_row
from segkit.registry import DATASETS, LOSSES, ConfigError


def check_supervision(cfg: dict) -> None:
    """Compares the masks that losses need with those that the training data gives.

    A loss states its need in `supervision`: "boxes" for filled boxes, "masks" for outlines, None for either. Of data
    with boxes_only="mixed", where boxes stand in for outlines that are missing, either would learn what it must not: it
    takes a loss that reads "mask_quality". Data sets without an argument boxes_only are not checked.

    Args:
        cfg: the config; sections losses and train are read.

    Raises:
        ConfigError: a loss would get the other masks.
    """
    boxes_only = _boxes_only((cfg.get("train") or {}).get("dataset"))
    if boxes_only is None:
        return
    for i, row in enumerate(cfg.get("losses") or ()):
        # a loss from outside segkit may be any module
        needed = getattr(LOSSES.get(row["type"], f"losses.{i}.type"), "supervision", None)
        if needed is not None and boxes_only == "mixed":
            if "mask_quality" in (complete_row(row, f"losses.{i}").get("target") or ()):
                continue
            raise ConfigError(
                f"losses.{i}.type = '{row['type']}' learns from all masks alike, and train.dataset.boxes_only = 'mixed'"
                " has filled boxes in the place of outlines that are missing: choose a loss that weighs masks by their "
                "quality, such as NoisyMasks, or set boxes_only to True or False"
            )
        if needed is not None and (needed == "boxes") != boxes_only:
            present = "filled boxes" if boxes_only else "outlines"
            raise ConfigError(
                f"losses.{i}.type = '{row['type']}' learns from {needed}, and train.dataset gives {present} as masks: "
                f"set boxes_only={not boxes_only} there, or choose a loss that learns from {present.split()[-1]}"
            )


def _boxes_only(dataset: dict | None) -> bool | str | None:
    """The argument's value in a data set's section, or in that of the data set inside; None where there is none."""
    if not isinstance(dataset, dict) or "type" not in dataset:
        return None
    parameters = inspect.signature(DATASETS.get(dataset["type"], "train.dataset.type")).parameters
    if "boxes_only" in parameters:
        value = dataset.get("boxes_only", parameters["boxes_only"].default)
        return value if value == "mixed" else bool(value)
    return _boxes_only(dataset.get("dataset"))
