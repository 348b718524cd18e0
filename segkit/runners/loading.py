"""A model from a checkpoint: its config, its network, and the weights in it."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from segkit.config import Config, set_option
from segkit.engine import checkpoint
from segkit.engine.open_classes import load_for_weights
from segkit.files import DataError
from segkit.models.bases import Network
from segkit.models.memory_layout import is_channels_last
from segkit.registry import ConfigError, build_model, without_start_weights
from segkit.runners.inputs import sections_to_predict
from segkit.schema import check, check_foreign


def load_model(
    config: str | Path | dict | None,
    path: str | Path | None = None,
    device: str | torch.device = "cpu",
    options: Sequence[str] = (),
    *,
    trust: bool = False,
    predict_only: bool = False,
) -> Network:
    """Loads a trained model in evaluation mode: `load_model("best.pt")`, or `load_model("config.py", "weights.pth")`.

    The moving average is loaded where the checkpoint has one. The model carries `config`, `classes` and `palette`.

    Args:
        config: a config file, loaded sections, or None for the config inside the checkpoint. With one argument alone it
            is the checkpoint. A file that leaves `num_classes` open, as those of _base_/models do, takes it from the
            weights.
        path: .pt, .pth or .safetensors: a checkpoint of segkit, a published file of another project whose names a key
            map matches with the config's model one to one, or an official file of RITM, whose own description of its
            network replaces the config's section `model`; or "hf:OWNER/NAME", a model of the Hugging Face hub, whose
            config.json makes the config (docs/conversion.md).
        device: where the model goes.
        options: "a.b=value" that win over the config.
        trust: the config inside the checkpoint may name classes and functions outside of segkit, which then run. Set it
            for files of your own or of people you trust (docs/security.md).
        predict_only: leaves out the sections that `predict` and `click_predictor` do not read, whatever classes they
            name: data sets, losses, metrics. Such a model cannot be evaluated.

    Raises:
        CheckpointError: the file cannot be read or does not fit the model, or its weights are no finite numbers.
        ConfigError: the config is wrong, or is the file's and names code outside of segkit.
    """
    if path is None:
        if not isinstance(config, str | Path):
            raise ConfigError("load_model: give the checkpoint, or a config and a checkpoint")
        config, path = None, config
    assert path is not None
    file = Path(path)
    content = checkpoint.read_any(file)
    cfg, model = _resolved_and_built(config, content, file, options, trust, predict_only)
    checkpoint.load_fitting(model, checkpoint.scored_weights(content), file)
    model.config, model.classes, model.palette = cfg, content.get("classes"), content.get("palette")
    setting = (cfg.get("loop") or {}).get("channels_last", "auto")
    layout = torch.channels_last if is_channels_last(setting, model, torch.device(device)) else torch.preserve_format
    return model.to(device, memory_format=layout).eval()  # type: ignore[call-overload]


def _resolved_and_built(
    config: str | Path | dict | None,
    content: dict[str, Any],
    file: Path,
    options: Sequence[str],
    trust: bool,
    predict_only: bool,
) -> tuple[Config, Network]:
    """The config of a checkpoint and its network, without weights."""
    try:
        cfg = resolve(config, content, file, options, trust=trust, predict_only=predict_only)
        return cfg, build_model(without_start_weights(cfg["model"]))
    except (ConfigError, checkpoint.CheckpointError, DataError):
        raise
    except (Exception, MemoryError) as error:
        if config is not None:
            raise
        # values of a file can be of any type; a class outside of the file's trust is refused before
        name = type(error).__name__
        raise checkpoint.CheckpointError(f"{file}: its own config cannot be built ({name}: {error})") from error


def resolve(
    config: str | Path | dict | None,
    content: dict[str, Any],
    path: str | Path,
    options: Sequence[str] = (),
    *,
    trust: bool = False,
    predict_only: bool = False,
) -> Config:
    """Returns the checked config of a checkpoint.

    A published file that describes its network (content["source"]) is right about it, whatever section `model` the
    given config has.

    Args:
        config: the config to use, None for the one inside.
        content: of the checkpoint.
        path: its file, for messages.
        options: "a.b=value" that win.
        trust, predict_only: as of `load_model`.
    """
    late = tuple(options)
    if isinstance(config, str | Path):
        cfg = load_for_weights(config, tuple(options), content, path)
        late = ()
    else:
        inner = content.get("config") if config is None else config
        if not inner:
            raise checkpoint.CheckpointError(f"{path}: holds no config; name the config file it was trained with")
        if config is None and not trust and not predict_only:
            check_foreign(inner, str(path))
        cfg = Config(copy.deepcopy(dict(inner)), str(path))
    if "source" in content:
        cfg["model"] = copy.deepcopy(content["config"]["model"])
        late = late or tuple(option for option in options if option.startswith("model."))
    for option in late:
        set_option(cfg, cfg.origins, option)
    if predict_only:
        return sections_to_predict(cfg, is_foreign=config is None and not trust)
    check(cfg)
    return cfg
