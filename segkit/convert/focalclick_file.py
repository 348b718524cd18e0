"""Reads official checkpoints of FocalClick, which name their network by a class path and its arguments, as RITM's do.

https://github.com/alibaba/ClickSEG. Path and arguments are read as text; nothing of them is imported or executed.
"""

from typing import Any

from segkit.convert import ritm_file
from segkit.convert.keymap import load_map
from segkit.files import brief
from segkit.registry import ConfigError

HAS_OBJECTS = False

HRNET, SEGFORMER = "isegm.model.is_hrnet_model.HRNetModel", "isegm.model.is_segformer_model.SegFormerModel"
"""The first is the path of RITM's class, too, whose networks have no pipeline."""

MAPS = {HRNET: "focalclick", SEGFORMER: "focalclick_segformer"}

PIPELINES: dict[str, tuple[int, dict[str, float]]] = {
    "s1": (2, {HRNET: 2.0, SEGFORMER: 3.0}),
    "s2": (1, {HRNET: 5.0, SEGFORMER: 5.0}),
}
"""By name: the reduction of the coarse network's input, and the radius of its disks."""

VERSIONS = {"b0": ("mit_b0", 256), "b3": ("mit_b3", 512)}
"""By name: the encoder, and the width of the head."""

OWN: dict[str, Any] = {
    "width": 48,
    "ocr_width": 256,
    "small": True,
    "pipeline_version": "s1",
    "model_version": "b0",
    "feature_stride": 4,
}
"""Arguments beside RITM's, and their defaults."""

CLICKS: dict[str, Any] = {
    "zoom": {"min_crop": 10, "recompute_iou": 1.0, "threshold": 0.49, "encloses_start": False},
    "flip": False,
    "stale_roi": True,
    "threshold": 0.5,
}
"""The published protocol, section inference.clicks."""


def is_official(content: object) -> bool:
    """Returns whether a file has the official format: weights, one of the class paths, and a pipeline.

    Args:
        content: the unpickled file.
    """
    if not isinstance(content, dict) or not ritm_file.is_official(content):
        return False
    path, params = content["config"]["class"], content["config"]["params"]
    return path == SEGFORMER or (path == HRNET and isinstance(params, dict) and "pipeline_version" in params)


def read_official(content: dict) -> dict[str, Any]:
    """Translates an official checkpoint.

    Args:
        content: the unpickled file, for which is_official holds.

    Returns:
        As ritm_file.read_official; the config also has the published protocol.

    Raises:
        ConfigError: segkit does not know an argument, or the description is damaged.
    """
    path = content["config"]["class"]
    try:
        section = _section(path, ritm_file.values_of(content["config"]["params"], {**ritm_file.COMMON, **OWN}))
    except ConfigError as error:
        raise ConfigError(f"config.{error}") from error
    weights = load_map(MAPS[path]).apply(ritm_file.tensors_of(content["state_dict"]))
    config = {"model": section, "runner": {"type": "Interactive"}, "inference": {"clicks": CLICKS}}
    return {"model": weights, "config": config, "classes": ritm_file.CLASSES, "source": MAPS[path]}


def _section(path: str, values: dict[str, Any]) -> dict[str, Any]:
    """The section `model` of a config."""
    pipeline = values["pipeline_version"]
    if not isinstance(pipeline, str) or pipeline not in PIPELINES:
        raise ConfigError(f"params.pipeline_version = {brief(pipeline)}: must be one of {', '.join(PIPELINES)}")
    reduction, radii = PIPELINES[pipeline]
    section: dict[str, Any] = {
        "type": "FocalClick",
        "num_classes": 1,
        "align_corners": True,
        "previous_mask": bool(values["with_prev_mask"]),
        "binary_previous": bool(values["binary_prev_mask"]),
        "leaky": bool(values["use_leaky_relu"]),
        "reduction": reduction,
        "radius": radii[path],
        "as_published": True,
    }
    section |= _segformer(values["model_version"]) if path == SEGFORMER else _hrnet(values)
    section["backbone"] |= ritm_file.statistics(values["norm_mean_std"])
    return section


def _hrnet(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("width", "ocr_width"):
        if not isinstance(values[name], int) or isinstance(values[name], bool) or values[name] < 1:
            raise ConfigError(f"params.{name} = {brief(values[name])}: must be a whole number of at least 1")
    depth = {"num_modules": (1, 3, 2), "num_blocks": 2} if values["small"] else {}
    backbone = {"type": "HRNet", "width": values["width"], **depth, "fuse_upsample": "bilinear_corners"}
    head = {"type": "ClickOCRHead", "ocr_width": values["ocr_width"]}
    return {"scheme": "Conv1S", "guidance_channels": 64, "backbone": backbone, "head": head}


def _segformer(version: object) -> dict[str, Any]:
    if not isinstance(version, str) or version not in VERSIONS:
        raise ConfigError(f"params.model_version = {brief(version)}: must be one of {', '.join(VERSIONS)}")
    name, channels = VERSIONS[version]
    head = {"type": "SegFormerHead", "channels": channels, "align_maps": False}
    return {"scheme": "Side", "backbone": {"type": "TimmLate", "name": name}, "head": head}
