"""One head of mmsegmentation as a head here, and the rows of its losses."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from segkit.migrate.losses import Row, rows_of
from segkit.migrate.part import Part, look_up
from segkit.migrate.tables import HEADS, Kind
from segkit.migrate.translate import translated
from segkit.registry import HEADS as OUR_HEADS


class Decoder(NamedTuple):
    """What a head of mmsegmentation becomes.

    Attributes:
        head: model.head.
        rows: of section `losses`.
        num_classes: of the head.
        align_corners: of the head.
        aux: heads that train with it, model.aux.
        neck: model.neck that belongs to it, {} for none.
        notes: sentences on what differs.
    """

    head: dict[str, Any]
    rows: list[Row]
    num_classes: int
    align_corners: bool = False
    aux: tuple[dict[str, Any], ...] = ()
    neck: dict[str, Any] = {}
    notes: tuple[str, ...] = ()


def _levels(part: Part, kind: Kind, levels: Sequence[int]) -> dict[str, Any]:
    """The maps that a head reads, from in_index."""
    index = part.take("in_index", -1)
    part.same("input_transform", None, "resize_concat", "multiple_select")
    if kind.levels == "fixed":
        return {}
    chosen = []
    for number in index if isinstance(index, tuple) else (index,):
        if not isinstance(number, int) or not -len(levels) <= number < len(levels):
            raise part.refusal("in_index", index, f"the encoder gives {len(levels)} maps")
        chosen.append(levels[number])
    if not chosen:
        raise part.refusal("in_index", index, "names no map")
    wanted: dict[str, Callable[[], bool]] = {
        "one": lambda: True,
        "several": lambda: True,
        "lower": lambda: len(chosen) == 2,
        "all": lambda: chosen == list(range(-len(levels), 0)),
        "last": lambda: chosen[-1] == -1,
        "deepest": lambda: chosen == list(range(-len(chosen), 0)),
    }
    if not wanted[kind.levels]():
        raise part.refusal("in_index", index, f"segkit's {kind.type} cannot read these maps")
    if kind.levels == "lower":
        return {"low_level": chosen[0], "level": chosen[1]} if chosen != [-2, -1] else {}
    if kind.levels == "deepest":
        default = inspect.signature(OUR_HEADS.get(kind.type)).parameters["levels"].default
        return {} if len(chosen) == default else {"levels": len(chosen)}
    if kind.levels == "several":
        return {"levels": tuple(chosen)} if chosen != [-1] else {}
    if kind.levels == "one" and (len(chosen) > 1 or chosen != [-1]):
        return {"level": tuple(chosen) if len(chosen) > 1 else chosen[0]}
    return {}


def migrate_head(part: Part, levels: Sequence[int], on: str) -> Decoder:
    """Translates a head.

    Args:
        part: the head.
        levels: of each in_index the level here.
        on: the output that its losses train, "logits" or "aux0.logits".
    """
    name = part.type()
    kind = look_up(HEADS, name, part, "head")
    num_classes, corners = classes_of(part)
    made = {"type": kind.type, **_levels(part, kind, levels), **ARGUMENTS.get(name, lambda part: {})(part)}
    made |= translated(part, kind, OUR_HEADS)
    made = LAST.get(name, lambda made, part: made)(made, part)
    if name != "PointHead":
        made |= dropout_of(part, kind.type)
    part.skip("dropout_ratio")
    rows = ROWS.get(name, rows_of)(part, on)
    part.done(f" of {name}")
    return Decoder(made, rows, num_classes, corners, notes=(kind.note,) if kind.note else ())


def classes_of(part: Part) -> tuple[int, bool]:
    """Takes what every head has: its number of classes and align_corners."""
    num_classes = part.number("num_classes")
    part.same("out_channels", num_classes, None)
    part.same("threshold", None)
    part.same("ignore_index", 255)
    return num_classes, bool(part.take("align_corners", False))


def dropout_of(part: Part, name: str) -> dict[str, Any]:
    """Takes dropout_ratio; name: of the head here, whose default is left out."""
    dropout = max(part.number("dropout_ratio", 0.1), 0.0)
    known = inspect.signature(OUR_HEADS.get(name)).parameters.get("dropout")
    if known is None:
        if dropout:
            raise part.refusal("dropout_ratio", dropout, f"segkit's {name} drops nothing; set 0")
        return {}
    return {} if dropout == known.default else {"dropout": float(dropout)}


def _ham(part: Part) -> dict[str, Any]:
    """LightHamHead's numbers, which stand one dict deeper, and its width, which stands there twice."""
    part.same("ham_channels", part.values.get("channels"), stated=True)
    inner = part.part("ham_kwargs", {})
    for key in tuple(inner.values):
        part.put(key, inner.take(key))
    return {}


ARGUMENTS: dict[str, Callable[[Part], dict[str, Any]]] = {"LightHamHead": _ham}
"""What is read of a head before its table."""


def _without_pointwise(made: dict[str, Any], part: Part) -> dict[str, Any]:
    """ASPP's rates without the first, which is the 1x1 convolution."""
    rates = made.get("rates", (1, 12, 24, 36))
    if not isinstance(rates, tuple) or len(rates) < 2 or rates[0] != 1:
        raise part.refusal("dilations", rates, "must begin with 1, the 1x1 convolution, as segkit's ASPP")
    rest = {key: value for key, value in made.items() if key != "rates"}
    return rest if rates[1:] == (12, 24, 36) else {**rest, "rates": rates[1:]}


def _whole_mask(made: dict[str, Any], part: Part) -> dict[str, Any]:
    """PSANet's without its mask size where it is the default here, as a tuple."""
    return {key: value for key, value in made.items() if (key, value) != ("mask_size", (97, 97))}


LAST: dict[str, Callable[[dict[str, Any], Part], dict[str, Any]]] = {
    "ASPPHead": _without_pointwise,
    "DepthwiseSeparableASPPHead": _without_pointwise,
    "PSAHead": _whole_mask,
}
"""What is changed in a head's arguments after its table."""


def _attention_rows(part: Part, on: str) -> list[Row]:
    """DANet's: mmsegmentation trains the two attentions by the same loss."""
    rows = rows_of(part, on)
    return [*rows, *({**row, "on": f"{branch}.logits"} for branch in ("pam", "cam") for row in rows[:1])]


def _presence_rows(part: Part, on: str) -> list[Row]:
    """EncNet's: which classes an image holds."""
    rows = rows_of(part, on)
    loss = part.part("loss_se_decode", {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.2})
    loss.same("type", "CrossEntropyLoss")
    loss.same("use_sigmoid", True, stated=True)
    weight = loss.number("loss_weight", 1.0)
    loss.done(" of EncHead")
    return [*rows, {"type": "ClassPresence", "on": "presence", "target": "mask", "weight": weight}]


def _detail_rows(part: Part, on: str) -> list[Row]:
    """STDC's detail head is trained by one loss, the sum of a cross entropy and a Dice loss of weight 1."""
    threshold = part.number("boundary_threshold", 0.1)
    losses = part.parts("loss_decode")
    found = [(loss.type(), loss.take("use_sigmoid", True), loss.number("loss_weight", 1.0)) for loss in losses]
    if found != [("CrossEntropyLoss", True, 1.0), ("DiceLoss", True, 1.0)]:
        raise part.refusal(
            "loss_decode", found, "segkit's is CrossEntropyLoss with use_sigmoid and DiceLoss, weights 1"
        )
    for loss in losses:
        loss.skip("loss_name")
        loss.done(" of STDCHead")
    row: Row = {"type": "Detail", "on": on.replace(".logits", ".detail"), "train_ignored": True}
    return [row if threshold == 0.1 else {**row, "threshold": threshold}]


def _point_rows(part: Part, on: str) -> list[Row]:
    """PointRend's, at the points that training chooses."""
    made = []
    for row in rows_of(part, on):
        place: Row = {key: row[key] for key in ("target", "weight") if key in row}
        inner = {key: value for key, value in row.items() if key not in ("on", "target", "weight")}
        made.append({"type": "AtPoints", "loss": inner, "on": ["points.logits", "points.places"], **place})
    return made


ROWS: dict[str, Callable[[Part, str], list[Row]]] = {
    "STDCHead": _detail_rows,
    "DAHead": _attention_rows,
    "EncHead": _presence_rows,
    "PointHead": _point_rows,
}
"""Losses that are not those of loss_decode alone; each takes the head and the output that they train."""
