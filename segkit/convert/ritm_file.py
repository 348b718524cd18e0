"""Official checkpoints of RITM, https://github.com/SamsungLabs/ritm_interactive_segmentation: they name their network
by a class path and its arguments. Both are read as text; nothing of them is imported or executed."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from segkit.convert.keymap import load_map
from segkit.registry import ConfigError, did_you_mean

SOURCE = "ritm"
CLASSES = ("background", "object")

COMMON: dict[str, Any] = {
    "use_rgb_conv": True,
    "conv_extend": False,
    "use_leaky_relu": False,
    "use_disks": False,
    "norm_radius": 260,
    "clicks_groups": None,
    "with_prev_mask": False,
    "binary_prev_mask": False,
    "norm_mean_std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Arguments of both families and their defaults, which hold where an old file does not name them."""

HRNET: dict[str, Any] = {"width": 48, "ocr_width": 256, "small": False}
DEEPLAB: dict[str, Any] = {"backbone": "resnet50", "deeplab_ch": 256, "aspp_dropout": 0.5}
RESNETS = {"resnet34": "resnet34", "resnet50": "resnet50s", "resnet101": "resnet101s", "resnet152": "resnet152s"}
"""Encoders of the DeepLab family and timm's names for them."""

WITHOUT_INFLUENCE = ("with_aux_output", "cpu_dist_maps", "backbone_lr_mult")
"""What is returned, how maps are computed, rates of training: nothing a trained network depends on."""

NORM_LAYERS = ("norm_layer", "backbone_norm_layer")


def _hrnet(values: dict[str, Any]) -> dict[str, dict]:
    depth = {"num_modules": (1, 3, 2), "num_blocks": 2} if values["small"] else {}
    backbone = {"type": "HRNet", "width": values["width"], **depth, "fuse_upsample": "bilinear_corners"}
    return {"backbone": backbone, "head": {"type": "ClickOCRHead", "ocr_width": values["ocr_width"]}}


def _deeplab(values: dict[str, Any]) -> dict[str, dict]:
    name = values["backbone"]
    if name not in RESNETS:
        raise ConfigError(f"params.backbone = {name!r}: known are {', '.join(RESNETS)}")
    backbone = {"type": "Timm", "name": RESNETS[name], "output_stride": 8}
    head = {"type": "ClickDeepLabHead", "channels": values["deeplab_ch"], "dropout": values["aspp_dropout"]}
    return {"backbone": backbone, "head": head}


FAMILIES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], dict[str, dict]]]] = {
    "isegm.model.is_hrnet_model.HRNetModel": (HRNET, _hrnet),
    "isegm.model.is_deeplab_model.DeeplabModel": (DEEPLAB, _deeplab),
}
"""Class path -> arguments of its own with defaults, and what makes backbone and head of them."""


def is_official(content: Any) -> bool:
    """Whether the content of a file has the official form: weights with a class and its arguments, or a list of such,
    one per stage."""
    if isinstance(content, list | tuple):
        return bool(content) and all(isinstance(part, dict) and is_official(part) for part in content)
    config = content.get("config") if isinstance(content, dict) else None
    return isinstance(config, dict) and {"class", "params"} <= config.keys() and "state_dict" in content


def read_official(content: dict | list) -> dict[str, Any]:
    """content: as is_official takes it -> what a checkpoint of segkit holds: "model" (tensors by segkit's names),
    "config" with the section `model`, "classes"; and "source", the key map, which marks a file that knows its model.

    Raises ConfigError for a class or an argument that segkit does not know and for a damaged description.
    """
    stages = list(content) if isinstance(content, list | tuple) else [content]
    sections = [model_section(stage["config"], f"stage {i}: " * (len(stages) > 1)) for i, stage in enumerate(stages)]
    weights = [load_map(SOURCE).apply(_tensors(stage["state_dict"])) for stage in stages]
    model, tensors = sections[0], weights[0]
    if len(stages) > 1:
        model = {"type": "ClickStages", "stages": sections}
        tensors = {f"stages.{i}.{name}": value for i, stage in enumerate(weights) for name, value in stage.items()}
    config = {"model": model, "runner": {"type": "Interactive"}}
    return {"model": tensors, "config": config, "classes": CLASSES, "source": SOURCE}


def model_section(config: dict[str, Any], at: str = "") -> dict[str, Any]:
    """config: {"class": path, "params": {name: {"type", "value", "specified"}}} -> the section `model`. at: what errors
    begin with."""
    path = config["class"]
    if path not in FAMILIES:
        raise ConfigError(f"{at}config.class = {path!r}: is none of RITM's networks ({', '.join(FAMILIES)})")
    own, parts = FAMILIES[path]
    try:
        values = _values(config["params"], {**COMMON, **own})
        built = parts(values)
        built["backbone"] |= _statistics(values["norm_mean_std"])
        return {"type": "ClickSegmentor", "num_classes": 1, "align_corners": True, **_guidance(values), **built}
    except ConfigError as error:
        raise ConfigError(f"{at}config.{error}") from error


def _values(params: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """The file's values over the defaults. An argument nobody knows is an error only where the trainer was told it:
    the others are defaults of classes around the network."""
    if not isinstance(params, dict):
        raise ConfigError(f"params: is a {type(params).__name__}, not the arguments by name")
    values = dict(defaults)
    for name, entry in params.items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise ConfigError(f"params.{name}: holds no value")
        if name in defaults:
            values[name] = entry["value"]
        elif name in NORM_LAYERS:
            _check_norm(name, entry["value"])
        elif name not in WITHOUT_INFLUENCE and entry.get("specified"):
            hint = did_you_mean(name, values) or f"; known are {', '.join([*values, *WITHOUT_INFLUENCE])}"
            raise ConfigError(f"params.{name} = {entry['value']!r}: no such argument of RITM's networks{hint}")
    return values


def _check_norm(name: str, value: Any) -> None:
    if value is not None and not str(value).rpartition(".")[2].endswith(("BatchNorm2d", "SyncBatchNorm")):
        raise ConfigError(f"params.{name} = {value!r}: only batch normalization is known")


def _guidance(values: dict[str, Any]) -> dict[str, Any]:
    """How clicks enter, as arguments of ClickSegmentor."""
    side = "Conv1E" if values["conv_extend"] else "Conv1S"
    radius = "radius" if values["use_disks"] else "norm_radius"
    return {
        "scheme": "DMF" if values["use_rgb_conv"] else side,
        "encoding": "disks" if values["use_disks"] else "distance",
        radius: values["norm_radius"],
        "groups": tuple(values["clicks_groups"] or ()),
        "previous_mask": values["with_prev_mask"],
        "binary_previous": values["binary_prev_mask"],
        "leaky": values["use_leaky_relu"],
        "guidance_channels": 64,
    }


def _statistics(mean_std: Any) -> dict[str, tuple[float, ...]]:
    """Of pixels in 0..1 -> as arguments of a backbone, in 0..255."""
    try:
        mean, std = (tuple(round(255 * float(value), 6) for value in part) for part in mean_std)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"params.norm_mean_std = {mean_std!r}: expected means and deviations") from error
    return {"mean": mean, "std": std}


def _tensors(state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError("state_dict: holds no tensors")
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
