"""mmsegmentation's encoders as model.backbone."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from segkit.migrate.part import Part, look_up
from segkit.migrate.tables import BACKBONES, LEVELS, MIT, RESNETS, STDC_BLOCKS, STRIDES
from segkit.migrate.transformers import TRANSFORMERS
from segkit.migrate.translate import SHARED, Encoder, check_layers, translated
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD
from segkit.registry import BACKBONES as OUR_BACKBONES


def migrate_encoder(part: Part, pretrained: Any, notes: list[str]) -> Encoder:
    """Translates model.backbone.

    Args:
        part: the encoder.
        pretrained: model.pretrained.
        notes: gets a sentence on the weights that it starts from.
    """
    name = part.type()
    start, channels = _start_weights(part, pretrained), part.number("in_channels", 3)
    if name in BACKBONES:
        kind = BACKBONES[name]
        made = {
            "type": kind.type,
            **translated(part, kind, OUR_BACKBONES),
            **CONSTANTS.get(name, lambda part: {})(part),
        }
        found = Encoder(made, LEVELS[name])
    elif name in TRANSFORMERS:
        found = TRANSFORMERS[name](name, part, start)
    else:
        found = look_up(FUNCTIONS | dict.fromkeys([*BACKBONES, *TRANSFORMERS]), name, part, "encoder")(name, part)
        check_layers(part, trained=found.section.get("train_norms", True), acts=("ReLU", "GELU"))
    part.skip(*SHARED)
    part.done(f" of {name}")
    section = found.section | ({} if channels == 3 else {"in_channels": channels})
    if start and found.has_weights and _has_weights_of_timm(section):
        is_file = not start.startswith(("open-mmlab://", "torchvision://", "mmcls://"))
        section["pretrained"] = True
        notes.append(
            f"the encoder starts from timm's ImageNet weights in place of {start}"
            + ("; init = dict(path=FILE) takes the file" if is_file else "")
        )
    elif start:
        notes.append(f"the encoder starts from random weights here; {start} is given by init = dict(path=FILE)")
    return found._replace(section=section)


def _has_weights_of_timm(section: dict[str, Any]) -> bool:
    """Whether `pretrained=True` gives an encoder ImageNet weights."""
    known = inspect.signature(OUR_BACKBONES.get(section["type"])).parameters.get("pretrained")
    return known is not None and bool in get_args(known.annotation) and not section.get("name", "").startswith("mit_")


CONSTANTS: dict[str, Callable[[Part], dict[str, Any]]] = {
    "PIDNet": lambda part: {} if part.values.get("num_stem_blocks", 2) == 2 else {"light": False},
}
"""Arguments that follow from others there."""


def encoder_for(section: dict[str, Any], head: dict[str, Any]) -> dict[str, Any]:
    """model.backbone as a head reads it: those of queries have a detector's ResNet with torchvision's weights."""
    plain = {"type", "name", "norm_eval", "pretrained", "mean", "std"}
    if section["type"] != "Timm" or not section.keys() <= plain or head["type"] not in OF_QUERIES:
        return section
    named = {**section, "type": "TimmDetection", "name": f"{section['name']}.tv_in1k"}
    return named | {"norm_eval": bool(named.pop("norm_eval", False))}


OF_QUERIES = ("MaskFormerHead", "Mask2FormerHead")
"""Heads of queries."""


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
    part.same("dcn", None)
    part.same("plugins", None)
    stem = part.number("stem_channels", 64)
    if (name, stem) not in RESNETS:
        raise part.refusal("stem_channels", stem, f"segkit has (class, stem_channels) in {list(RESNETS)}")
    return RESNETS[name, stem].format(depth=part.number("depth"))


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
    if not (part.values.get("norm_cfg") or {}).get("requires_grad", True):
        made = _with_frozen_norms(made, part)
    return Encoder(made, tuple(range(-len(indices), 0)), has_weights=not made["name"].endswith("s"))


def _with_frozen_norms(made: dict[str, Any], part: Part) -> dict[str, Any]:
    """A ResNet whose normalizations are not trained, as detectors have it."""
    if (
        made.keys() - {"type", "name", "frozen_stages", "norm_eval"}
        or not made["name"].removeprefix("resnet").isdigit()
    ):
        raise part.refusal(
            "norm_cfg", part.values["norm_cfg"], "segkit trains normalizations; see optimizer.freeze to stop them"
        )
    named = {**made, "type": "TimmDetection", "name": f"{made['name']}.tv_in1k", "train_norms": False}
    return named | ({"norm_eval": False} if not made.get("norm_eval") else {})


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
    name = _resnet_name(look_up({key: key for key, _ in RESNETS}, kind, inner, "ResNet"), inner)
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
    **dict.fromkeys([key for key, _ in RESNETS], _resnet),
    "HRNet": _hrnet,
    "ICNet": _icnet,
    "BiSeNetV1": _bisenet,
    "STDCContextPathNet": _stdc,
    "UNet": _unet,
    "MixVisionTransformer": _mit,
}
"""Encoders whose arguments are not translated one by one; each takes its class's name and its arguments."""


OTHER_MEANS = ("vit_", "beit_", "tf_mobilenet")
"""timm's encoders whose own mean and std are not ImageNet's, so that a config must state them."""


def preprocessing(part: Part, encoder: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Translates data_preprocessor.

    Args:
        part: it.
        encoder: model.backbone.

    Returns:
        mean and std of the encoder where they are not its own, and keys of section `inference`.
    """
    part.same("type", "SegDataPreProcessor", "mmseg.SegDataPreProcessor", stated=True)
    part.same("bgr_to_rgb", True, stated=True)
    part.same("rgb_to_bgr", False)
    part.same("pad_val", 0)
    part.same("seg_pad_val", 255)
    mean, std = part.numbers("mean"), part.numbers("std")
    part.skip("size", "size_divisor", "batch_augments")
    inference = {}
    if part.has("test_cfg"):
        test = part.part("test_cfg")
        if test.has("size_divisor"):
            inference["pad_divisor"] = test.number("size_divisor")
        test.skip("size_divisor")
        test.done(" of SegDataPreProcessor")
    part.skip("test_cfg")
    part.done(" of SegDataPreProcessor")
    is_own = (mean, std) == (tuple(IMAGENET_MEAN), tuple(IMAGENET_STD))
    if is_own and not str(encoder.get("name", "")).startswith(OTHER_MEANS):
        return {}, inference
    return {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}, inference
