"""Reads folders of segmentation_models_pytorch, as its `save_pretrained` and the hub have them.

config.json names the class of the network and its arguments, model.safetensors holds the weights. The class is looked
up in a table here; nothing of the file is imported or run.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from segkit.config import Config, load_config, set_option
from segkit.files import CONFIG_BYTES, DataError, parse_json, read_text
from segkit.readers.state_dict import weights_in
from segkit.readers.torch_file import read_safetensors, read_torch
from segkit.registry import ConfigError, did_you_mean

NAME = "config.json"
KIND = "_model_class"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files with the tensors, the first that there is."""

RESNETS = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)) + ("resnext50_32x4d", "resnext101_32x8d")
MIX_TRANSFORMERS = tuple(f"mit_b{i}" for i in range(6))
"""Encoders whose tensors have the names that the key maps read; those of timm ("tu-...") have them, too."""


@dataclass(frozen=True)
class SMPModel:
    """How a class of segmentation_models becomes a config.

    Args:
        base: file of configs/_base_/models, without its ending.
        fixed: options of section `model` that every network of the class has.
        copied: option of section `model` -> the class's argument and its default.
        required: arguments that have one value in segkit.
        norm: option for the argument that chooses the normalization; "" where it must be the default.
        depths: values of encoder_depth that are read, the default first.
    """

    base: str
    fixed: dict[str, Any] = field(default_factory=dict)
    copied: dict[str, tuple[str, Any]] = field(default_factory=dict)
    required: dict[str, Any] = field(default_factory=dict)
    norm: str = ""
    depths: tuple[int, ...] = (5,)


CHANNELS = {"head.channels": ("decoder_channels", [256, 128, 64, 32, 16])}
UPSAMPLE = {"head.upsample": ("decoder_interpolation", "nearest")}
ATTENTION = {"head.attention": ("decoder_attention_type", None)}
CORNERS = {"align_corners": True}
OWN_CORNERS = {**CORNERS, "head.align_maps": False, "head.dropout": 0.0}
ASPP = {
    **CORNERS,
    "aux": [],
    "head.fuse_kernel": 1,
    "head.num_convs": 1,
    "head.dropout": 0.0,
    "backbone.contract_dilation": False,
}
RATES = {"decoder_atrous_rates": [12, 24, 36]}

SMP_MODELS: dict[str, SMPModel] = {
    "Unet": SMPModel("unet_r34", copied={**CHANNELS, **UPSAMPLE, **ATTENTION}, norm="head.norm", depths=(5, 4)),
    "UnetPlusPlus": SMPModel(
        "unetplusplus_r34", copied={**CHANNELS, **UPSAMPLE, **ATTENTION}, norm="head.norm", depths=(5, 4)
    ),
    "MAnet": SMPModel(
        "manet_r34",
        copied={**CHANNELS, **UPSAMPLE, "head.attention_channels": ("decoder_pab_channels", 64)},
        norm="head.norm",
        depths=(5, 4),
    ),
    "Linknet": SMPModel("linknet_r34", norm="head.norm", depths=(5, 4)),
    "Segformer": SMPModel(
        "segformer_original_mit-b0",
        OWN_CORNERS,
        {"head.channels": ("decoder_segmentation_channels", 256)},
        {"upsampling": 4},
    ),
    "FPN": SMPModel(
        "fpn_r50",
        copied={
            "neck.channels": ("decoder_pyramid_channels", 256),
            "head.channels": ("decoder_segmentation_channels", 128),
        },
        required={"decoder_merge_policy": "add", "decoder_interpolation": "nearest", "upsampling": 4},
    ),
    "PAN": SMPModel(
        "pan_r50",
        copied={"backbone.output_stride": ("encoder_output_stride", 16), "head.channels": ("decoder_channels", 32)},
        required={"decoder_interpolation": "bilinear", "upsampling": 4},
    ),
    "PSPNet": SMPModel(
        "pspnet_r50",
        {
            **CORNERS,
            "aux": [],
            "backbone.output_stride": 32,
            "head.fuse_kernel": 1,
            "head.classifier_kernel": 3,
            "head.norm_single": False,
        },
        {"head.channels": ("psp_out_channels", 512)},
        {"upsampling": 8, "psp_use_norm": "batchnorm"},
        depths=(3,),
    ),
    "UPerNet": SMPModel(
        "upernet_r50",
        {**OWN_CORNERS, "head.norm_features": True, "aux": []},
        {"head.channels": ("decoder_channels", 256)},
        {"upsampling": 4},
    ),
    "DeepLabV3": SMPModel(
        "deeplabv3_r50",
        ASPP,
        {
            "head.channels": ("decoder_channels", 256),
            "backbone.output_stride": ("encoder_output_stride", 8),
        },
        {**RATES, "decoder_aspp_separable": False},
    ),
    "DeepLabV3Plus": SMPModel(
        "deeplabv3plus_r50",
        {**ASPP, "head.num_fuse_convs": 1, "head.depthwise_norm": False},
        {
            "head.channels": ("decoder_channels", 256),
            "backbone.output_stride": ("encoder_output_stride", 16),
        },
        {**RATES, "decoder_aspp_separable": True, "upsampling": 4},
    ),
}
"""Class of segmentation_models -> how it becomes a config."""


class SMPFolder(NamedTuple):
    """A folder that `save_pretrained` of segmentation_models wrote.

    Attributes:
        path: the folder.
        described: the content of its config.json.
    """

    path: Path
    described: dict[str, Any]


def find_folder(path: Path) -> SMPFolder | None:
    """Returns the folder of a network of segmentation_models.

    Args:
        path: the folder, or its config.json or file of weights.

    Returns:
        None where there is no config.json that names a class, in the form of segmentation_models.
    """
    folder = path if path.is_dir() else path.parent if path.name in (NAME, *WEIGHTS) else None
    if folder is None or not (folder / NAME).is_file():
        return None
    described = parse_json(read_text(folder / NAME, CONFIG_BYTES), folder / NAME)
    return SMPFolder(folder, described) if isinstance(described, dict) and KIND in described else None


def read_folder(found: SMPFolder) -> dict[str, Any]:
    """Reads a folder of `save_pretrained`.

    Args:
        found: of find_folder; the folder holds model.safetensors (pytorch_model.bin in older ones).

    Returns:
        The content of a checkpoint: "model", the weights by segmentation_models' names, "config", with the section
        `model` that fits them, and "source", which marks a file that describes its network.

    Raises:
        ConfigError: the class, an encoder or a value is none that segkit has.
        DataError: a file is missing or damaged.
    """
    folder = found.path
    config = describe(found.described, str(folder / NAME))
    file = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if file is None:
        raise DataError(f"{folder}: has a {NAME} and no {' or '.join(WEIGHTS)}; copy the whole folder")
    return {"model": tensors_of(file), "config": {"model": config["model"]}, "source": "smp"}


def tensors_of(file: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file by their names, without executing anything; DataError where it is damaged."""
    return read_safetensors(file)[0] if file.suffix == ".safetensors" else weights_in(read_torch(file), file)


def describe(described: dict[str, Any], at: str) -> Config:
    """Returns the config of a network of segmentation_models.

    Args:
        described: the content of its config.json.
        at: the file, for errors.

    Raises:
        ConfigError: the class, an encoder or a value is none that segkit has.
    """
    kind = described.get(KIND)
    if not isinstance(kind, str) or kind not in SMP_MODELS:
        hint = did_you_mean(kind, SMP_MODELS)
        raise ConfigError(
            f"{at}: {KIND} = {kind!r}: no network of segmentation_models that segkit reads by its description{hint}; "
            f"it reads {', '.join(SMP_MODELS)}; load others by a config of your own: load_model(CONFIG, FILE)"
        )
    system = SMP_MODELS[kind]
    for key, value in system.required.items():
        given = described.get(key, value)
        if (list(given) if isinstance(given, list | tuple) else given) != value:
            raise ConfigError(f"{at}: {key} = {given!r}: segkit's {kind} has {value!r}; write a config of your own")
    count = described.get("classes", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigError(f"{at}: classes = {count!r}: must be a number of classes from 1 on; correct it")
    options: dict[str, Any] = {**system.fixed, "backbone.pretrained": None}
    options |= {option: described.get(key, default) for option, (key, default) in system.copied.items()}
    if (norm := _norm(described, at)) is False:
        if not system.norm:
            raise ConfigError(f"{at}: decoder_use_norm = False: segkit's {kind} has batch normalization")
        options[system.norm] = norm
    options |= _encoder(described, system, at)
    cfg = load_config(f"segkit:_base_/models/{system.base}.py", [f"num_classes={count}"])
    for option, value in options.items():
        set_option(cfg, cfg.origins, f"model.{option}={value!r}")
    return cfg


def _norm(described: dict[str, Any], at: str) -> bool:
    """Whether the decoder has batch normalization; files before 0.5 call the argument decoder_use_batchnorm."""
    value = described.get("decoder_use_norm", described.get("decoder_use_batchnorm", True))
    if isinstance(value, dict) and set(value) == {"type"}:
        value = value["type"]
    known = {True: True, "batchnorm": True, False: False, "identity": False}
    if not isinstance(value, bool | str) or value not in known:
        raise ConfigError(f"{at}: decoder_use_norm = {value!r}: segkit reads decoders with batch normalization or none")
    return known[value]


def _encoder(described: dict[str, Any], system: SMPModel, at: str) -> dict[str, Any]:
    """Options of the section `model.backbone`, and of a head that reads a ResNet's stem."""
    name, depth = described.get("encoder_name", "resnet34"), described.get("encoder_depth", system.depths[0])
    if name not in (*RESNETS, *MIX_TRANSFORMERS):
        raise ConfigError(
            f"{at}: encoder_name = {name!r}: segkit reads the encoders {', '.join((*RESNETS, *MIX_TRANSFORMERS))} of "
            "segmentation_models, whose tensors are named as timm's"
        )
    if depth not in system.depths or (depth != 5 and name in MIX_TRANSFORMERS):
        allowed = " or ".join(map(str, system.depths if name in RESNETS else (5,)))
        raise ConfigError(f"{at}: encoder_depth = {depth!r}: must be {allowed} for this network and encoder")
    options = {"backbone.name": name, "backbone.in_channels": described.get("in_channels", 3)}
    if depth != 5:
        options["backbone.out_indices"] = list(range(depth))
    if system.base.startswith("segformer") and name in RESNETS:
        options["head.num_levels"] = 5
    return options
