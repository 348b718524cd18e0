"""Published models by their name on the Hugging Face hub, "hf:nvidia/segformer-b0-finetuned-ade-512-512".

Read are config.json, preprocessor_config.json and the tensors; no code of a repository is fetched or run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from segkit.config import Config, load_config, set_option
from segkit.convert.hub_models import HUB_MODELS, HubModel
from segkit.convert.hub_tasks import task_of
from segkit.convert.smp_folder import KIND, WEIGHTS, describe, tensors_of
from segkit.files import DataError, parse_json, read_text
from segkit.registry import ConfigError, did_you_mean

PREFIX = "hf:"
"""What a name on the hub begins with."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation where the processor names none."""

MOST_TOKENS = "log in with `hf auth login`, after you accepted its terms on its page"

LIBRARY = "segkit"
"""library_name in the config.json of models that segkit has published."""

FORMAT = 1
"""Number of the layout of such a file. Higher ones are refused."""

OWN = ("config", "classes", "palette", "segkit_version")
"""Its entries that become those of a checkpoint."""

Fetch = Callable[[str], Path | None]
"""Name of a file in a repository -> its path on this machine, None where the repository has no such file."""


def is_hub_name(path: object) -> bool:
    """Returns whether a path is a name on the hub."""
    return str(path).startswith(PREFIX)


def read_hub(name: str) -> dict[str, Any]:
    """Reads a published model by its name on the hub.

    Args:
        name: "hf:OWNER/NAME", or "hf:OWNER/NAME@REVISION".

    Returns:
        The content of a checkpoint: "model", the weights by the file's names; "config", the sections that its
        config.json and processor describe; "classes", which files of segmentation_models do not name; and "source",
        which marks a file of another project that describes its model. Models that segkit has published have the
        entries of their own checkpoint.

    Raises:
        ConfigError: there is no such repository or no network, its model is not known to segkit or needs code of its
            own, or a file is missing.
        DataError: a file is damaged.
    """
    fetch = fetcher(name)
    described = _json(fetch, "config.json")
    if described is None:
        raise ConfigError(f"{name}: the repository has no config.json; name one of a model for transformers")
    if described.get("library_name") == LIBRARY:
        return {"model": _weights(fetch, name), **own_entries(described, f"{name}: config.json")}
    if KIND in described:
        model = describe(described, f"{name}: config.json")["model"]
        return {"model": _weights(fetch, name), "config": {"model": model}, "source": name}
    processor = _json(fetch, "preprocessor_config.json") or {}
    for file, content in (("config.json", described), ("preprocessor_config.json", processor)):
        if content.get("auto_map"):
            raise ConfigError(
                f"{name}: {file} has auto_map, so the model needs code of its repository, which segkit does not run; "
                "name a repository whose model is part of transformers"
            )
    system = system_of(described, name)
    classes = classes_of(described, name)
    config = sections(system, described, processor, classes, name)
    return {"model": _weights(fetch, name), "config": dict(config), "classes": classes, "source": name}


def own_entries(described: dict[str, Any], at: str) -> dict[str, Any]:
    """Returns the entries of a checkpoint that segkit has written into a config.json, as data.

    Which classes the sections name is checked by who builds them, as of every checkpoint.

    Args:
        described: the content of config.json.
        at: the file, for errors.

    Raises:
        ConfigError: it is of a newer format, or holds no sections.
    """
    number = described.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number > FORMAT:
        raise ConfigError(f"{at}: format {number!r}, this version reads up to {FORMAT}; update segkit")
    if not isinstance(described.get("config"), dict):
        raise ConfigError(f"{at}: holds no sections under 'config'; ask its owner to push the model again")
    return {key: described[key] for key in OWN if described.get(key) is not None}


def fetcher(name: str) -> Fetch:
    """Returns the function that fetches files of a repository; ConfigError where huggingface_hub is missing."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ConfigError(
            f'{name}: names on the hub need the package huggingface_hub; run: pip install "segkit[hub]"'
        ) from error
    repository, _, revision = name.removeprefix(PREFIX).partition("@")

    def fetch(file: str) -> Path | None:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision or None))
        except errors.GatedRepoError as error:
            raise ConfigError(f"{name}: the repository is gated; {MOST_TOKENS}") from error
        except errors.RepositoryNotFoundError as error:
            raise ConfigError(
                f"{name}: there is no such repository on the hub, or it is private; check the spelling, or log in with "
                "`hf auth login`"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ConfigError(f"{name}: the repository has no revision '{revision}'; leave it out for main") from error
        except errors.LocalEntryNotFoundError as error:
            raise ConfigError(
                f"{name}: {file} is not on this machine and the hub cannot be reached; connect to the network once, or "
                "set HF_HOME to a folder that holds it"
            ) from error
        except errors.EntryNotFoundError:
            return None
        except errors.HFValidationError as error:
            raise ConfigError(f"{name}: is no name on the hub; write hf:OWNER/NAME") from error
        except OSError as error:
            raise ConfigError(f"{name}: {file} cannot be fetched ({type(error).__name__}: {error})") from error

    return fetch


def system_of(described: dict[str, Any], name: str) -> HubModel:
    """Returns the system that a config.json describes; ConfigError where segkit does not have it.

    Args:
        described: the content of config.json.
        name: on the hub, for errors.
    """
    kind = described.get("model_type")
    if not isinstance(kind, str) or kind not in HUB_MODELS:
        hint = did_you_mean(str(kind), HUB_MODELS)
        raise ConfigError(
            f"{name}: config.json has model_type {kind!r}, which segkit does not know{hint}; it reads "
            f"{', '.join(sorted(HUB_MODELS))}"
        )
    values, made = _flat(described), described.get("architectures") or []
    fitting = (one for one in HUB_MODELS[kind] if all(values.get(k, v) == v for k, v in one.required.items()))
    system = next(fitting, HUB_MODELS[kind][0])
    if system.architecture not in made:
        raise ConfigError(
            f"{name}: config.json describes {', '.join(map(str, made)) or 'no architecture'}, and segkit reads "
            f"{system.architecture} of this model_type; name a repository fine-tuned for segmentation"
        )
    return system


def classes_of(described: dict[str, Any], name: str) -> list[str]:
    """Returns the class names of a config.json in order; ConfigError where it has none or leaves numbers out."""
    labels = described.get("id2label")
    if not isinstance(labels, dict) or not labels:
        raise ConfigError(
            f"{name}: config.json has no id2label, so its classes are unknown; load the weights by a config with "
            "num_classes, and init.path"
        )
    numbers = {str(key): value for key, value in labels.items()}
    if set(numbers) != {str(i) for i in range(len(numbers))}:
        raise ConfigError(f"{name}: id2label of config.json does not count from 0 to {len(numbers) - 1}; correct it")
    return [str(numbers[str(i)]) for i in range(len(numbers))]


def sections(
    system: HubModel, described: dict[str, Any], processor: dict[str, Any], classes: list[str], name: str
) -> Config:
    """Returns the config of a published model: its network, its losses, and the transforms of its processor.

    Args:
        system: of the model.
        described, processor: the contents of config.json and preprocessor_config.json.
        classes: names of the classes.
        name: on the hub, for errors.

    Raises:
        ConfigError: a value is none of the published ones.
    """
    values = {**system.defaults, **_flat(described)}
    for key, expected in system.required.items():
        if values.get(key, expected) != expected:
            raise ConfigError(
                f"{name}: config.json has {key} = {values[key]!r}, and segkit's {system.base} has {expected!r}; build "
                "the network by a config of your own"
            )
    options = next((means for size, means in system.sizes if all(values.get(k) == v for k, v in size.items())), None)
    if options is None:
        keys = list(system.sizes[0][0])
        shown = ", ".join(f"{key} = {values.get(key)!r}" for key in keys)
        raise ConfigError(f"{name}: config.json has {shown}, which is none of the published sizes; write a config")
    options = {**options, **{option: values[key] for option, key in system.copied.items()}}
    options |= {option: sides_of(values[key], key, name) for option, key in system.sides.items()}
    mean, std = _normalization(processor, name)
    if system.flips != bool(processor.get("do_flip_channel_order", system.flips)):
        raise ConfigError(
            f"{name}: do_flip_channel_order of preprocessor_config.json is not {system.flips}, as the published files "
            "of this model have it; load the weights by a config of your own"
        )
    cfg = load_config(f"segkit:_base_/models/{system.base}.py", [f"num_classes={len(classes)}"])
    for option, value in {**options, "backbone.pretrained": None, "backbone.mean": mean, "backbone.std": std}.items():
        set_option(cfg, cfg.origins, f"model.{option}={value!r}")
    dataset = {"type": "Folder", "root": "data", "classes": classes}
    cfg["test"] = {"dataset": dataset, "transforms": _transforms(processor, system, name)}
    if system.finds:
        for section, value in task_of(name, classes, processor).items():
            cfg[section] = value
    return cfg


def sides_of(value: object, key: str, name: str) -> tuple[int, int]:
    """Returns (H, W) of a size in config.json, one number or two; ConfigError for anything else."""
    sides = value if isinstance(value, list | tuple) else [value, value]
    whole = [side for side in sides if isinstance(side, int) and side > 0]
    if len(sides) != 2 or len(whole) != 2:
        raise ConfigError(f"{name}: config.json has {key} = {value!r}, which is no size in pixels; correct it")
    return whole[0], whole[1]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """The values of an object, and those of its inner objects by names with a dot.

    MaskFormer's files name its Swin "swin" or, of late, "maskformer-swin".
    """
    inner = {
        f"{key}.{name}": v for key, value in values.items() if isinstance(value, dict) for name, v in value.items()
    }
    if inner.get("backbone_config.model_type") == "maskformer-swin":
        inner["backbone_config.model_type"] = "swin"
    return {**values, **inner}


def _normalization(processor: dict[str, Any], name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels in 0..255."""
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    if not _is_number(factor) or not factor > 0:
        raise ConfigError(f"{name}: rescale_factor of preprocessor_config.json is {factor!r}, not above 0; correct it")
    white = round(1 / factor, 4)
    if not processor.get("do_normalize", "image_mean" in processor or not processor):
        return (0.0,) * 3, (white,) * 3
    values = (processor.get("image_mean", IMAGENET[0]), processor.get("image_std", IMAGENET[1]))
    for numbers in values:
        if not (isinstance(numbers, list | tuple) and len(numbers) == 3 and all(_is_number(n) for n in numbers)):
            raise ConfigError(
                f"{name}: image_mean and image_std of preprocessor_config.json are not three numbers each"
            )
    mean, std = (tuple(round(float(number) * white, 4) for number in numbers) for numbers in values)
    return mean, std


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _transforms(processor: dict[str, Any], system: HubModel, name: str) -> list[dict[str, Any]]:
    """The resize of a processor; center crops, which cut off what a label map needs, are left out."""
    size = processor.get("size")
    if not size or not processor.get("do_resize", True):
        return []
    if isinstance(size, int):
        size = {"height": size, "width": size} if system.square else {"shortest_edge": size}
    sides = {key: side for key, side in size.items() if side} if isinstance(size, dict) else {}
    if all(isinstance(side, int) and side > 0 for side in sides.values()):
        if sides.keys() == {"height", "width"}:
            return [{"type": "Resize", "size": (sides["height"], sides["width"])}]
        if sides and sides.keys() <= {"shortest_edge", "longest_edge"}:
            names = {"shortest_edge": "short", "longest_edge": "long"}
            return [{"type": "Resize", **{names[key]: side for key, side in sides.items()}}]
    raise ConfigError(
        f"{name}: size of preprocessor_config.json is {size!r}, and segkit reads height and width, or "
        "shortest_edge and longest_edge; load the weights by a config of your own"
    )


def _json(fetch: Fetch, file: str) -> dict[str, Any] | None:
    path = fetch(file)
    if path is None:
        return None
    content = parse_json(read_text(path), path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no object of names and values; fetch the file again")
    return content


def _weights(fetch: Fetch, name: str) -> dict[str, Tensor]:
    """The tensors of a repository, of one file or of all shards, which an `.index.json` behind the name lists."""
    for file in WEIGHTS:
        path = fetch(file)
        if path is not None:
            return tensors_of(path)
        index = _json(fetch, f"{file}.index.json")
        if index is not None:
            return _shards(fetch, index, f"{name}: {file}.index.json")
    raise ConfigError(
        f"{name}: the repository has neither {' nor '.join(WEIGHTS)}, nor shards of them; name one with weights for "
        "PyTorch"
    )


def _shards(fetch: Fetch, index: dict[str, Any], at: str) -> dict[str, Tensor]:
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ConfigError(f"{at}: has no weight_map of tensors and files; fetch the repository again")
    weights: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or "\\" in file:
            raise ConfigError(f"{at}: names the file '{file}', which does not lie beside it")
        path = fetch(file)
        if path is None:
            raise ConfigError(f"{at}: the shard {file} is missing in the repository; ask its owner for the file")
        weights |= tensors_of(path)
    if lost := [tensor for tensor in places if tensor not in weights]:
        raise ConfigError(f"{at}: {len(lost)} tensors are in no shard, first {lost[0]}; fetch the repository again")
    return weights
