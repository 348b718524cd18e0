"""Reads official checkpoints of RITM, which name their network by a class path and its arguments.

https://github.com/SamsungLabs/ritm_interactive_segmentation. Path and arguments are read as text; nothing of them is
imported or executed.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from segkit.convert.keymap import load_map
from segkit.registry import ConfigError, did_you_mean

SOURCE = "ritm"
HAS_OBJECTS = False
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
"""Arguments of both families and their defaults, for old files that do not name them."""

HRNET: dict[str, Any] = {"width": 48, "ocr_width": 256, "small": False}
DEEPLAB: dict[str, Any] = {"backbone": "resnet50", "deeplab_ch": 256, "aspp_dropout": 0.5}
RESNETS = {"resnet34": "resnet34", "resnet50": "resnet50s", "resnet101": "resnet101s", "resnet152": "resnet152s"}
"""timm's names of the DeepLab family's encoders."""

WITHOUT_INFLUENCE = ("with_aux_output", "cpu_dist_maps", "backbone_lr_mult")
"""Arguments for returned outputs, the computation of click maps and learning rates: a trained network ignores them."""

NORM_LAYERS = ("norm_layer", "backbone_norm_layer")


def _hrnet(values: dict[str, Any]) -> dict[str, dict]:
    depth = {"num_modules": (1, 3, 2), "num_blocks": 2} if values["small"] else {}
    backbone = {"type": "HRNet", "width": values["width"], **depth, "fuse_upsample": "bilinear_corners"}
    return {"backbone": backbone, "head": {"type": "ClickOCRHead", "ocr_width": values["ocr_width"]}}


def _deeplab(values: dict[str, Any]) -> dict[str, dict]:
    name = values["backbone"]
    if name not in RESNETS:
        raise ConfigError(f"params.backbone = {name!r}: must be one of {', '.join(RESNETS)}")
    backbone = {"type": "Timm", "name": RESNETS[name], "output_stride": 8}
    head = {"type": "ClickDeepLabHead", "channels": values["deeplab_ch"], "dropout": values["aspp_dropout"]}
    return {"backbone": backbone, "head": head}


FAMILIES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], dict[str, dict]]]] = {
    "isegm.model.is_hrnet_model.HRNetModel": (HRNET, _hrnet),
    "isegm.model.is_deeplab_model.DeeplabModel": (DEEPLAB, _deeplab),
}
"""By class path: the arguments of this family alone with their defaults, and the function that makes the sections
`backbone` and `head` of them."""


def is_official(content: object) -> bool:
    """Returns whether a file has the official format.

    Args:
        content: the unpickled file. The format is a dict of weights, class path and arguments, or a list of such, one
            per stage.
    """
    if isinstance(content, list | tuple):
        return bool(content) and all(isinstance(stage, dict) and is_official(stage) for stage in content)
    if not isinstance(content, dict):
        return False
    config = content.get("config")
    return isinstance(config, dict) and {"class", "params"} <= config.keys() and "state_dict" in content


def read_official(content: dict | list) -> dict[str, Any]:
    """Translates an official checkpoint.

    Args:
        content: the unpickled file, for which is_official holds.

    Returns:
        The content of a checkpoint of segkit: "model" (tensors by segkit's names), "config" with the section `model`,
        "classes"; and "source", the name of the key map, which marks a file that describes its model.

    Raises:
        ConfigError: segkit does not know the class or an argument, or the description is damaged.
    """
    stages = list(content) if isinstance(content, list | tuple) else [content]
    sections = [model_section(stage["config"], f"stage {i}: " * (len(stages) > 1)) for i, stage in enumerate(stages)]
    weights = [load_map(SOURCE).apply(tensors_of(stage["state_dict"])) for stage in stages]
    model, tensors = sections[0], weights[0]
    if len(stages) > 1:
        model = {"type": "ClickStages", "stages": sections}
        tensors = {f"stages.{i}.{name}": value for i, stage in enumerate(weights) for name, value in stage.items()}
    config = {"model": model, "runner": {"type": "Interactive"}}
    return {"model": tensors, "config": config, "classes": CLASSES, "source": SOURCE}


def model_section(config: dict[str, Any], at: str = "") -> dict[str, Any]:
    """Translates the description of a network.

    Args:
        config: {"class": path, "params": {name: {"type", "value", "specified"}}}.
        at: prefix of error messages.

    Returns:
        The section `model` of a config.

    Raises:
        ConfigError: segkit does not know the class or an argument, or the description is damaged.
    """
    path = config["class"]
    if path not in FAMILIES:
        raise ConfigError(f"{at}config.class = {path!r}: is none of RITM's networks ({', '.join(FAMILIES)})")
    defaults, to_sections = FAMILIES[path]
    try:
        values = values_of(config["params"], {**COMMON, **defaults})
        sections = to_sections(values)
        sections["backbone"] |= statistics(values["norm_mean_std"])
        return {"type": "ClickSegmentor", "num_classes": 1, "align_corners": True, **_guidance(values), **sections}
    except ConfigError as error:
        raise ConfigError(f"{at}config.{error}") from error


def values_of(params: object, defaults: dict[str, Any]) -> dict[str, Any]:
    """Returns the file's arguments, with defaults for the others.

    An unknown argument is an error only where it was specified for the training: others are defaults of classes around
    the network.
    """
    if not isinstance(params, dict):
        raise ConfigError(f"params: is a {type(params).__name__}, must be a dict of arguments by name")
    values = dict(defaults)
    for name, entry in params.items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise ConfigError(f"params.{name}: holds no value")
        if name in defaults:
            values[name] = entry["value"]
        elif name in NORM_LAYERS:
            _check_norm(name, entry["value"])
        elif name not in WITHOUT_INFLUENCE and entry.get("specified"):
            hint = did_you_mean(name, values) or f"; available: {', '.join([*values, *WITHOUT_INFLUENCE])}"
            raise ConfigError(f"params.{name} = {entry['value']!r}: no such argument of RITM's networks{hint}")
    return values


def _check_norm(name: str, value: object) -> None:
    if value is not None and not str(value).rpartition(".")[2].endswith(("BatchNorm2d", "SyncBatchNorm")):
        raise ConfigError(f"params.{name} = {value!r}: only batch normalization is known")


def _guidance(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ClickSegmentor for the guidance."""
    stem_scheme = "Conv1E" if values["conv_extend"] else "Conv1S"
    radius = "radius" if values["use_disks"] else "norm_radius"
    return {
        "scheme": "DMF" if values["use_rgb_conv"] else stem_scheme,
        "encoding": "disks" if values["use_disks"] else "distance",
        radius: values["norm_radius"],
        "groups": tuple(values["clicks_groups"] or ()),
        "previous_mask": values["with_prev_mask"],
        "binary_previous": values["binary_prev_mask"],
        "leaky": values["use_leaky_relu"],
        "guidance_channels": 64,
    }


def statistics(mean_std: Any) -> dict[str, tuple[float, ...]]:
    """Returns mean and standard deviation of pixels in 0..1 as arguments of a backbone, in 0..255."""
    try:
        mean, std = mean_std
        return {
            "mean": tuple(round(255 * float(value), 6) for value in mean),
            "std": tuple(round(255 * float(value), 6) for value in std),
        }
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"params.norm_mean_std = {mean_std!r}: must be (mean, standard deviation), one value per channel each"
        ) from error


def tensors_of(state: object) -> dict[str, Tensor]:
    """Returns the tensors of a state dict by name; raises ConfigError where there are none."""
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError("state_dict: holds no tensors")
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
