"""Trained networks for refiners: out of checkpoints of segkit.

Published files of other projects are not read here: `segkit convert` translates them first, since key maps and refiners
are kinds of parts that never import each other, and a converted file also says which network it is for.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from segkit.files import DataError, check_plain, parse_json
from segkit.models.bases import Network
from segkit.readers.state_dict import check_values
from segkit.readers.torch_file import UnknownObject, read_safetensors, read_torch
from segkit.registry import ConfigError, build_model, did_you_mean, without_start_weights
from segkit.schema import check, check_foreign

CONVERT = "a published file is converted first: segkit convert FILE OUT.pt --config CONFIG"


def load_trained(path: str | Path, accepts: Callable[[Network], bool], needed: str) -> Network:
    """Loads the network of a checkpoint for a refiner: frozen, in evaluation mode, on the CPU.

    Its network is built from the config inside, and its weights fit strictly; the moving average is taken where the
    checkpoint has one. Errors name the file; the registry adds the config path of the refiner whose constructor calls
    this.

    Args:
        path: .pt, .pth or .safetensors, of a training with segkit or of `segkit convert`.
        accepts: whether a network is of the kind that the refiner uses.
        needed: that kind in words, "a network of SegFix (configs/segfix)".

    Returns:
        The network, with `config`, and with `classes` and `palette` where the checkpoint names them.

    Raises:
        DataError: the file is missing, damaged or no checkpoint of segkit, or holds another kind of network, or weights
            that do not fit or are no finite numbers.
        ConfigError: the config inside names code outside of segkit.
    """
    path = Path(path)
    content = _content(path)
    config, weights = content.get("config"), _weights(content.get("ema") or content.get("model"))
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict) or not weights:
        raise DataError(f"{path}: is no checkpoint of segkit with its config inside; {CONVERT}")
    check_foreign(config, str(path))
    network = _built(config["model"], path)
    if not accepts(network):
        raise DataError(f"{path}: holds {_described(config['model'])}; this refiner needs {needed}")
    _load(network, weights, path)
    network.config = config
    network.classes, network.palette = _names(content.get("classes"), path), content.get("palette") or None
    return network.eval().requires_grad_(False)


def check_classes(network: Network, classes: Sequence[str] | int, file: str | Path) -> None:
    """Checks that a trained network knows the classes of the maps that it refines, in their order.

    Args:
        network: of load_trained.
        classes: names of the maps' classes, or their number where the names are unknown.
        file: of the network, for the error.

    Raises:
        DataError: the number differs, or a name.
    """
    number = classes if isinstance(classes, int) else len(classes)
    if network.num_classes != number:
        raise DataError(
            f"{file}: a network of {network.num_classes} classes, and the maps to refine have {number}; train it on "
            "the same classes"
        )
    own = getattr(network, "classes", None)
    if own is None or isinstance(classes, int):
        return
    for i, (name, other) in enumerate(zip(own, classes)):
        if name != other:
            raise DataError(
                f"{file}: class {i} of this network is '{name}', and '{other}' in the maps to refine; train it on the "
                "same classes in the same order"
            )


def _content(path: Path) -> dict[str, Any]:
    """The entries of a checkpoint file."""
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise DataError(f"{path}: no such checkpoint{near}")
    if path.suffix == ".safetensors":
        weights, texts = read_safetensors(path)
        entries = {key: parse_json(texts[key], f"{path}, metadata '{key}'") for key in texts if key in _TEXTS}
        return {"model": weights, **entries}
    try:
        content = read_torch(path)
    except UnknownObject as error:
        raise DataError(f"{error}, which segkit does not load; {CONVERT}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a checkpoint; {CONVERT}")
    return content


_TEXTS = ("config", "classes", "palette")
"""Entries of a .safetensors file that are JSON."""


def _weights(value: object) -> dict[str, Tensor]:
    """Tensors by name; none where the value is something else."""
    items = value.items() if isinstance(value, dict) else ()
    weights = {name: tensor for name, tensor in items if isinstance(name, str) and isinstance(tensor, Tensor)}
    return weights if isinstance(value, dict) and len(weights) == len(value) else {}


def _names(classes: object, path: Path) -> list[str] | None:
    if not classes:
        return None
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{path}: 'classes' holds no list of names; it is no checkpoint of segkit")
    return list(classes)


def _built(model: dict, path: Path) -> Network:
    check_plain(model, f"{path}, 'config'")
    try:
        check({"model": model})
        return build_model(without_start_weights(model))
    except ConfigError as error:
        raise DataError(f"{path}: the network of its own config cannot be built: {error}") from error


def _described(model: dict) -> str:
    """The network of a section `model` in words."""
    head = model.get("head")
    inner = f" with the head {head['type']}" if isinstance(head, dict) and "type" in head else ""
    return f"a network of type {model.get('type', 'Segmentor')}{inner}"


def _load(network: Network, weights: dict[str, Tensor], path: Path) -> None:
    state = network.state_dict()
    missing = [name for name in state if name not in weights]
    extra = [name for name in weights if name not in state]
    wrong = [name for name in state if name in weights and weights[name].shape != state[name].shape]
    for count, what, first in (
        (len(missing), "are missing", missing[:1]),
        (len(extra), "are unknown", extra[:1]),
        (len(wrong), "have another shape", wrong[:1]),
    ):
        if count:
            raise DataError(
                f"{path}: its weights do not fit the network of its own config: {count} of {len(state)} tensors "
                f"{what}, first {first[0]}; take another checkpoint"
            )
    check_values(weights, state, path)
    network.load_state_dict(weights)
