"""Functions for notebooks and research code: load_config, build_model, load_model, predict, click_predictor."""

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segkit.config import Config, load_config, set_option
from segkit.engine import checkpoint
from segkit.registry import RUNNERS, TRANSFORMS, ConfigError, build, build_model, did_you_mean, without_start_weights
from segkit.runners.base import Runner
from segkit.runners.interactive.predictor import ClickPredictor
from segkit.schema import check
from segkit.settings import ClickInference, InferenceSettings
from segkit.types import Prediction, Sample

__all__ = ["build_model", "build_runner", "click_predictor", "load_config", "load_model", "predict"]


def build_runner(cfg: dict) -> Runner:
    """Sections `runner` and `inference` -> the runner, "Semantic" where it is not named."""
    runner = build({"type": "Semantic", **(cfg.get("runner") or {})}, RUNNERS, "runner")
    runner.inference = InferenceSettings(**(cfg.get("inference") or {}))
    return runner


def load_model(
    config: str | Path | dict | None,
    path: str | Path,
    device: str | torch.device = "cpu",
    options: tuple[str, ...] = (),
) -> nn.Module:
    """A trained model in evaluation mode.

    config: a config file, loaded sections, or None for the config inside the checkpoint; path: .pt, .pth or
    .safetensors, a published file of another project whose names a key map matches with the config's model one to one,
    or an official file of RITM, whose own description of its network replaces the config's section `model`;
    options: "a.b=value" overrides. The moving average is loaded where the checkpoint has one.
    The model carries `config`, `classes` and `palette`. Raises CheckpointError and ConfigError.
    """
    content = checkpoint.read_any(path)
    cfg = resolve(config, content, path, options)
    model = build_model(without_start_weights(cfg["model"]))
    checkpoint.load_fitting(model, content.get("ema", content["model"]), path)
    model.config, model.classes, model.palette = cfg, content.get("classes"), content.get("palette")
    has_channels_last = (cfg.get("loop") or {}).get("channels_last", False)
    layout = torch.channels_last if has_channels_last else torch.preserve_format
    return model.to(device, memory_format=layout).eval()


def resolve(config: str | Path | dict | None, content: dict, path: str | Path, options: tuple[str, ...] = ()) -> Config:
    """The checked config of a checkpoint: the given one, or the one inside. A published file that describes its network
    (content["source"]) is right about it, whatever section `model` the given config has."""
    late = options
    if isinstance(config, str | Path):
        cfg = load_config(config, options)
        late = ()
    else:
        inner = content.get("config") if config is None else config
        if not inner:
            raise checkpoint.CheckpointError(f"{path}: holds no config; name the config file it was trained with")
        cfg = Config(copy.deepcopy(dict(inner)), str(path))
    if "source" in content:
        cfg["model"] = copy.deepcopy(content["config"]["model"])
        late = late or tuple(option for option in options if option.startswith("model."))
    for option in late:
        set_option(cfg, cfg.origins, option)
    check(cfg)
    return cfg


@torch.inference_mode()
def predict(model: nn.Module, image: np.ndarray, runner: Runner | None = None) -> Prediction:
    """image: uint8 or float [H,W,C] in 0..255, RGB -> Prediction at the image's size, as numpy arrays.

    The model's own config says how (transforms of `test`, `inference`); a model without one is run on the whole image.
    """
    cfg = getattr(model, "config", None) or {}
    runner = runner or build_runner(cfg)
    meta = dict(id="image", path="image", size=image.shape[:2])
    sample = Sample(image=image, meta=meta)
    rng = np.random.default_rng(0)
    for row in ((cfg.get("test") or cfg.get("val")) or {}).get("transforms", []):
        sample = build(row, TRANSFORMS, "test.transforms")(sample, rng)
    batch = {
        "image": torch.from_numpy(np.ascontiguousarray(sample["image"])).permute(2, 0, 1)[None].to(model.mean.device),
        "meta": [{**sample["meta"], "valid": sample["image"].shape[:2]}],
    }
    prediction = runner.predict(model, batch)[0]
    return {key: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for key, v in prediction.items()}


def click_predictor(model: nn.Module, **options: Any) -> ClickPredictor:
    """Clicks on an image, each answered with a mask: `p.set_image(image)`, `p.click(y, x)`, `p.undo()`, `p.mask`.

    model: a click model in evaluation mode, as of load_model, on any device; options: fields of ClickInference (zoom,
    flip, brs, limit, clicks_limit, ...) over those of the model's own section inference.clicks. Raises ConfigError for
    a model that takes no clicks and for unknown options.
    """
    names = [one.name for one in fields(ClickInference)]
    for name in options:
        if name not in names:
            raise ConfigError(f"click_predictor has no option '{name}'{did_you_mean(name, names)}")
    section = (getattr(model, "config", None) or {}).get("inference") or {}
    return ClickPredictor(model, ClickInference(**{**(section.get("clicks") or {}), **options}))
