"""Section `model` and the rows of its losses from mmsegmentation's `model`."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from segkit.migrate.encoders import migrate_encoder, preprocessing, translated
from segkit.migrate.losses import Row, rows_of
from segkit.migrate.part import Part, look_up
from segkit.migrate.tables import HEADS, NECKS, Kind
from segkit.registry import HEADS as OUR_HEADS
from segkit.registry import NECKS as OUR_NECKS


class Network(NamedTuple):
    """What mmsegmentation's `model` becomes.

    Attributes:
        model: section `model`.
        losses: section `losses`.
        inference: section `inference`.
        notes: sentences on what differs.
    """

    model: dict[str, Any]
    losses: list[Row]
    inference: dict[str, Any]
    notes: list[str]


def migrate_model(model: Part) -> Network:
    """Translates mmsegmentation's `model`.

    Raises:
        ConfigError: it has what segkit has not; the message names the key.
    """
    kind = model.type()
    look_up({"EncoderDecoder": 1, "CascadeEncoderDecoder": 2}, kind, model, "segmentor")
    notes: list[str] = []
    encoder = migrate_encoder(model.part("backbone"), model.take("pretrained", None), notes)
    section, levels, neck = encoder
    if model.has("data_preprocessor"):
        section |= preprocessing(model.part("data_preprocessor"))
    if model.has("neck"):
        neck, levels = _neck(model.part("neck"), levels)
    train, test = model.part("train_cfg", {}), model.part("test_cfg", {})
    heads = model.parts("decode_head")
    if kind == "CascadeEncoderDecoder":
        model.same("num_stages", len(heads))
        head, rows, num_classes, corners = _cascade(heads, levels, train, test)
    elif len(heads) == 1:
        head, rows, num_classes, corners = _head(heads[0], levels, "logits")
    else:
        raise model.refusal("decode_head", f"{len(heads)} heads", "an EncoderDecoder has one")
    aux = []
    for i, part in enumerate(model.parts("auxiliary_head")):
        extra, extra_rows, classes, extra_corners = _head(part, levels, f"aux{i}.logits")
        if classes != num_classes and extra["type"] != "DetailHead":
            raise part.refusal("num_classes", classes, f"must be {num_classes}, as the decode head's")
        if extra_corners != corners:
            notes.append(f"aux.{i}: align_corners = {corners}, as the head's; a model has one value for all its heads")
        aux.append(extra)
        rows += extra_rows
    train.same("sampler", None)
    train.done()
    inference = _inference(test)
    model.skip("train_cfg", "test_cfg", "init_cfg")
    model.done()
    made: dict[str, Any] = {"num_classes": num_classes, "backbone": section}
    made |= {"neck": neck} if neck else {}
    made |= {"head": head}
    made |= {"aux": aux} if aux else {}
    made |= {"align_corners": True} if corners else {}
    return Network(made, rows, inference, notes)


def _neck(part: Part, levels: tuple[int, ...]) -> tuple[dict[str, Any], tuple[int, ...]]:
    name = part.type()
    kind = look_up(NECKS, name, part, "neck")
    part.same("align_corners", False)
    made = {"type": kind.type, **translated(part, kind, OUR_NECKS)}
    part.done(f" of {name}")
    count = part.values.get("num_outs", len(levels))
    if not isinstance(count, int) or not 0 < count < 100:
        raise part.refusal("num_outs", count, "must be the number of its maps")
    return made, tuple(range(-count, 0))


def _levels(part: Part, kind: Kind, levels: Sequence[int]) -> dict[str, Any]:
    """The maps that a head reads, from in_index."""
    index = part.take("in_index", -1)
    part.same("input_transform", None, "resize_concat", "multiple_select")
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
    }
    if not wanted[kind.levels]():
        raise part.refusal("in_index", index, f"segkit's {kind.type} cannot read these maps")
    if kind.levels == "lower":
        return {"low_level": chosen[0], "level": chosen[1]} if chosen != [-2, -1] else {}
    if kind.levels == "several":
        return {"levels": tuple(chosen)} if chosen != [-1] else {}
    if kind.levels == "one" and (len(chosen) > 1 or chosen != [-1]):
        return {"level": tuple(chosen) if len(chosen) > 1 else chosen[0]}
    return {}


def _head(part: Part, levels: Sequence[int], on: str) -> tuple[dict[str, Any], list[Row], int, bool]:
    """A head, the rows of its losses, its number of classes, and align_corners."""
    name = part.type()
    kind = look_up(HEADS, name, part, "head")
    num_classes = part.number("num_classes")
    part.same("out_channels", num_classes, None)
    part.same("threshold", None)
    part.same("ignore_index", 255)
    corners = bool(part.take("align_corners", False))
    made = {"type": kind.type, **_levels(part, kind, levels), **translated(part, kind, OUR_HEADS)}
    if "rates" in made or name in ("ASPPHead", "DepthwiseSeparableASPPHead"):
        made = _without_pointwise(made, part)
    if name != "PointHead":
        dropout = max(part.number("dropout_ratio", 0.1), 0.0)
        default = inspect.signature(OUR_HEADS.get(kind.type)).parameters["dropout"].default
        made |= {} if dropout == default else {"dropout": dropout}
    part.skip("dropout_ratio")
    if name == "PSAHead" and made.get("mask_size") == (97, 97):
        del made["mask_size"]
    rows = _detail_rows(part, on) if name == "STDCHead" else rows_of(part, on)
    if name == "DAHead":  # mmsegmentation trains the two attentions by the same loss
        rows += [{**row, "on": f"{branch}.logits"} for branch in ("pam", "cam") for row in rows[:1]]
    if name == "EncHead":
        rows += _presence_rows(part)
    if name == "PointHead":
        rows = _point_rows(rows)
    part.done(f" of {name}")
    return made, rows, num_classes, corners


def _without_pointwise(made: dict[str, Any], part: Part) -> dict[str, Any]:
    """ASPP's rates without the first, which is the 1x1 convolution."""
    rates = made.get("rates", (1, 12, 24, 36))
    if not isinstance(rates, tuple) or len(rates) < 2 or rates[0] != 1:
        raise part.refusal("dilations", rates, "must begin with 1, the 1x1 convolution, as segkit's ASPP")
    rest = {key: value for key, value in made.items() if key != "rates"}
    return rest if rates[1:] == (12, 24, 36) else {**rest, "rates": rates[1:]}


def _presence_rows(part: Part) -> list[Row]:
    loss = part.part("loss_se_decode", {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.2})
    loss.same("type", "CrossEntropyLoss")
    loss.same("use_sigmoid", True, stated=True)
    weight = loss.number("loss_weight", 1.0)
    loss.done(" of EncHead")
    return [{"type": "ClassPresence", "on": "presence", "target": "mask", "weight": weight}]


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


def _point_rows(rows: list[Row]) -> list[Row]:
    made = []
    for row in rows:
        place: Row = {key: row[key] for key in ("target", "weight") if key in row}
        inner = {key: value for key, value in row.items() if key not in ("on", "target", "weight")}
        made.append({"type": "AtPoints", "loss": inner, "on": ["points.logits", "points.places"], **place})
    return made


def _cascade(
    heads: list[Part], levels: Sequence[int], train: Part, test: Part
) -> tuple[dict[str, Any], list[Row], int, bool]:
    """OCRNet and PointRend: a coarse head and one that refines it become one head."""
    kinds = [str(head.values.get("type")).removeprefix("mmseg.") for head in heads]
    if kinds not in (["FCNHead", "OCRHead"], ["FPNHead", "PointHead"]):
        raise heads[0].refusal("type", kinds, "segkit's cascades are FCNHead with OCRHead, and FPNHead with PointHead")
    is_ocr = kinds[1] == "OCRHead"
    coarse, rows, classes, corners = _head(heads[0], levels, "coarse.logits" if is_ocr else "logits")
    head, more, num_classes, fine_corners = _head(heads[1], levels, "logits")
    if classes != num_classes:
        raise heads[0].refusal("num_classes", classes, f"must be {num_classes}, as the last head's")
    if fine_corners != corners:
        raise heads[0].refusal("align_corners", corners, f"must be {fine_corners}, as the last head's")
    if is_ocr:
        return _with_coarse_fcn(head, coarse, heads[0]), [*more, *rows], num_classes, corners
    head.pop("level", None)
    if coarse.get("channels", 128) != 128:
        head["coarse_channels"] = coarse["channels"]
    if coarse.get("dropout", 0.1) != 0:
        raise heads[0].refusal("dropout_ratio", coarse.get("dropout", 0.1), "PointRend's coarse head has none; set -1")
    defaults = inspect.signature(OUR_HEADS.get("PointRendHead")).parameters
    for section, theirs, ours in (
        (train, "num_points", "num_points"),
        (train, "oversample_ratio", "oversample"),
        (train, "importance_sample_ratio", "importance"),
        (test, "subdivision_steps", "subdivisions"),
        (test, "subdivision_num_points", "subdivision_points"),
    ):
        value = section.number(theirs)
        if value != defaults[ours].default:
            head[ours] = value
    test.same("scale_factor", 2)
    return head, [*rows, *more], num_classes, corners


def _with_coarse_fcn(head: dict[str, Any], coarse: dict[str, Any], part: Part) -> dict[str, Any]:
    """OCRHead with the arguments of the FCN head before it."""
    if coarse.get("num_convs", 1) != 1 or coarse.get("concat_input", False):
        raise part.refusal("num_convs", coarse, "OCRNet's coarse head has one convolution, and concat_input=False")
    level = coarse.get("level", -1)
    made = dict(head)
    made |= {"coarse_levels": level if isinstance(level, tuple) else (level,)} if level != -2 else {}
    made |= {"coarse_channels": coarse["channels"]} if coarse.get("channels", 256) != 256 else {}
    made |= {"coarse_kernel": coarse["kernel"]} if coarse.get("kernel", 3) != 3 else {}
    dropout, coarse_dropout = head.get("dropout", 0.1), coarse.get("dropout", 0.1)
    return made if dropout == coarse_dropout else {**made, "coarse_dropout": coarse_dropout}


def _inference(test: Part) -> dict[str, Any]:
    if test.take("mode", "whole") == "whole":
        test.skip("crop_size", "stride")  # count for sliding windows alone
        test.done()
        return {}
    made = {"mode": "slide", "crop": test.pair("crop_size"), "stride": test.pair("stride")}
    test.done()
    return made
