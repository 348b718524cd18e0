"""Section `optimizer` from mmsegmentation's optim_wrapper: rates and decays of parameters by name and by layer.

There a parameter has the factors of the longest key that its name holds, and of nothing else; here the factors of all
rows that match it are multiplied. The rows are made so that the products are those factors.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from segkit.migrate.part import Part, look_up

Section = dict[str, Any]


class Name(NamedTuple):
    """What a key of custom_keys finds.

    Attributes:
        pattern: of the names here; None where it finds nothing.
        within: the part of the model that holds all of them, a key of PARTS; "" for any.
    """

    pattern: str | None
    within: str = ""


class Names(NamedTuple):
    """What the optimizer must know of a model, to find its parameters by mmsegmentation's names.

    Attributes:
        encoder: its class there.
        depths: blocks of its stages, () where it has none.
        layers: of a plain transformer, 0 for none.
        decoder: parts here that hold what decode_head holds there, "head" or "head|neck".
        backbone: the same of its backbone.
    """

    encoder: str
    depths: tuple[int, ...] = ()
    layers: int = 0
    decoder: str = "head"
    backbone: str = "backbone"


PARTS = {"backbone": (), "neck": (), "head": (), "decode_head": ("head",), "auxiliary_head": ("head",)}
"""Parts of a model by their keys, and for each the key that finds its parameters, too."""

_POSITIONS = {"absolute_pos_embed": Name(None), "pos_block": Name(None)}
_QUERIES = {
    "query_embed": Name(r"^head\.query_embedding$", "decode_head"),
    "query_feat": Name(r"^head\.query_features$", "decode_head"),
    "level_embed": Name(r"^head\.level_embedding$", "decode_head"),
}
_BACKBONE_NORM = Name(r"^backbone\..*norm", "backbone")
SWIN_NORMS = "backbone.norm"
"""Stands for the keys that together find all normalizations of a Swin."""

NAMES: dict[str, dict[str, Name]] = {
    # no key names the norms behind the stages
    "MixVisionTransformer": {**_POSITIONS, "norm": Name(r"(embed|downsample|attn)\.norm\.|\.norm\d\.", "backbone")},
    "SwinTransformer": {
        **_POSITIONS,
        **_QUERIES,
        "relative_position_bias_table": Name(r"relative_position_bias_table$", "backbone"),
        "norm": Name("norm"),
        SWIN_NORMS: _BACKBONE_NORM,
    },
    # its normalizations are named ln there
    "VisionTransformer": {
        "pos_embed": Name(r"pos_embed$", "backbone"),
        "cls_token": Name(r"cls_token$", "backbone"),
        "norm": Name(None),
    },
    "PCPVT": {**_POSITIONS, "norm": _BACKBONE_NORM},
    "SVT": {**_POSITIONS, "norm": _BACKBONE_NORM},
    "MSCAN": {**_POSITIONS, "norm": _BACKBONE_NORM},
    "ResNet": _QUERIES,
}
"""Keys of custom_keys by the encoder's class there."""

FACTORS = {"lr_mult": "lr", "decay_mult": "decay"}
"""Factors in custom_keys, and in optimizer.groups."""

UNREAD = ("wd_mult",)
"""Factors that stand in published configs, and that mmengine does not read."""

LAYERED = ("LayerDecayOptimizerConstructor", "LearningRateDecayOptimizerConstructor")
"""Constructors whose rates fall from layer to layer."""


def migrate_optimizer(wrapper: Part, names: Names) -> tuple[Section, Section]:
    """Translates optim_wrapper.

    Args:
        wrapper: the section.
        names: of the model.

    Returns:
        Section `optimizer`, and keys of section `loop`.
    """
    kind, loop = wrapper.type(), Section()
    look_up(dict.fromkeys(("OptimWrapper", "AmpOptimWrapper")), kind, wrapper, "optimizer wrapper")
    if kind == "AmpOptimWrapper":
        precision = {None: "fp16", "float16": "fp16", "bfloat16": "bf16"}
        dtype = wrapper.take("dtype", None)
        if dtype not in precision:
            raise wrapper.refusal("dtype", dtype, "must be 'float16' or 'bfloat16'")
        loop["amp"] = precision[dtype]
    wrapper.skip("loss_scale")  # it changes no number but those that overflow
    section = dict(wrapper.part("optimizer").values)
    for key, value in section.items():
        section[key] = tuple(value) if isinstance(value, list) else value
    constructor = wrapper.take("constructor", None)
    if constructor in LAYERED:
        section |= _by_layer(wrapper.part("paramwise_cfg"), constructor, names)
    elif constructor not in (None, "DefaultOptimWrapperConstructor"):
        raise wrapper.refusal("constructor", constructor, f"segkit migrates {', '.join(LAYERED)} and the default one")
    elif wrapper.has("paramwise_cfg"):
        rows = _groups(wrapper.part("paramwise_cfg"), names)
        section |= {"groups": rows} if rows else {}
    if wrapper.has("clip_grad"):
        clip = wrapper.part("clip_grad")
        clip.same("norm_type", 2)
        loop["clip"] = float(clip.number("max_norm"))
        clip.done()
    accumulate = wrapper.number("accumulative_counts", 1)
    loop |= {} if accumulate == 1 else {"accumulate": accumulate}
    wrapper.skip("paramwise_cfg", "clip_grad")
    wrapper.done(f" of {kind}")
    return section, loop


def _by_layer(part: Part, constructor: str, names: Names) -> Section:
    """layer_decay; vectors do not decay there, whatever else is said."""
    is_old = constructor == LAYERED[0]
    rate = part.number("layer_decay_rate" if is_old else "decay_rate")
    law = "layer_wise" if is_old else part.take("decay_type", "layer_wise")
    layers = part.number("num_layers")
    part.done(f" of {constructor}")
    made: Section = {"rate": rate}
    if names.encoder == "ConvNeXt" and law == "stage_wise":
        made |= {"law": "stage_wise"} | ({} if layers == 6 else {"layers": layers})
    elif names.encoder not in ("BEiT", "MAE") or not law.startswith("layer_wise"):
        why = f"segkit migrates 'layer_wise' of BEiT and MAE, 'stage_wise' of ConvNeXt; this is {names.encoder}"
        raise part.refusal("decay_type", law, why)
    elif layers != names.layers:
        raise part.refusal("num_layers", layers, f"must be {names.layers}, the layers of the encoder")
    return {"layer_decay": made, "groups": [{"kind": "vector", "decay": 0.0}]}


def _groups(part: Part, names: Names) -> list[Section]:
    """Rows of optimizer.groups."""
    keys = _custom(part.part("custom_keys", {}), names)
    rows: list[Section] = []
    for key, kind in (("norm_decay_mult", "norm"), ("bias_decay_mult", "bias")):
        factor = part.number(key, 1.0)
        row = {"kind": kind, **_outside(keys, names, "decay"), "decay": float(factor)}
        rows += [] if factor == 1 else [row]
    factor = part.number("bias_lr_mult", 1.0)
    if factor != 1:
        rows += [{"kind": "bias", **_outside(keys, names, "lr"), "lr": float(factor)}]
    for key, factors in keys.items():
        row = _row(key, factors, keys, names)
        rows += [row] if row else []
    part.skip("bypass_duplicate")
    part.done()
    return rows


def _custom(part: Part, names: Names) -> dict[str, dict[str, float]]:
    """Takes custom_keys: the factors of each key that finds something, those of a Swin's normalizations as one key."""
    known = {**dict.fromkeys(PARTS), **NAMES.get(names.encoder, {})}
    found: dict[str, dict[str, float]] = {}
    norms: dict[str, dict[str, float]] = {}
    for name in part.values:
        row = part.part(name)
        factors = {ours: float(row.number(theirs)) for theirs, ours in FACTORS.items() if row.has(theirs)}
        is_unread = not factors and any(row.has(key) for key in UNREAD)
        row.skip(*UNREAD)
        row.done()
        if names.depths and _is_swin_norm(name):
            norms[name] = factors
        elif name in known:
            found[name] = factors
        elif not is_unread:
            why = f"parameters have other names here; known keys are {', '.join(known)}; set optimizer.groups by hand"
            raise part.refusal(name, part.values[name], why)
    if norms:
        first = next(iter(norms))
        if set(norms) != _swin_norms(names.depths) or any(factors != norms[first] for factors in norms.values()):
            why = "segkit migrates the keys of all normalizations of a Swin, with the same factors"
            raise part.refusal(first, part.values[first], why)
        found[SWIN_NORMS] = norms[first]
    return found


def _is_swin_norm(name: str) -> bool:
    return bool(re.fullmatch(r"backbone\.(norm|patch_embed\.norm|stages\.\d+\.(blocks\.\d+|downsample)\.norm)", name))


def _swin_norms(depths: tuple[int, ...]) -> set[str]:
    blocks = {f"backbone.stages.{i}.blocks.{j}.norm" for i, depth in enumerate(depths) for j in range(depth)}
    halvings = {f"backbone.stages.{i}.downsample.norm" for i in range(len(depths) - 1)}
    return {"backbone.norm", "backbone.patch_embed.norm"} | blocks | halvings


def _wins(first: str, second: str) -> bool:
    """Whether mmengine takes the first of two keys that both stand in a name: the longer, then by the alphabet."""
    return (-len(first), first) < (-len(second), second)


def _region(key: str, names: Names) -> str:
    """The parts here that a key of PARTS finds, as a regular expression."""
    return {
        "head": f"{names.decoder}|aux" if "aux" not in names.decoder else names.decoder,
        "decode_head": names.decoder,
        "auxiliary_head": "aux",
        "backbone": names.backbone,
        "neck": "neck",
    }[key]


def _any(parts: Sequence[str]) -> str:
    """One of several parts of a model, as a regular expression."""
    region = "|".join(parts)
    return f"({region})" if "|" in region else region


def _outside(keys: Mapping[str, Mapping[str, float]], names: Names, factor: str) -> Section:
    """`match` that leaves out the parts whose key gives the factor another value: there no other rule counts."""
    parts = [_region(key, names) for key, factors in keys.items() if key in PARTS and factors.get(factor, 1.0) != 0]
    return {"match": rf"^(?!{_any(parts)}\.)"} if parts else {}


def _row(key: str, factors: Mapping[str, float], keys: Mapping[str, Mapping[str, float]], names: Names) -> Section:
    """A row of optimizer.groups, relative to the rows of the parts that hold these parameters, too; {} for none."""
    if key in PARTS:
        pattern, holders = rf"^{_any([_region(key, names)])}\.", PARTS[key]
    else:
        name = NAMES[names.encoder][key]
        if name.pattern is None:
            return {}
        pattern, holders = name.pattern, (name.within, *PARTS[name.within]) if name.within else ()
        if not name.within and (parts := [other for other in keys if other in PARTS and _wins(other, key)]):
            pattern = rf"^(?!{_any([_region(other, names) for other in parts])}\.).*{pattern}"
    above = min((other for other in holders if other in keys), key=lambda other: (-len(other), other), default="")
    if above and not _wins(key, above):
        return {}
    base = keys[above] if above else {}
    made = {ours: factors.get(ours, 1.0) / (base.get(ours, 1.0) or 1.0) for ours in FACTORS.values()}
    made = {ours: round(value, 12) for ours, value in made.items() if value != 1}
    return {"match": pattern, **made} if made else {}
