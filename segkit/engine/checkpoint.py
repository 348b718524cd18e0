"""Checkpoint files: plain types and tensors, written whole or not at all, read without executing anything."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit import dist
from segkit.convert.find_map import NoFit, fit, misfit_message
from segkit.convert.hub import is_hub_name, read_hub
from segkit.convert.official import read_beside_objects, read_official
from segkit.convert.published import described, read_published
from segkit.convert.smp_folder import find_folder, read_folder
from segkit.engine.checksum import CRC, Unreadable, crc_of, damage, whole_beside, with_checksums
from segkit.engine.lora import ORIGINAL, merged
from segkit.engine.shard_state import read_whole
from segkit.files import DataError, check_plain, parse_json, shortened, whole_file
from segkit.readers.shard_folder import is_shard_folder
from segkit.readers.state_dict import check_values, weights_in
from segkit.readers.torch_file import UnknownObject, read_safetensors, read_torch
from segkit.registry import ConfigError, did_you_mean

REMEDY = "free space or choose another --work-dir"
"""Way out where a file cannot be written."""

TEXTS = ("config", "classes", "palette", "segkit_version")
"""Entries that a .safetensors file keeps as JSON beside its tensors."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, written, or does not fit. The message names the file and the way out."""

    def __str__(self) -> str:
        return shortened(super().__str__())


class UnknownObjects(CheckpointError):
    """A file that holds more than tensors and plain types."""


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Writes a checkpoint under a temporary name and renames it, so that a failure leaves an older file unchanged.

    Args:
        path: ends in .safetensors for that format, in anything else for torch's.
        content: plain types and tensors, the weights under "model"; a .safetensors file keeps only these and TEXTS, and
            the format that transformers asks for.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    try:
        with whole_file(path, REMEDY, CheckpointError) as draft:
            if path.suffix == ".safetensors":
                from safetensors.torch import save as serialized

                tensors = {k: v.contiguous() for k, v in content["model"].items()}
                # written here, since the library's own writer has errors of its own for a full disk
                texts = {"format": "pt", **_text_only(content), CRC: str(crc_of(tensors))}
                draft.write_bytes(serialized(tensors, texts))
            else:
                with_checksums()
                with open(draft, "wb") as file:
                    torch.save(content, file)
                    file.flush()
                    os.fsync(file.fileno())
    except RuntimeError as error:  # torch's own writer says so when the disk is full
        raise CheckpointError(f"{path}: cannot be written ({error}); {REMEDY}") from error


def _text_only(content: dict[str, Any]) -> dict[str, str]:
    """Entries other than tensors as JSON texts, which is what safetensors can hold."""
    import json

    return {key: json.dumps(content[key]) for key in TEXTS if key in content}


def read(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of segkit, a plain state dict, or an official file of RITM (convert/official.py).

    Nothing of the file is executed (segkit/readers). Its config is checked to be plain, and used by those alone who
    call resolve().

    Args:
        path: a .pt, .pth or .safetensors file, a folder of a sharded training (engine/sharded_checkpoint.py), one of
            segmentation_models (convert/smp_folder.py), or "hf:OWNER/NAME" of the Hugging Face hub.

    Returns:
        The content on the CPU, the weights under "model".

    Raises:
        CheckpointError: the file is missing or damaged, holds no weights, or could only be read by executing code.
    """
    if is_hub_name(path):
        return _read_hub(str(path))
    path = Path(path)
    try:
        if is_shard_folder(path):
            return checked(read_whole(path), path)
        folder = find_folder(path)
        if folder is not None:
            return read_folder(folder)
    except (ConfigError, DataError) as error:
        raise CheckpointError(str(error)) from error
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise CheckpointError(f"{path}: no such checkpoint{near}")
    try:
        if path.suffix != ".safetensors" and path.is_file() and (reason := damage(path)):
            raise CheckpointError(
                f"{path}: is damaged, {reason}; copy or download it again, or take another one{whole_beside(path)}"
            )
        if path.suffix == ".safetensors":
            return checked(_read_safetensors(path), path)
        content, official = _read_torch(path)
    except UnknownObject as error:
        raise UnknownObjects(
            f"{error}, objects that would execute code when loaded, so it is not read; "
            "for a published checkpoint use `segkit convert`, which reads the tensors alone"
        ) from error
    except Unreadable as error:
        raise CheckpointError(str(error)) from error
    except DataError as error:
        raise CheckpointError(f"{error}{whole_beside(path)}") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if official is not None:
        return official
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a checkpoint or state dict")
    if not _is_own(content):
        return {"model": weights_in(content, path, CheckpointError), **described(content)}
    # only segkit's own readers say what the source of a file is
    return checked({key: value for key, value in content.items() if key != "source"}, path)


def _read_torch(path: Path) -> tuple[Any, dict[str, Any] | None]:
    """The content of a file of torch.save, and what it says where another project describes its network in it."""
    try:
        content = read_torch(path, is_verified=True)  # by damage()
    except UnknownObject:
        official = read_beside_objects(path)
        if official is None:
            raise
        return None, official
    return content, read_official(content)


def _read_hub(name: str) -> dict[str, Any]:
    """The content of a published model by its name on the Hugging Face hub."""
    try:
        content = read_hub(name)
    except (ConfigError, DataError) as error:
        raise CheckpointError(str(error)) from error
    return content if "source" in content else checked(content, Path(name))


def _is_own(content: dict[str, Any]) -> bool:
    """Whether a file is a checkpoint of segkit, and not one of another project that calls its weights "model" too."""
    has_texts = any(key in content for key in TEXTS if key != "config") or isinstance(content.get("config"), dict)
    return "model" in content and has_texts


def checked(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The content of a checkpoint of segkit, after a check of the types that its users rely on."""
    for key in ("model", "ema"):
        weights = content.get(key, {})
        if weights == {} and key in content:
            raise CheckpointError(f"{path}: '{key}' holds no weights, it is empty; take another checkpoint")
        if not isinstance(weights, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
        ):
            raise CheckpointError(f"{path}: '{key}' holds no weights by name; it is no checkpoint of segkit")
    for key in TEXTS:
        if content.get(key) is not None:
            check_plain(content[key], f"{path}, '{key}'", CheckpointError)
    config, classes, palette = (content.get(key) for key in ("config", "classes", "palette"))
    if config is not None and not (isinstance(config, dict) and all(isinstance(name, str) for name in config)):
        raise CheckpointError(f"{path}: 'config' holds no sections by name; it is no checkpoint of segkit")
    if classes and not (isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)):
        raise CheckpointError(f"{path}: 'classes' holds no list of names; it is no checkpoint of segkit")
    if palette and not (isinstance(palette, list | tuple) and all(map(_is_color, palette))):
        raise CheckpointError(f"{path}: 'palette' holds no list of colors (r, g, b); it is no checkpoint of segkit")
    return content


def _is_color(color: object) -> bool:
    return (
        isinstance(color, list | tuple)
        and len(color) == 3
        and all(isinstance(value, int) and 0 <= value <= 255 for value in color)
    )


def read_any(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint as `read` does, and also published files that hold objects of unknown classes.

    Of these the tensors alone are read; nothing is executed.

    Args:
        path: as in `read`.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return read(path)
    except UnknownObjects:
        try:
            weights, meta = read_published(path)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        return {"model": weights, **described(meta)}


def scored_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """Returns the weights in a checkpoint that were scored and are meant for use: its moving average, if it has one."""
    return content.get("ema", content["model"])


def _read_safetensors(path: Path) -> dict[str, Any]:
    weights, texts = read_safetensors(path)
    content: dict[str, Any] = {"model": weights}
    if CRC in texts and texts[CRC] != str(crc_of(weights)):
        raise CheckpointError(
            f"{path}: is damaged, its tensors differ from their checksum; copy or download it again{whole_beside(path)}"
        )
    for key in TEXTS:
        if key in texts:
            content[key] = parse_json(texts[key], f"{path}, metadata '{key}'")
    return content


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: str | Path, drop: tuple[str, ...] = ()) -> str:
    """Loads weights strictly: the file must have every tensor of the model with its shape, and no others.

    Args:
        model: takes the weights.
        weights: tensors by name; a leading "module." is removed.
        path: of the file, for messages.
        drop: prefixes of names that are exempt: such tensors of the file are not loaded, and those of the model keep
            their values.

    Returns:
        One line that counts the tensors.

    Raises:
        CheckpointError: names or shapes do not match.
    """
    current = model.state_dict()
    if not any(name.endswith(ORIGINAL) for name in current):
        weights = merged(weights)
    weights = {key if key in current else key.removeprefix("module."): value for key, value in weights.items()}
    if message := misfit_message(weights, current, drop):
        raise CheckpointError(f"{path}: {message}")
    kept = [key for key in current if key.startswith(drop)]
    taken = {key: value for key, value in weights.items() if not key.startswith(drop)}
    taken = {key: dist.shared_out_like(value, current[key]) for key, value in taken.items()}
    parts, own_parts = ({k: dist.own_part(v) for k, v in values.items()} for values in (taken, current))
    check_values(parts, own_parts, path, CheckpointError)
    model.load_state_dict({**{key: current[key] for key in kept}, **taken})
    dropped = len(weights) - len(taken)
    return f"{path}: {len(taken)} tensors loaded, {dropped} dropped, {len(kept)} left fresh"


def load_fitting(model: nn.Module, weights: dict[str, Tensor], path: str | Path, drop: tuple[str, ...] = ()) -> str:
    """Loads weights as load_weights does, and also weights that have the names of another project.

    The key map that matches them with the model one to one is found and applied (convert/find_map.py).

    Args:
        model, weights, path, drop: as in load_weights.

    Returns:
        One line that counts the tensors and names the map.

    Raises:
        CheckpointError: names or shapes do not match, with any map.
    """
    try:
        found = fit(merged(weights), model, drop=drop)
        renamed = found.apply()
    except NoFit as error:
        raise CheckpointError(f"{path}: {error}") from error
    report = load_weights(model, renamed, path, drop)
    if caution := found.keymap.caution(model):
        print(f"note: {path}: {caution}", file=sys.stderr, flush=True)
    return f"{report}; names of {found.keymap.source} (map '{found.name}')" if found.name else report


def copy(source: Path, target: Path) -> None:
    """Copies a file, as a hard link where the file system can; the target is whole or absent either way.

    Raises:
        CheckpointError: the target cannot be written.
    """
    import shutil

    with whole_file(target, REMEDY, CheckpointError) as draft:
        draft.unlink(missing_ok=True)
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
