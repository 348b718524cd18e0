"""The weights in a file of any project: where its state dict lies, what its names begin with, what its values are."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from segkit.files import DataError, brief, shortened

STATE_KEYS = (
    *("state_dict", "model_state_dict", "model_state", "segmentor", "model", "net", "network", "module"),
    *("weights", "params", "parameters", "student"),
    *("ema", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema", "teacher"),
)
"""Keys under which checkpoints hold their state dict; the first present one counts, an average after the weights."""

MOST_NESTED = 4
"""Dicts in dicts that are opened to find the state dict."""

WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before the names of a network."""

OF_TRAINING = ("criterion.", "loss.", "losses.", "loss_fn.", "loss_func.", "metrics.", "train_metrics.", "val_metrics.")
"""Beginnings of names that a training module has beside those of its network."""

COUNTER = "num_batches_tracked"
VARIANCE = "running_var"


def weights_in(content: dict, source: object, error_type: type[Exception] = DataError) -> dict[str, Tensor]:
    """Finds the state dict in the content of a file.

    Args:
        content: the unpickled file. The state dict lies under one of STATE_KEYS, perhaps of several dicts in each
            other, under the only other key that holds tensors by name, or is the content itself.
        source: the file, for the error.
        error_type: class of the error.

    Returns:
        Tensors by name; entries that are no tensors are left out.

    Raises:
        error_type: there is none, or several, or its names are no text.
    """
    inner = content
    for _ in range(MOST_NESTED):
        key = next((key for key in STATE_KEYS if _holds_tensors(inner.get(key))), None)
        if key is None and not _tensors_of(inner):
            others = [other for other, value in inner.items() if isinstance(other, str) and _has_weights(value)]
            if len(others) > 1:
                names = ", ".join(shortened(other, 60) for other in others[:8])
                raise error_type(f"{source}: holds several sets of weights ({names}); save the network's alone")
            key = others[0] if others else None
        if key is None:
            break
        inner = inner[key]
    weights = _tensors_of(inner)
    if not weights:
        keys = ", ".join(shortened(key, 60) for key in list(content)[:8]) or "none, it is empty"
        raise error_type(f"{source}: holds no weights; its keys are {keys}")
    for name in weights:
        if not isinstance(name, str):
            raise error_type(f"{source}: names a tensor {brief(name)}, which is no text; save model.state_dict()")
    return weights


def _tensors_of(value: Any) -> dict[Any, Tensor]:
    return {name: inner for name, inner in value.items() if isinstance(inner, Tensor)}


def _has_weights(value: object) -> bool:
    """Whether a value is a dict with tensors by name, or leads to one as STATE_KEYS say."""
    is_named = isinstance(value, dict) and any(isinstance(name, str) for name in _tensors_of(value))
    return is_named or (_holds_tensors(value) and not _tensors_of(value))


def _holds_tensors(value: object, levels: int = MOST_NESTED) -> bool:
    """Whether a value is a dict with tensors, or with such a dict under one of STATE_KEYS."""
    if not isinstance(value, dict) or not levels:
        return False
    return bool(_tensors_of(value)) or any(_holds_tensors(value.get(key), levels - 1) for key in STATE_KEYS)


def plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights without what wrappers add: the WRAPPERS before names, inside them, and AveragedModel's count."""
    names = {name: _plain_name(name) for name in weights if name != "n_averaged"}
    if len(set(names.values())) < len(names):  # "module.w" beside "w": the file means what it says
        return dict(weights)
    return {plain: weights[name] for name, plain in names.items()}


def _plain_name(name: str) -> str:
    while prefix := next((prefix for prefix in WRAPPERS if name.startswith(prefix)), ""):
        name = name.removeprefix(prefix)
    return name.replace("._orig_mod.", ".")


def spellings(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yields weights by the names they may have in a network, the likeliest first.

    Args:
        weights: tensors by the names in a file.

    Yields:
        First without what wrappers add; then, as often as all names share their first word ("model." of Lightning,
        beside names of losses), without it.
    """
    weights = plain_names(weights)
    yield weights
    for _ in range(MOST_NESTED):
        inner = {name: value for name, value in weights.items() if not name.startswith(OF_TRAINING)} or weights
        first = {name.partition(".")[0] for name in inner}
        if len(first) != 1 or not all("." in name for name in inner):
            return
        weights = plain_names({name.partition(".")[2]: value for name, value in inner.items()})
        yield weights


def check_values(
    weights: dict[str, Tensor],
    wanted: dict[str, Tensor],
    source: object,
    error_type: type[Exception] = DataError,
) -> None:
    """Checks that weights are numbers that a network can compute with, before they are loaded.

    Args:
        weights: tensors by name, of any real dtype: float16, bfloat16 and float64 are converted when they are loaded.
        wanted: what they replace, by the same names.
        source: the file, for the error.
        error_type: class of the error.

    Raises:
        error_type: a value is complex, NaN or infinite (where the network's own is not), an integer in place of a
            float, a broken number in place of an integer, or a negative variance. The first name is told.
    """
    bad: dict[str, str] = {}
    for name, value in weights.items():
        if name in wanted and (reason := _fault(name, value.detach(), wanted[name].detach())):
            bad[name] = reason
    if bad:
        name, reason = next(iter(bad.items()))
        more = f" ({len(bad)} tensors of {len(weights)} are unusable)" if len(bad) > 1 else ""
        raise error_type(
            f"{source}: {name} {reason}{more}; a network with them predicts nothing of use: take a checkpoint from "
            "before, or save the weights as floats"
        )


def _fault(name: str, value: Tensor, own: Tensor) -> str:
    """What is wrong with a tensor, "" where nothing is."""
    if value.is_complex() or value.layout != torch.strided or value.is_meta:
        return f"is {'complex' if value.is_complex() else 'no dense tensor'} ({value.dtype})"
    if not value.numel() or value.shape != own.shape or own.is_meta:
        return ""
    if own.is_floating_point():
        if not value.is_floating_point():
            return f"holds {str(value.dtype).removeprefix('torch.')}, not floats"
        loaded = value.to(own.dtype)
        if not torch.isfinite(loaded).all() and torch.isfinite(own).all():
            return f"holds {_first_wrong(loaded)}"
        if name.endswith(VARIANCE) and bool((loaded < 0).any()):
            return f"holds {float(loaded.min()):.3g}, a negative variance"
    elif value.is_floating_point():
        wide = value.double()
        if not torch.isfinite(wide).all() or bool((wide != wide.round()).any()):
            return f"holds {_first_wrong(wide)}, where the network has {str(own.dtype).removeprefix('torch.')}"
    return ""


def _first_wrong(value: Tensor) -> str:
    flat = value.reshape(-1)
    wrong = flat[~torch.isfinite(flat)]
    return str(float(wrong[0])) if len(wrong) else "broken numbers"
