"""Short forms in configs, spelled out: split=dict(folds=5, fold=0) of a data set wraps it in Fold or Split."""

from collections.abc import Mapping
from typing import Any

from segkit.files import brief
from segkit.registry import ConfigError

PARTS = ("train", "val", "test")
"""Sections whose data sets may be divided so; each takes the part of its own name."""

OF = "of"
"""Key of a short form that names the split of the data which is divided."""


def with_splits(sections: dict[str, Any], origins: dict[str, str]) -> dict[str, Any]:
    """Wraps the data sets whose `split` is a dict.

    dict(folds=5, fold=0) takes all folds but one in `train`, and that one in `val` and `test`. dict(ratio=.8), the
    share of `train`, or dict(ratios=(.8, .1, .1)) takes the part of the section's name. More keys are arguments of Fold
    and Split; of="train" divides a split that the data names itself.

    Args:
        sections: of a config; they stay as they are.
        origins: file of each dotted path; changed in place, since arguments move below the wrapper.

    Raises:
        ConfigError: such a dict has none of the keys that say how to divide, or both.
    """
    found = dict(sections)
    for name in PARTS:
        if isinstance(found.get(name), dict):
            found[name] = _spelled(found[name], name, name, origins)
    return found


def _spelled(value: Any, part: str, at: str, origins: dict[str, str]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_spelled(inner, part, f"{at}.{number}", origins) for number, inner in enumerate(value))
    if not isinstance(value, dict):
        return value
    value = {key: _spelled(inner, part, f"{at}.{key}", origins) for key, inner in value.items()}
    if "type" not in value or not isinstance(value.get("split"), Mapping):
        return value
    words = dict(value.pop("split"))
    if OF in words:
        value["split"] = words.pop(OF)
    wrapper = _wrapper(words, part, f"{at}.split")
    moved = {path: file for path, file in origins.items() if path.startswith(f"{at}.")}
    for path, file in moved.items():
        key = path.removeprefix(f"{at}.")
        new = f"{at}.{key.removeprefix('split.')}" if key.startswith("split.") else f"{at}.dataset.{key}"
        del origins[path]
        origins[new] = file
    return wrapper | dict(dataset=value)


def _wrapper(words: dict[str, Any], part: str, at: str) -> dict[str, Any]:
    """The arguments of Fold or Split that a short form means."""
    is_fold, is_share = bool(words.keys() & {"folds", "fold"}), bool(words.keys() & {"ratios", "ratio"})
    if is_fold == is_share or {"ratios", "ratio"} <= words.keys():
        raise ConfigError(
            f"{at} = {brief(words)}: give either folds and fold, as dict(folds=5, fold=0), or ratios, as "
            "dict(ratios=(0.8, 0.2)), or dict(ratio=0.8) for the share of train"
        )
    if is_fold:
        return dict(type="Fold", only=part != "train") | words
    share = words.pop("ratio", None)
    if share is not None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise ConfigError(f"{at}.ratio = {brief(share)}: must lie between 0 and 1, the share of train")
        words["ratios"] = (share, round(1 - share, 9))
    return dict(type="Split", part=part) | words
