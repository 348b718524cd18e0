"""Reads official checkpoints of SimpleClick and SegNext (interactive), which describe their network by arguments.

https://github.com/uncbiag/SimpleClick, https://github.com/uncbiag/SegNext. Class path and arguments are read as text.
Files of SimpleClick also hold a loss as an object: nothing of it is imported or run.
"""

from collections.abc import Collection
from typing import Any

from segkit.convert import ritm_file
from segkit.convert.keymap import load_map
from segkit.files import brief, shortened
from segkit.registry import ConfigError, did_you_mean

CLASS = "isegm.model.is_plainvit_model.PlainVitModel"

HAS_OBJECTS = True
"""Whether files of this format hold objects of classes beside those of tensors, which are left out."""

SIMPLECLICK, SEGNEXT = "simpleclick", "segnext_clicks"
UPSAMPLE = {"x1": 1, "x2": 2, "x4": 4}

BACKBONE: dict[str, Any] = {
    "img_size": (224, 224),
    "patch_size": (16, 16),
    "in_chans": 3,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4,
    "qkv_bias": True,
    "global_atten_freq": 1,
}
"""Arguments of the encoder and their defaults."""

NECK: dict[str, Any] = {"in_dim": 768, "out_dims": (128, 256, 512, 1024)}
HEAD: dict[str, Any] = {"channels": 256, "out_channels": 256, "upsample": "x1", "dropout_ratio": 0.1, "num_classes": 1}

FIXED: dict[str, Any] = {"in_chans": 3, "mlp_ratio": 4, "qkv_bias": True, "num_classes": 1, "random_split": False}
"""Arguments that networks of segkit have no choice for, with the one value of all published files."""

COMMON: dict[str, Any] = {
    "use_disks": False,
    "norm_radius": 5,
    "with_prev_mask": False,
    "norm_mean_std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "random_split": False,
}

WITHOUT_INFLUENCE = (
    *("with_aux_output", "cpu_dist_maps", "use_rgb_conv", "use_leaky_relu"),
    *("in_index", "in_select_index", "in_channels", "loss_decode", "align_corners", "interpolate_mode", "in_dim"),
    # of the pretraining's classifier, and rates of dropout that all published files leave at 0
    *("global_pool", "cls_feature_dim", "pos_drop_rate", "attn_drop_rate", "proj_drop_rate", "norm_layer", "act_layer"),
)


def is_official(content: object) -> bool:
    """Returns whether a file has the official format: weights, this class path, and arguments."""
    return isinstance(content, dict) and ritm_file.is_official(content) and content["config"]["class"] == CLASS


def read_official(content: dict) -> dict[str, Any]:
    """Translates an official checkpoint.

    Args:
        content: the unpickled file, for which is_official holds; unknown objects may be any placeholder.

    Returns:
        As ritm_file.read_official; the config also has the published way of showing images to the network.

    Raises:
        ConfigError: an argument has a value that segkit does not know, or the description is damaged.
    """
    try:
        params = content["config"]["params"]
        is_late = isinstance(params, dict) and "fusion_params" in params
        section, size = (_segnext if is_late else _simpleclick)(_arguments(params))
    except ConfigError as error:
        raise ConfigError(f"config.{error}") from error
    source = SEGNEXT if is_late else SIMPLECLICK
    upsample = section["head"].get("upsample", 1)
    keymap = load_map(source if upsample == 1 else f"{source}_x{upsample}")
    clicks: dict[str, Any] = {"zoom": {"target": size, **({"squash": True} if is_late else {"skip": -1})}}
    if is_late:
        clicks["flip"] = False
    config = {"model": section, "runner": {"type": "Interactive"}, "inference": {"clicks": clicks}}
    weights = keymap.apply(ritm_file.tensors_of(content["state_dict"]))
    return {"model": weights, "config": config, "classes": ritm_file.CLASSES, "source": source}


Section = tuple[dict[str, Any], tuple[int, int]]
"""The section `model` of a config, and (height, width) of the network's input."""


def _arguments(params: object) -> dict[str, Any]:
    """The arguments by name."""
    if not isinstance(params, dict):
        raise ConfigError(f"params: is a {type(params).__name__}, must be a dict of arguments by name")
    values: dict[str, Any] = {}
    for name, entry in params.items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise ConfigError(f"params.{shortened(name, 80)}: holds no value")
        values[str(name)] = entry["value"]
    return values


def _simpleclick(values: dict[str, Any]) -> Section:
    own = _known({key: value for key, value in values.items() if key not in PARTS}, COMMON, "params")
    backbone, size = _encoder(values)
    neck = _known(values.get("neck_params"), NECK, "params.neck_params")
    head = _known(values.get("head_params"), HEAD, "params.head_params")
    upsample = UPSAMPLE[_named(head["upsample"], UPSAMPLE, "params.head_params.upsample")]
    # as published: SimpleClick's blocks are in four groups, but for ViT-B in two
    depth = backbone["depth"]
    section = _section("ClickSegmentor", own, backbone, neck)
    section |= {
        "scheme": "Patch",
        "previous_mask": bool(own["with_prev_mask"]),
        "backbone": {**backbone, "global_every": 6 if depth == 12 else max(depth // 4, 1)},
        "head": {
            "type": "SimpleClickHead",
            "channels": _whole(head["channels"], "params.head_params.channels") * upsample,
            "upsample": upsample,
            "dropout": head["dropout_ratio"],
        },
    }
    return section, size


def _segnext(values: dict[str, Any]) -> Section:
    own = _known({key: value for key, value in values.items() if key not in PARTS}, COMMON, "params")
    backbone, size = _encoder(values)
    neck = _known(values.get("neck_params"), NECK, "params.neck_params")
    head = _known(values.get("head_params"), HEAD, "params.head_params")
    frequency = _known(values.get("backbone_params"), BACKBONE, "params.backbone_params")["global_atten_freq"]
    every = _whole(frequency, "params.backbone_params.global_atten_freq")
    width = _whole(head["out_channels"], "params.head_params.out_channels")
    section = _section("LateClickSegmentor", own, backbone, neck)
    section |= {
        "previous_mask": True,
        "backbone": {**backbone, "global_every": every, "global_last": True},
        "head": {"type": "SimpleClickHead", "channels": width, "dropout": head["dropout_ratio"]},
        **_fusion(values["fusion_params"], backbone["heads"]),
    }
    return section, size


def _fusion(params: object, heads: int) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise ConfigError(f"params.fusion_params = {brief(params)}: must be a dict of arguments by name")
    section = dict(FUSIONS[_named(params.get("type"), FUSIONS, "params.fusion_params.type")])
    if params["type"] != "naive":
        inner = params.get("params")
        section["fusion_depth"] = _whole(params.get("depth"), "params.fusion_params.depth")
        given = inner.get("num_heads", heads) if isinstance(inner, dict) else heads
        section["fusion_heads"] = _whole(given, "params.fusion_params.params.num_heads")
    return section


FUSIONS: dict[str, dict[str, Any]] = {
    "naive": {"fusion": "self", "fusion_depth": 0},
    "self_attention": {"fusion": "self"},
    "cross_attention": {"fusion": "cross", "fusion_target_norm": False},
}
"""By the official name of a fusion, the arguments of LateClickSegmentor."""

PARTS = ("backbone_params", "neck_params", "head_params", "fusion_params")


def _section(kind: str, own: dict[str, Any], backbone: dict[str, Any], neck: dict[str, Any]) -> dict[str, Any]:
    """What both networks have."""
    radius = "radius" if own["use_disks"] else "norm_radius"
    backbone |= ritm_file.statistics(own["norm_mean_std"])
    widths = neck["out_dims"]
    if not isinstance(widths, list | tuple) or len(widths) != 4:
        raise ConfigError(f"params.neck_params.out_dims = {brief(widths)}: must be four widths")
    widths = [_whole(width, "params.neck_params.out_dims") for width in widths]
    return {
        "type": kind,
        "num_classes": 1,
        "align_corners": True,
        "encoding": "disks" if own["use_disks"] else "distance",
        radius: _positive(own["norm_radius"], "params.norm_radius"),
        "neck": {"type": "ClickPyramid", "channels": tuple(widths)},
    }


def _encoder(values: dict[str, Any]) -> Section:
    """The section `backbone` without the rule of global blocks, and the size of its position table."""
    at = "params.backbone_params"
    known = _known(values.get("backbone_params"), BACKBONE, at)
    size, patch = _pair(known["img_size"], f"{at}.img_size"), _pair(known["patch_size"], f"{at}.patch_size")
    if patch[0] != patch[1]:
        raise ConfigError(f"{at}.patch_size = {patch}: only square patches are known")
    section = {
        "type": "PlainViT",
        "width": _whole(known["embed_dim"], f"{at}.embed_dim"),
        "depth": _whole(known["depth"], f"{at}.depth"),
        "heads": _whole(known["num_heads"], f"{at}.num_heads"),
        "patch_size": patch[0],
        "img_size": size,
    }
    return section, size


def _known(params: object, defaults: dict[str, Any], at: str) -> dict[str, Any]:
    """Arguments over their defaults; ConfigError of an unknown one, or of a value that segkit's networks have not."""
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise ConfigError(f"{at}: is a {type(params).__name__}, must be a dict of arguments by name")
    for key, value in params.items():
        name = str(key)
        if name in FIXED and value != FIXED[name]:
            raise ConfigError(f"{at}.{name} = {brief(value)}: only {FIXED[name]!r} is known")
        if name not in defaults and name not in WITHOUT_INFLUENCE:
            hint = did_you_mean(name, defaults) or f"; available: {', '.join([*defaults, *WITHOUT_INFLUENCE])}"
            raise ConfigError(f"{at}.{shortened(name, 80)} = {brief(value)}: no such argument of these networks{hint}")
    return {**defaults, **{str(name): value for name, value in params.items() if str(name) in defaults}}


def _pair(value: object, at: str) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2:
        return _whole(value[0], at), _whole(value[1], at)
    return (_whole(value, at),) * 2


def _whole(value: object, at: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{at} = {brief(value)}: must be a whole number of at least 1")
    return value


def _positive(value: object, at: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ConfigError(f"{at} = {brief(value)}: must be a number above 0")
    return value


def _named(value: object, known: Collection[str], at: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{at} = {brief(value)}: must be one of {', '.join(known)}")
    return value
