"""Heads of mmsegmentation that bring auxiliary heads, a neck or losses of their own."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segkit.migrate.forms import filled
from segkit.migrate.heads import Decoder, classes_of, dropout_of, migrate_head
from segkit.migrate.losses import EDGE_LOSSES, LOSSES, Row, row_of
from segkit.migrate.part import Part
from segkit.migrate.query_forms import KERNEL_UPDATE, MASK2FORMER, MASKFORMER
from segkit.migrate.translate import check_layers
from segkit.registry import HEADS
from segkit.registry import LOSSES as OUR_LOSSES


def _four_maps(part: Part, levels: Sequence[int], wanted: tuple[int, ...]) -> None:
    """Takes in_index, which must name the maps that the head here reads."""
    index = part.take("in_index", tuple(range(len(levels))))
    part.same("input_transform", "multiple_select", None)
    chosen = [levels[number] for number in (index if isinstance(index, tuple) else (index,)) if number in range(9)]
    if tuple(chosen) != wanted:
        raise part.refusal("in_index", index, "segkit's head cannot read these maps")


def _without_defaults(made: dict[str, Any], signature: Callable[..., Any]) -> dict[str, Any]:
    defaults = {key: value.default for key, value in inspect.signature(signature).parameters.items()}
    return {key: value for key, value in made.items() if value != defaults.get(key)}


def _two_losses(part: Part, count: int, kinds: Sequence[tuple[str, ...]]) -> list[Row]:
    """The losses of a head that trains each of its outputs by one of them, without their outputs."""
    losses = part.parts("loss_decode")
    found = [str(loss.values.get("type")).removeprefix("mmseg.") for loss in losses]
    if len(found) != count or any(name not in allowed for name, allowed in zip(found, kinds)):
        raise part.refusal("loss_decode", found, f"segkit migrates {count}: {[' or '.join(kind) for kind in kinds]}")
    return [row_of(loss, "", LOSSES | EDGE_LOSSES) for loss in losses]


CLASSES = ("CrossEntropyLoss", "OhemCrossEntropy")


def migrate_ddr(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """DDRHead, whose auxiliary head is part of it."""
    name = part.type()
    num_classes, corners = classes_of(part)
    made = _without_defaults({"channels": part.number("channels")}, HEADS.get("DDRHead"))
    part.skip("in_channels", "in_index", "init_cfg")
    check_layers(part)
    first, second = _two_losses(part, 2, (CLASSES, CLASSES))
    head = {"type": "DDRHead", **made, **dropout_of(part, "DDRHead")}
    part.done(f" of {name}")
    rows = [{**first, "on": on}, {**second, "on": "aux0.logits"}]
    return Decoder(head, rows, num_classes, corners, ({"type": "DDRHead", "level": -2, **made},))


def migrate_pid(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """PIDHead: the heads of its three branches, and the four losses of classes and boundaries."""
    name = part.type()
    num_classes, corners = classes_of(part)
    channels, width = part.number("channels"), part.number("in_channels")
    made = _without_defaults({"channels": channels}, HEADS.get("DDRHead"))
    part.skip("in_index", "init_cfg")
    check_layers(part)
    detail, classes, edge, inside = _two_losses(part, 4, (CLASSES, CLASSES, ("BoundaryLoss",), ("OhemCrossEntropy",)))
    head = {"type": "DDRHead", **made, **dropout_of(part, "DDRHead")}
    part.done(f" of {name}")
    boundary = {"type": "BoundaryHead", **({"channels": width // 4} if width // 4 != 32 else {}), "level": -2}
    rows = [
        {**detail, "on": "aux0.logits"},
        {**classes, "on": on},
        {**edge, "on": "aux1.edge"},
        {**inside, "type": "BoundaryOHEM", "on": [on, "aux1.edge"]},
    ]
    return Decoder(head, rows, num_classes, corners, ({"type": "DDRHead", "level": -3, **made}, boundary))


def migrate_dpt(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """DPTHead, whose reassembling of the maps is a neck here."""
    part.same("readout_type", "project", stated=True)
    part.same("patch_size", 16)
    part.same("expand_channels", False)
    part.skip("embed_dims")
    widths = part.numbers("post_process_channels", (96, 192, 384, 768))
    neck = {"type": "Reassemble", **({} if widths == (96, 192, 384, 768) else {"channels": widths})}
    return migrate_head(part, levels, on)._replace(neck=neck)


def migrate_knet(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """IterativeDecodeHead: the head that generates the kernels, and the rounds that refine them."""
    name = part.type()
    generator = migrate_head(part.part("kernel_generate_head"), levels, on)
    rounds = part.take("kernel_update_head")
    part.same("num_stages", len(rounds), stated=True)
    part.put("kernel_update_head", rounds)
    slots = filled(part, "kernel_update_head", [KERNEL_UPDATE] * len(rounds))
    part.done(f" of {name}")
    if slots.pop("num_classes") != generator.num_classes:
        raise part.refusal("kernel_update_head", rounds, "num_classes must be those of kernel_generate_head")
    slots.pop("channels")
    inner = {key: value for key, value in generator.head.items() if key != "dropout"}
    head = {"generator": inner, "stages": len(rounds), "dropout": generator.head.get("dropout", 0.1), **slots}
    rows = [*generator.rows, *({**row, "on": "stage*.logits"} for row in generator.rows)]
    if generator.rows[0]["on"] != on or any(row["on"] != on for row in generator.rows):
        raise part.refusal("kernel_generate_head", inner["type"], "has losses of its own; take a head of one loss")
    return generator._replace(head={"type": "KNetHead", **_without_defaults(head, HEADS.get("KNetHead"))}, rows=rows)


def _queries(part: Part, levels: Sequence[int], forms: Mapping[str, Any], ours: str, loss: str) -> Decoder:
    name = part.type()
    num_classes, corners = part.number("num_classes"), bool(part.take("align_corners", False))
    part.same("ignore_index", 255)
    _four_maps(part, levels, (-4, -3, -2, -1))
    slots: dict[str, Any] = {"channels": part.number("feat_channels"), "num_queries": part.number("num_queries")}
    part.same("out_channels", slots["channels"], stated=True)
    part.skip("in_channels", "init_cfg")
    for key, form in forms.items():
        for slot, value in filled(part, key, form).items():
            if slots.setdefault(slot, value) != value:
                raise part.refusal(key, value, f"its {slot} must be {slots[slot]}, as elsewhere in this head")
    part.done(f" of {name}")
    weights = slots.pop("class_weight")
    if weights[:-1] != (1.0,) * num_classes:
        raise part.refusal("loss_cls.class_weight", weights, f"must be {num_classes} times 1 and that of no object")
    if slots.pop("half") * 2 != slots["channels"]:
        raise part.refusal("positional_encoding", slots["channels"], "num_feats must be half of feat_channels")
    row = {"no_object": weights[-1], **({"points": slots.pop("sampled")} if "sampled" in slots else {})}
    row |= {key: slots.pop(key) for key in ("category", "mask", "dice")}
    head = {"type": ours, **_without_defaults(slots, HEADS.get(ours))}
    return Decoder(head, [{"type": loss, **_without_defaults(row, OUR_LOSSES.get(loss))}], num_classes, corners)


def migrate_maskformer(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """MaskFormerHead."""
    return _queries(part, levels, MASKFORMER, "MaskFormerHead", "MaskFormerSemantic")


def migrate_mask2former(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """Mask2FormerHead."""
    return _queries(part, levels, MASK2FORMER, "Mask2FormerHead", "Mask2FormerSemantic")


DECODERS: dict[str, Callable[[Part, Sequence[int], str], Decoder]] = {
    "DDRHead": migrate_ddr,
    "PIDHead": migrate_pid,
    "DPTHead": migrate_dpt,
    "IterativeDecodeHead": migrate_knet,
    "MaskFormerHead": migrate_maskformer,
    "Mask2FormerHead": migrate_mask2former,
}
"""Heads that are more than one class here; each takes the head, the levels of the maps, and the output's name."""
