"""mmsegmentation's encoders as model.backbone."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from segkit.migrate.part import Part, look_up
from segkit.migrate.tables import BACKBONES, LEVELS, MIT, RESNETS, STDC_BLOCKS, STRIDES, Kind
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD
from segkit.registry import BACKBONES as OUR_BACKBONES
from segkit.registry import Registry

SHARED = ("in_channels", "init_cfg", "pretrained")
"""Arguments of every part that segkit derives, or that are read elsewhere."""


class Encoder(NamedTuple):
    """An encoder and the levels of its maps.

    Attributes:
        section: model.backbone.
        levels: for each of mmsegmentation's in_index the level here.
        neck: model.neck that belongs to the encoder, {} for none.
    """

    section: dict[str, Any]
    levels: tuple[int, ...]
    neck: dict[str, Any] = {}


def translated(part: Part, kind: Kind, registry: Registry) -> dict[str, Any]:
    """The arguments of a part by the table; values that are the defaults here are left out."""
    made = dict(kind.constants)
    defaults = inspect.signature(registry.get(kind.type)).parameters
    for theirs, (ours, default) in kind.keys.items():
        value = part.take(theirs, default)
        if value != defaults[ours].default:
            made[ours] = value
    for key, allowed in kind.fixed.items():
        part.same(key, *allowed, stated=key in kind.stated)
    part.skip(*kind.derived, *SHARED)
    check_layers(part)
    return made


def check_layers(part: Part) -> None:
    """Takes norm_cfg, conv_cfg and act_cfg, which must be what segkit's networks are made of."""
    norm = part.take("norm_cfg", None)
    if norm is not None and (not isinstance(norm, dict) or norm.get("type") not in ("BN", "SyncBN")):
        raise part.refusal("norm_cfg", norm, "segkit's form of this network has batch normalization alone")
    if norm is not None and not norm.get("requires_grad", True):
        raise part.refusal("norm_cfg", norm, "segkit trains normalizations; see optimizer.freeze to stop them")
    part.same("conv_cfg", None, {"type": "Conv1d"})
    part.same("act_cfg", None, {"type": "ReLU"}, {"type": "ReLU", "inplace": True}, {"type": "ReLU", "inplace": False})


def migrate_encoder(part: Part, pretrained: Any, notes: list[str]) -> Encoder:
    name = part.type()
    start = _start_weights(part, pretrained)
    if name in BACKBONES:
        kind = BACKBONES[name]
        made = {"type": kind.type, **translated(part, kind, OUR_BACKBONES)}
        found = Encoder(made, LEVELS[name])
    else:
        found = look_up(FUNCTIONS | dict.fromkeys(BACKBONES), name, part, "encoder")(name, part)
        check_layers(part)
        part.skip(*SHARED)
    part.done(f" of {name}")
    if start and "pretrained" in inspect.signature(OUR_BACKBONES.get(found.section["type"])).parameters:
        is_file = not start.startswith(("open-mmlab://", "torchvision://"))
        if found.section["type"] == "Timm" and found.section["name"].startswith("mit_"):
            notes.append(f"the encoder starts from random weights here; {start} is given by init = dict(path=FILE)")
        else:
            found.section["pretrained"] = True
            notes.append(
                f"the encoder starts from timm's ImageNet weights in place of {start}"
                + ("; init = dict(path=FILE) takes the file" if is_file else "")
            )
    elif start:
        notes.append(f"the encoder starts from random weights here; {start} is given by init = dict(path=FILE)")
    return found


def _start_weights(part: Part, pretrained: Any) -> str:
    """The name of the weights that an encoder starts from, "" for none."""
    if pretrained is None:
        pretrained = part.take("pretrained", None)
    for inner in (part.values, part.values.get("backbone_cfg") or {}):
        init = inner.get("init_cfg") if isinstance(inner, dict) else None
        if pretrained is None and isinstance(init, dict) and init.get("type") == "Pretrained":
            pretrained = init.get("checkpoint")
    return "" if pretrained is None else str(pretrained)


def _resnet_name(name: str, part: Part) -> str:
    part.same("num_stages", 4)
    part.same("style", "pytorch")
    part.same("with_cp", False)
    part.same("deep_stem", name != "ResNet")
    part.same("avg_down", name == "ResNetV1d")
    part.same("stem_channels", 64)
    part.same("dcn", None)
    part.same("plugins", None)
    return RESNETS[name].format(depth=part.number("depth"))


def _resnet(name: str, part: Part) -> Encoder:
    made: dict[str, Any] = {"type": "Timm", "name": _resnet_name(name, part)}
    indices = part.numbers("out_indices", (0, 1, 2, 3))
    if indices != tuple(range(4 - len(indices), 4)):
        raise part.refusal("out_indices", indices, "must be the last levels, (0, 1, 2, 3) or (1, 2, 3)")
    strides, dilations = part.numbers("strides", (1, 2, 2, 2)), part.numbers("dilations", (1, 1, 1, 1))
    grid = part.numbers("multi_grid") if part.has("multi_grid") else None
    part.skip("multi_grid")
    if (strides, dilations) in STRIDES and grid is None:
        stride = STRIDES[strides, dilations]
        made |= {} if stride == 32 else {"output_stride": stride}
    elif strides == (1, 2, 2, 2) and dilations[:2] == (1, 1):
        made |= {"type": "TimmDilated"} | ({} if dilations[2:] == (2, 4) else {"dilations": dilations[2:]})
    elif (strides, dilations) == ((1, 2, 2, 1), (1, 1, 1, 2)) and grid:
        made |= {"type": "TimmDilated", "output_stride": 16, "dilations": (grid,)}
    else:
        raise part.refusal("dilations", dilations, f"segkit has no ResNet with these and strides {strides}")
    if not part.take("contract_dilation", False) and dilations != (1, 1, 1, 1):
        made["contract_dilation"] = False
    frozen = part.number("frozen_stages", -1)
    made |= {"frozen_stages": frozen + 1} if frozen >= 0 else {}
    made |= {"norm_eval": True} if part.take("norm_eval", False) else {}
    return Encoder(made, tuple(range(-len(indices), 0)))


def _hrnet(name: str, part: Part) -> Encoder:
    extra = part.part("extra")
    blocks, modules, width = set(), [], 0
    for number in (1, 2, 3, 4):
        stage = extra.part(f"stage{number}")
        stage.same("num_branches", number)
        stage.same("block", "BOTTLENECK" if number == 1 else "BASIC")
        blocks |= set(stage.numbers("num_blocks"))
        channels = stage.numbers("num_channels")
        if number == 1:
            stage.same("num_modules", 1)
        else:
            modules.append(stage.number("num_modules"))
            width = width or channels[0]
        wanted = (64,) if number == 1 else tuple(width * 2**i for i in range(number))
        if channels != wanted:
            raise stage.refusal("num_channels", channels, f"segkit's HRNet has {wanted} here")
        stage.done(" of HRNet")
    extra.done(" of HRNet")
    if len(blocks) != 1:
        raise part.refusal("extra", sorted(blocks), "num_blocks must be the same in every stage")
    part.same("multiscale_output", True)
    part.same("with_cp", False)
    part.same("frozen_stages", -1)
    made: dict[str, Any] = {"type": "HRNet", "width": width}
    made |= {} if modules == [1, 4, 3] else {"num_modules": tuple(modules)}
    made |= {} if blocks == {4} else {"num_blocks": blocks.pop()}
    made |= {"norm_eval": True} if part.take("norm_eval", False) else {}
    return Encoder(made, LEVELS[name])


def _inner_resnet(part: Part, dilated: bool) -> str:
    """timm's name of the ResNet in another encoder."""
    inner = part.part("backbone_cfg")
    kind = inner.type()
    name = _resnet_name(look_up({key: key for key in RESNETS}, kind, inner, "ResNet"), inner)
    inner.same("out_indices", (0, 1, 2, 3))
    inner.same("strides", (1, 2, 1, 1) if dilated else (1, 2, 2, 2), stated=dilated)
    inner.same("dilations", (1, 1, 2, 4) if dilated else (1, 1, 1, 1), stated=dilated)
    inner.same("contract_dilation", True, False) if not dilated else inner.same("contract_dilation", True, stated=True)
    inner.same("norm_eval", False)
    inner.same("frozen_stages", -1)
    check_layers(inner)
    inner.skip(*SHARED)
    inner.done(f" of {kind}")
    return name


def _icnet(name: str, part: Part) -> Encoder:
    made: dict[str, Any] = {"type": "ICNet", "encoder": _inner_resnet(part, dilated=True)}
    part.skip("layer_channels")
    part.same("light_branch_middle_channels", 32)
    part.same("align_corners", False)
    part.same("pool_scales", (1, 2, 3, 6))
    made |= {"pool_channels": part.take("psp_out_channels", 512), "channels": part.take("out_channels", (64, 256, 256))}
    return Encoder(made, LEVELS[name])


def _bisenet(name: str, part: Part) -> Encoder:
    made: dict[str, Any] = {"type": "BiSeNet", "encoder": _inner_resnet(part, dilated=False)}
    made["channels"] = part.numbers("context_channels", (128, 256, 512))[0]
    made["spatial_channels"] = part.take("spatial_channels", (64, 64, 64, 128))
    made["fused_channels"] = part.take("out_channels", 256)
    part.same("out_indices", (0, 1, 2))
    part.same("align_corners", False)
    return Encoder(made, LEVELS[name])


def _stdc(name: str, part: Part) -> Encoder:
    inner = part.part("backbone_cfg")
    inner.same("type", "STDCNet")
    kind = inner.take("stdc_type")
    made = {"type": "STDC", "blocks": look_up(STDC_BLOCKS, kind, inner, "stdc_type")}
    channels = inner.take("channels")
    made |= {} if channels == (32, 64, 256, 512, 1024) else {"channels": channels}
    inner.same("bottleneck_type", "cat")
    inner.same("num_convs", 4)
    inner.same("with_final_conv", False, stated=False)
    check_layers(inner)
    inner.skip(*SHARED)
    inner.done(" of STDCNet")
    fusion = part.part("ffm_cfg")
    neck = {"type": "STDCContext", "channels": part.take("out_channels", 128)}
    neck |= {"fused_channels": fusion.take("out_channels")}
    fusion.same("scale_factor", 4)
    fusion.skip("in_channels")
    fusion.done(" of STDCContextPathNet")
    part.skip("last_in_channels")
    part.same("upsample_mode", "nearest")
    part.same("align_corners", None)
    return Encoder(made, LEVELS[name], neck)


def _unet(name: str, part: Part) -> Encoder:
    stages, base = part.number("num_stages", 5), part.number("base_channels", 64)
    for key, value in (
        *(("strides", 1), ("enc_num_convs", 2), ("enc_dilations", 1)),
        *(("dec_num_convs", 2), ("downsamples", True), ("dec_dilations", 1)),
    ):
        count = stages - (key in ("dec_num_convs", "downsamples", "dec_dilations"))
        part.same(key, (value,) * count)
    for key, fixed in (("with_cp", False), ("dcn", None), ("plugins", None), ("norm_eval", False)):
        part.same(key, fixed)
    part.same("upsample_cfg", {"type": "InterpConv"})
    channels = tuple(base * 2**i for i in range(stages))
    made: dict[str, Any] = {"type": "UNet", "learned_up": False}
    made |= {} if channels == (64, 128, 256, 512, 1024) else {"channels": channels}
    return Encoder(made, tuple(range(-stages, 0)))


def _mit(name: str, part: Part) -> Encoder:
    key = part.number("embed_dims", 64), part.numbers("num_layers", (3, 4, 6, 3))
    if key not in MIT:
        raise part.refusal("num_layers", key, f"segkit has MiT with (embed_dims, num_layers) in {list(MIT)}")
    for theirs, value in (
        *(("num_stages", 4), ("num_heads", (1, 2, 5, 8) if key[0] in (32, 64) else ()), ("patch_sizes", (7, 3, 3, 3))),
        *(("strides", (4, 2, 2, 2)), ("sr_ratios", (8, 4, 2, 1)), ("out_indices", (0, 1, 2, 3)), ("mlp_ratio", 4)),
        *(("qkv_bias", True), ("drop_rate", 0.0), ("attn_drop_rate", 0.0)),
    ):
        part.same(theirs, value)
    part.skip("norm_cfg", "act_cfg")
    drop = part.number("drop_path_rate", 0.0)
    made: dict[str, Any] = {"type": "Timm", "name": MIT[key], "norm_eps": 1e-6}
    made |= {"drop_path_rate": drop} if drop else {}
    return Encoder(made, LEVELS[name])


FUNCTIONS: dict[str, Callable[[str, Part], Encoder]] = {
    **dict.fromkeys(RESNETS, _resnet),
    "HRNet": _hrnet,
    "ICNet": _icnet,
    "BiSeNetV1": _bisenet,
    "STDCContextPathNet": _stdc,
    "UNet": _unet,
    "MixVisionTransformer": _mit,
}
"""Encoders whose arguments are not translated one by one; each takes its class's name and its arguments."""


def preprocessing(part: Part) -> dict[str, Any]:
    """mean and std of the encoder where they are not ImageNet's."""
    part.same("type", "SegDataPreProcessor", "mmseg.SegDataPreProcessor", stated=True)
    part.same("bgr_to_rgb", True, stated=True)
    part.same("rgb_to_bgr", False)
    part.same("pad_val", 0)
    part.same("seg_pad_val", 255)
    mean, std = part.numbers("mean"), part.numbers("std")
    part.skip("size", "size_divisor", "test_cfg", "batch_augments")
    part.done(" of SegDataPreProcessor")
    if (mean, std) == (tuple(IMAGENET_MEAN), tuple(IMAGENET_STD)):
        return {}
    return {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
