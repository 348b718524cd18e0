"""Whether a loss of instances is given the masks that it is made for: filled boxes, or outlines."""

import inspect

from segkit.registry import DATASETS, LOSSES, ConfigError


def check_supervision(cfg: dict) -> None:
    """cfg: sections losses and train. ConfigError where a loss whose `supervision` is "boxes" gets outlines as boxes'
    masks, or one of "masks" filled boxes as outlines; data sets without boxes_only are taken as they are."""
    boxes_only = _boxes_only((cfg.get("train") or {}).get("dataset"))
    if boxes_only is None:
        return
    for i, row in enumerate(cfg.get("losses") or ()):
        wanted = getattr(LOSSES.get(row["type"], f"losses.{i}.type"), "supervision", None)
        if wanted is not None and (wanted == "boxes") != boxes_only:
            given = "filled boxes" if boxes_only else "outlines"
            raise ConfigError(
                f"losses.{i}.type = '{row['type']}' learns from {wanted}, and train.dataset gives {given} as masks: "
                f"set boxes_only={not boxes_only} there, or choose a loss that learns from {given.split()[-1]}"
            )


def _boxes_only(dataset: dict | None) -> bool | None:
    """-> the argument's value in a data set's section, or in that of the set it takes a part of."""
    if not isinstance(dataset, dict) or "type" not in dataset:
        return None
    given = inspect.signature(DATASETS.get(dataset["type"], "train.dataset.type")).parameters
    if "boxes_only" in given:
        return bool(dataset.get("boxes_only", given["boxes_only"].default))
    return _boxes_only(dataset.get("dataset"))
