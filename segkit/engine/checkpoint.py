"""Checkpoint files: plain types and tensors, written whole or not at all, read without executing anything."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.convert.find_map import NoFit, choose
from segkit.convert.keymap import KeyMap
from segkit.convert.official import read_official
from segkit.convert.published import STATE_KEYS, described, read_published
from segkit.files import whole_file
from segkit.registry import ConfigError, did_you_mean


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit. The message names the file and the way out."""


class UnknownObjects(CheckpointError):
    """A file that holds more than tensors and plain types."""


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Writes the file under a temporary name and renames it: a failure leaves the old file as it is."""
    path = Path(path)
    remedy = "free space or choose another --work-dir"
    try:
        with whole_file(path, remedy, CheckpointError) as draft:
            if path.suffix == ".safetensors":
                from safetensors.torch import save_file

                tensors = {k: v.contiguous() for k, v in content["model"].items()}
                save_file(tensors, draft, metadata=_text_only(content))
            else:
                with open(draft, "wb") as file:
                    torch.save(content, file)
                    file.flush()
                    os.fsync(file.fileno())
    except RuntimeError as error:  # torch's own writer says so when the disk is full
        raise CheckpointError(f"{path}: cannot be written ({error}); {remedy}") from error


def _text_only(content: dict[str, Any]) -> dict[str, str]:
    """safetensors holds texts beside tensors: config, classes and palette as JSON."""
    import json

    return {
        key: json.dumps(content[key]) for key in ("config", "classes", "palette", "segkit_version") if key in content
    }


def read(path: str | Path) -> dict[str, Any]:
    """A checkpoint of segkit, a plain state dict (as {"model": ...}) or an official file of RITM (convert/official.py),
    from .pt, .pth or .safetensors, on the CPU.

    Raises CheckpointError for a missing or damaged file and for one that would need to execute code.
    """
    path = Path(path)
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise CheckpointError(f"{path}: no such checkpoint{near}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) or "Unsupported" in str(error):
            raise UnknownObjects(
                f"{path}: holds objects that would execute code when loaded, so it is not read; "
                "for a published checkpoint use tools/convert.py, which reads the tensors alone"
            ) from error
        raise CheckpointError(f"{path}: is no checkpoint ({str(error)[:80]})") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path}: is no checkpoint, or was cut off while it was written") from error
    try:
        official = read_official(content)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if official is not None:
        return official
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a checkpoint or state dict")
    return content if "model" in content else {"model": _state_dict_of(content, path), **described(content)}


def read_any(path: str | Path) -> dict[str, Any]:
    """As read; of a published file with objects of classes that nobody has, the tensors alone, and still nothing is
    executed."""
    try:
        return read(path)
    except UnknownObjects:
        try:
            weights, meta = read_published(path)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        return {"model": weights, **described(meta)}


def _state_dict_of(content: dict, path: Path) -> dict[str, Tensor]:
    inner = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), dict)), content)
    if not isinstance(inner, dict) or not any(isinstance(value, Tensor) for value in inner.values()):
        raise CheckpointError(f"{path}: holds no weights; its keys are {', '.join(map(str, list(content)[:8]))}")
    return {key: value for key, value in inner.items() if isinstance(value, Tensor)}


def _read_safetensors(path: Path) -> dict[str, Any]:
    import json

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
            content: dict[str, Any] = {"model": {key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is no safetensors file ({error})") from error
    for key in ("config", "classes", "palette", "segkit_version"):
        if key in texts:
            content[key] = json.loads(texts[key])
    return content


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: str | Path, drop: tuple[str, ...] = ()) -> str:
    """Strict: every tensor of the model is in `weights` with its shape, and nothing else is, save names that begin
    with a prefix of `drop`, which keep their fresh values. -> a line that counts what was done."""
    own = model.state_dict()
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    kept = [key for key in own if key.startswith(tuple(drop))] if drop else []
    taken = {key: value for key, value in weights.items() if not (drop and key.startswith(tuple(drop)))}
    missing = [key for key in own if key not in taken and key not in kept]
    extra = [key for key in taken if key not in own]
    misfits = [key for key in taken if key in own and taken[key].shape != own[key].shape]
    if missing or extra or misfits:
        raise CheckpointError(_misfit_message(path, own, taken, (missing, extra, misfits)))
    model.load_state_dict({**{key: own[key] for key in kept}, **taken})
    dropped = len(weights) - len(taken)
    return f"{path}: {len(taken)} tensors loaded, {dropped} dropped, {len(kept)} left fresh"


def load_fitting(model: nn.Module, weights: dict[str, Tensor], path: str | Path, drop: tuple[str, ...] = ()) -> str:
    """As load_weights, also for weights by the names of another project: the key map that matches them with the model
    one to one is found and applied (convert/find_map.py). -> a line that counts what was done, and names the map."""
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    source = {key: tuple(value.shape) for key, value in weights.items()}
    as_it_is = KeyMap("segkit", ()).compare(source, model.state_dict(), drop)
    if as_it_is.count == 0:
        return load_weights(model, weights, path, drop)
    try:
        name, keymap = choose(source, model, drop=drop)
    except NoFit as error:
        if as_it_is.count <= error.differences:
            return load_weights(model, weights, path, drop)
        raise CheckpointError(f"{path}: {error}") from error
    return f"{load_weights(model, keymap.apply(weights), path, drop)}; names of {keymap.source} (map '{name}')"


def _misfit_message(path: str | Path, own: dict, taken: dict, lists: tuple[list[str], list[str], list[str]]) -> str:
    missing, extra, misfits = lists
    parts = [f"{path}: does not fit this model ({len(own)} tensors in the model, {len(taken)} in the file)"]
    if misfits:
        key = misfits[0]
        parts.append(
            f"{len(misfits)} have another shape, first {key}: {tuple(taken[key].shape)} in the file, "
            f"{tuple(own[key].shape)} in the model"
        )
    if missing:
        parts.append(f"{len(missing)} are missing, first {missing[0]}{did_you_mean(missing[0], extra)}")
    if extra:
        parts.append(f"{len(extra)} are unknown, first {extra[0]}")
    parts.append("use the config it was trained with, or name what to leave out in init.drop")
    return "; ".join(parts)


def copy(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system can, else a copy; atomic either way."""
    import shutil

    with whole_file(target, "free space or choose another --work-dir", CheckpointError) as draft:
        draft.unlink(missing_ok=True)
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
