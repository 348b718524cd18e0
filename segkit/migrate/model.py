"""Section `model` and the rows of its losses from mmsegmentation's `model`."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from segkit.migrate.decoders import DECODERS
from segkit.migrate.encoders import encoder_for, migrate_encoder, preprocessing
from segkit.migrate.heads import Decoder, migrate_head
from segkit.migrate.losses import Row
from segkit.migrate.optimizer import Names
from segkit.migrate.part import Part, look_up
from segkit.migrate.tables import NECKS
from segkit.migrate.translate import Encoder, translated
from segkit.registry import HEADS as OUR_HEADS
from segkit.registry import NECKS as OUR_NECKS


class Network(NamedTuple):
    """What mmsegmentation's `model` becomes.

    Attributes:
        model: section `model`.
        losses: section `losses`.
        inference: section `inference`.
        notes: sentences on what differs.
        freeze: optimizer.freeze.
        names: by which the optimizer finds parameters.
    """

    model: dict[str, Any]
    losses: list[Row]
    inference: dict[str, Any]
    notes: list[str]
    freeze: tuple[str, ...]
    names: Names


def migrate_model(model: Part) -> Network:
    """Translates mmsegmentation's `model`.

    Raises:
        ConfigError: it has what segkit has not; the message names the key.
    """
    kind = model.type()
    look_up({"EncoderDecoder": 1, "CascadeEncoderDecoder": 2}, kind, model, "segmentor")
    notes: list[str] = []
    encoder = migrate_encoder(model.part("backbone"), model.take("pretrained", None), notes)
    section, levels, neck = dict(encoder.section), encoder.levels, encoder.neck
    inference: dict[str, Any] = {}
    if model.has("data_preprocessor"):
        statistics, inference = preprocessing(model.part("data_preprocessor"), section)
        section |= statistics
    if model.has("neck"):
        neck, levels = _neck(model.part("neck"), levels)
    train, test = model.part("train_cfg", {}), model.part("test_cfg", {})
    heads = model.parts("decode_head")
    if kind == "CascadeEncoderDecoder":
        model.same("num_stages", len(heads))
        decoder = _cascade(heads, levels, train, test)
    elif len(heads) == 1:
        name = str(heads[0].values.get("type")).removeprefix("mmseg.")
        decoder = DECODERS.get(name, migrate_head)(heads[0], levels, "logits")
    else:
        raise model.refusal("decode_head", f"{len(heads)} heads", "an EncoderDecoder has one")
    notes += decoder.notes
    aux, rows = list(decoder.aux), list(decoder.rows)
    for part in model.parts("auxiliary_head"):
        extra = migrate_head(part, levels, f"aux{len(aux)}.logits")
        if extra.num_classes != decoder.num_classes and extra.head["type"] != "DetailHead":
            raise part.refusal("num_classes", extra.num_classes, f"must be {decoder.num_classes}, as the decode head's")
        if extra.align_corners != decoder.align_corners:
            corners = extra.align_corners
            notes.append(
                f"aux.{len(aux)}: align_corners = {corners}, as the head's; a model has one value for all its heads"
            )
        aux.append(extra.head)
        rows += extra.rows
    train.same("sampler", None)
    train.done()
    inference |= _inference(test)
    model.skip("train_cfg", "test_cfg", "init_cfg", "neck", "auxiliary_head")
    model.done()
    made: dict[str, Any] = {"num_classes": decoder.num_classes, "backbone": encoder_for(section, decoder.head)}
    made |= {"neck": decoder.neck or neck} if decoder.neck or neck else {}
    made |= {"head": decoder.head}
    made |= {"aux": aux} if aux else {}
    made |= {"align_corners": True} if decoder.align_corners else {}
    return Network(made, rows, inference, notes, encoder.freeze, _names(model, encoder, decoder))


def _names(model: Part, encoder: Encoder, decoder: Decoder) -> Names:
    """What mmsegmentation's optimizer calls the parts of the model."""
    values = model.values["backbone"]
    kind = str(values["type"]).rpartition(".")[2]
    depths = tuple(values.get("depths", (2, 2, 6, 2))) if kind == "SwinTransformer" else ()
    parts = "|".join(["head", *(["aux"] if decoder.aux else []), *(["neck"] if decoder.neck else [])])
    backbone = "backbone|neck" if encoder.neck else "backbone"
    return Names(kind, depths, values.get("num_layers", 12), parts, backbone)


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


def _cascade(heads: list[Part], levels: Sequence[int], train: Part, test: Part) -> Decoder:
    """OCRNet and PointRend: a coarse head and one that refines it become one head."""
    kinds = [str(head.values.get("type")).removeprefix("mmseg.") for head in heads]
    if kinds not in (["FCNHead", "OCRHead"], ["FPNHead", "PointHead"]):
        raise heads[0].refusal("type", kinds, "segkit's cascades are FCNHead with OCRHead, and FPNHead with PointHead")
    is_ocr = kinds[1] == "OCRHead"
    first = migrate_head(heads[0], levels, "coarse.logits" if is_ocr else "logits")
    last = migrate_head(heads[1], levels, "logits")
    for key, value in (("num_classes", last.num_classes), ("align_corners", last.align_corners)):
        found = {"num_classes": first.num_classes, "align_corners": first.align_corners}[key]
        if found != value:
            raise heads[0].refusal(key, found, f"must be {value}, as the last head's")
    coarse, head = first.head, last.head
    if is_ocr:
        return last._replace(head=_with_coarse_fcn(head, coarse, heads[0]), rows=[*last.rows, *first.rows])
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
    return last._replace(head=head, rows=[*first.rows, *last.rows])


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
