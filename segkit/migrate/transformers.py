"""Encoders of timm from mmsegmentation's and mmpretrain's own: transformers, ConvNeXt, MobileNets, PoolFormer."""

from collections.abc import Callable, Collection
from typing import Any

from segkit.migrate.part import Part
from segkit.migrate.timm_names import (
    BEIT,
    BEIT_SCALES,
    FAMILIES,
    MOBILENET_V2,
    MOBILENET_V3,
    TAGS,
    VIT,
    Family,
)
from segkit.migrate.translate import Encoder, check_layers

MAPS = (-4, -3, -2, -1)
"""Of each in_index the level here, in encoders of four maps."""


def migrate_family(name: str, part: Part, start: str) -> Encoder:
    """Translates an encoder of FAMILIES.

    Args:
        name: of its class.
        part: its arguments.
        start: the file that it starts from, "" for random weights.
    """
    family = FAMILIES[name]
    size = tuple(part.take(key, default) for key, default in family.by.items())
    made = {"type": family.type, "name": _named(family, size, part) + _tag(family.tag, start), **family.constants}
    for key, allowed in family.fixed.items():
        part.same(key, *allowed, stated=key in family.stated)
    if name == "SwinTransformer":
        # mmsegmentation's default is Swin-T's
        part.same("num_heads", tuple(size[0] // 32 * factor for factor in (1, 2, 4, 8)), stated=size[0] != 96)
    drop = part.number("drop_path_rate", family.drop_path)
    made |= {"drop_path_rate": float(drop)} if drop else {}
    scale = part.take("layer_scale_init_value", 1e-6)
    if name == "ConvNeXt" and not start and scale != 1e-6:  # a file brings its own
        made["options"] = {"ls_init_value": scale}
    freeze: tuple[str, ...] = ()
    if name == "PoolFormer":
        part.same("frozen_stages", 0, -1)
        freeze = () if part.values.get("frozen_stages") == -1 else ("backbone.encoder.stem",)
    check_layers(part, norms=(family.norm[0],), eps=family.norm[1], acts=(family.act,))
    return Encoder(made, MAPS, freeze=freeze)


def _named(family: Family, size: tuple[Any, ...], part: Part) -> str:
    found = family.names.get(size[0] if len(size) == 1 else size)
    if found is None:
        keys = ", ".join(family.by)
        raise part.refusal(keys.partition(",")[0], size, f"segkit has ({keys}) in {list(family.names)}")
    return found


def _tag(kind: str, start: str) -> str:
    """timm's tag of the weights that are nearest to a file; "" where there is but one, or none is wanted."""
    tags = TAGS.get(kind, {})
    return next((tag for mark, tag in tags.items() if mark in start), "") if start else ""


def _shape(part: Part, known: Collection[tuple]) -> tuple:
    """Takes width, depth and heads of a plain transformer, which must be known."""
    key = (part.number("embed_dims", 768), part.number("num_layers", 12), part.number("num_heads", 12))
    if key not in known:
        raise part.refusal("embed_dims", key, f"segkit has (embed_dims, num_layers, num_heads) in {list(known)}")
    return key


def migrate_vit(name: str, part: Part, start: str) -> Encoder:
    """Translates VisionTransformer."""
    key = _shape(part, VIT)
    for theirs, *allowed in (
        *(("patch_size", 16), ("patch_pad", "corner", 0), ("mlp_ratio", 4), ("out_origin", False), ("qkv_bias", True)),
        *(("drop_rate", 0), ("attn_drop_rate", 0), ("patch_norm", False), ("pre_norm", False), ("num_fcs", 2)),
        *(("norm_eval", False), ("with_cp", False), ("frozen_exclude", ("all",))),
    ):
        part.same(theirs, *allowed)
    part.skip("patch_bias")  # the patch embedding has a bias there, whatever is said
    short = VIT[key].format(size=384 if "384" in start else 224)
    made: dict[str, Any] = {"type": "Timm", "name": short.replace("vit_", "deit_") if "deit" in start else short}
    size = part.pair("img_size", 224)
    made |= {} if size == (224, 224) and made["name"].endswith("224") else {"img_size": size}
    indices = _indices(part, key[1])
    made["out_indices"] = indices
    drop = part.number("drop_path_rate", 0.0)
    made |= {"drop_path_rate": float(drop)} if drop else {}
    if part.take("final_norm", False):  # there it stands behind the last map alone
        made |= {"final_norm": True} if len(indices) == 1 else {"norm_levels": (-1,)}
    has_token, gives_token = part.take("with_cls_token", True), part.take("output_cls_token", False)
    made |= {} if has_token else {"options": {"class_token": False, "global_pool": "avg"}}
    made |= {"append_class_token": True} if gives_token else {}
    eps = (part.values.get("norm_cfg") or {}).get("eps", 1e-5)
    made |= {} if eps == 1e-6 else {"norm_eps": eps}
    mode = part.take("interpolate_mode", "bicubic")
    made |= {} if mode == "bicubic" else {"pos_interpolation": mode}
    check_layers(part, norms=("LN",), eps=eps, acts=("GELU",))
    return Encoder(made, tuple(range(-len(indices), 0)))


def _indices(part: Part, layers: int) -> tuple[int, ...]:
    """out_indices of a plain transformer, counted from the first layer."""
    value = part.take("out_indices", -1)
    indices = tuple(layers - 1 if index == -1 else index for index in (value if isinstance(value, tuple) else (value,)))
    if not all(isinstance(index, int) and 0 <= index < layers for index in indices):
        raise part.refusal("out_indices", value, f"must be layers 0 to {layers - 1}")
    return indices


def migrate_beit(name: str, part: Part, start: str) -> Encoder:
    """Translates BEiT, and MAE, which has absolute positions beside the relative ones."""
    key = _shape(part, BEIT)
    for theirs, *allowed in (
        *(("patch_size", 16), ("mlp_ratio", 4), ("attn_drop_rate", 0), ("patch_norm", False), ("final_norm", False)),
        *(("num_fcs", 2), ("norm_eval", False)),
    ):
        part.same(theirs, *allowed)
    is_beit = name == "BEiT"
    if is_beit:
        part.same("qv_bias", True)
    made: dict[str, Any] = {"type": "Timm", "name": BEIT[key] + (_tag("beit", start) if is_beit else "")}
    made["out_indices"] = _indices(part, key[1])
    made["img_size"] = part.pair("img_size", 224)
    options: dict[str, Any] = {} if is_beit else {"use_abs_pos_emb": True}
    scale = part.number("init_values", 0.1)
    options |= {} if scale == BEIT_SCALES[BEIT[key]] else {"init_values": scale}
    made |= {"options": options} if options else {}
    drop = part.number("drop_path_rate", 0.0)
    made |= {"drop_path_rate": float(drop)} if drop else {}
    eps = (part.values.get("norm_cfg") or {}).get("eps", 1e-5)
    made |= {} if eps == 1e-6 else {"norm_eps": eps}
    check_layers(part, norms=("LN",), eps=eps, acts=("GELU",))
    return Encoder(made, tuple(range(-len(made["out_indices"]), 0)), has_weights=is_beit)


def migrate_mobilenet_v2(name: str, part: Part, start: str) -> Encoder:
    """Translates MobileNetV2."""
    key = part.numbers("strides", (1, 2, 2, 2, 1, 2, 1)), part.numbers("dilations", (1,) * 7)
    if key not in MOBILENET_V2:
        raise part.refusal("dilations", key, f"segkit has a MobileNetV2 with (strides, dilations) in {[*MOBILENET_V2]}")
    for theirs, value in (
        ("widen_factor", 1),
        ("out_indices", (1, 2, 4, 6)),
        ("frozen_stages", -1),
        ("with_cp", False),
    ):
        part.same(theirs, value)
    made = {**MOBILENET_V2[key], "name": "mobilenetv2_100"}
    made |= {"norm_eval": True} if part.take("norm_eval", False) else {}
    check_layers(part, acts=("ReLU6",))
    return Encoder(made, MAPS)


def migrate_mobilenet_v3(name: str, part: Part, start: str) -> Encoder:
    """Translates MobileNetV3, which mmsegmentation has at output stride 8 alone."""
    key = part.take("arch", "small"), part.take("out_indices", (0, 1, 12))
    if key not in MOBILENET_V3:
        raise part.refusal("out_indices", key, f"segkit has (arch, out_indices) in {list(MOBILENET_V3)}")
    for theirs, value in (("frozen_stages", -1), ("reduction_factor", 1), ("with_cp", False)):
        part.same(theirs, value)
    made: dict[str, Any] = {"type": "Timm", "name": MOBILENET_V3[key], "output_stride": 8, "contract_dilation": False}
    made |= {"norm_eval": True} if part.take("norm_eval", False) else {}
    check_layers(part, eps=1e-3)
    return Encoder(made, (-5, -4, -1))


TRANSFORMERS: dict[str, Callable[[str, Part, str], Encoder]] = {
    **dict.fromkeys(FAMILIES, migrate_family),
    "VisionTransformer": migrate_vit,
    "BEiT": migrate_beit,
    "MAE": migrate_beit,
    "MobileNetV2": migrate_mobilenet_v2,
    "MobileNetV3": migrate_mobilenet_v3,
}
"""Encoders of timm; each takes its class's name, its arguments, and the file that it starts from."""
