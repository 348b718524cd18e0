"""mmsegmentation's losses as rows of section `losses`."""

from collections.abc import Callable, Mapping
from typing import Any

from segkit.migrate.part import Part, look_up

Row = dict[str, Any]


def rows_of(head: Part, on: str) -> list[Row]:
    """Takes `loss_decode` and `sampler` of a head.

    Args:
        head: the head.
        on: the output that its losses train, "aux0.logits".

    Returns:
        Rows of section `losses`.
    """
    sampler = head.part("sampler") if head.has("sampler") else None
    head.skip("sampler")
    rows = [row_of(loss, on) for loss in head.parts("loss_decode")]
    rows = rows or [dict(type="CrossEntropy", average="all", on=on, target="mask")]
    return [_of_hard_pixels(sampler, row) if sampler else row for row in rows]


def row_of(loss: Part, on: str, table: Mapping[str, Callable[[Part], Row]] | None = None) -> Row:
    """Takes one loss.

    Args:
        loss: it.
        on: the output that it trains.
        table: losses that it may be; None for LOSSES.
    """
    name = loss.type()
    made = look_up(LOSSES if table is None else table, name, loss, "loss")(loss)
    if not str(loss.take("loss_name", "loss_")).startswith("loss_"):
        raise loss.refusal("loss_name", name, "names without 'loss_' before them are not trained; take the loss out")
    loss.same("reduction", "mean")
    weight = loss.number("loss_weight", 1.0)
    loss.done(f" of {name}")
    return {**made, "on": on, "target": "mask", **({} if weight == 1 else {"weight": float(weight)})}


def _class_weight(loss: Part) -> dict[str, Any]:
    if isinstance(loss.values.get("class_weight"), str):
        value = loss.values["class_weight"]
        raise loss.refusal("class_weight", value, "is a file; write its numbers there")
    if not loss.has("class_weight"):
        loss.skip("class_weight")
        return {}
    return {"class_weight": list(loss.numbers("class_weight"))}


def _cross_entropy(loss: Part) -> Row:
    """Sums over all pixels are divided by all, ignored ones too, unless avg_non_ignore; by the weights where given."""
    weights = _class_weight(loss)
    average = {"average": "all"} if not loss.take("avg_non_ignore", False) and not weights else {}
    loss.same("use_mask", False)
    if not loss.take("use_sigmoid", False):
        return {"type": "CrossEntropy", **weights, **average}
    if weights:
        raise loss.refusal("class_weight", weights["class_weight"], "segkit's binary cross entropy has no such weights")
    return {"type": "BinaryCrossEntropy", **average}


def _hard_cross_entropy(loss: Part) -> Row:
    inner = {"type": "CrossEntropy", **_class_weight(loss)}
    loss.same("ignore_label", 255)
    return {
        "type": "OHEM",
        "loss": inner,
        "threshold": loss.number("thres", 0.7),
        "min_kept": loss.number("min_kept", 100000),
    }


def _dice(loss: Part) -> Row:
    is_naive, eps = loss.take("naive_dice", False), loss.number("eps", 1e-3)
    loss.same("activate", True)
    # the number of the label that is ignored removes the channel of that number, and there is none
    loss.same("ignore_index", 255, None)
    if loss.take("use_sigmoid", True):
        activation = {"activation": "sigmoid"}
    else:
        activation = {}
    form = {"smooth": eps, "eps": 0.0} if is_naive else {"squared": True, "eps": 2 * eps}
    return {
        "type": "Dice",
        **activation,
        **form,
        "per_image": True,
        "joint": True,
        "mask_ignored": False,
        "absent": "count",
    }


def _tversky(loss: Part) -> Row:
    loss.same("ignore_index", 255)
    return {
        "type": "Tversky",
        "alpha": loss.number("alpha", 0.3),
        "beta": loss.number("beta", 0.7),
        "smooth": loss.number("smooth", 1),
        "per_image": True,
        "absent": "count",
        **_class_weight(loss),
    }


def _lovasz(loss: Part) -> Row:
    loss.same("loss_type", "multi_class")
    classes = loss.take("classes", "present")
    if classes not in ("present", "all"):
        raise loss.refusal("classes", classes, "must be 'present' or 'all'")
    per_image = loss.take("per_image", False)
    if not per_image:
        loss.same("reduction", "none", stated=True)
    return {
        "type": "LovaszSoftmax",
        **({"per_image": True} if per_image else {}),
        **({"only_present": False} if classes == "all" else {}),
        **_class_weight(loss),
    }


def _focal(loss: Part) -> Row:
    loss.same("use_sigmoid", True)
    weights = _class_weight(loss)
    return {
        "type": "SigmoidFocal",
        "gamma": loss.number("gamma", 2.0),
        "alpha": loss.take("alpha", 0.5),
        **weights,
        "average": "all",
    }


LOSSES: dict[str, Callable[[Part], Row]] = {
    "CrossEntropyLoss": _cross_entropy,
    "OhemCrossEntropy": _hard_cross_entropy,
    "DiceLoss": _dice,
    "TverskyLoss": _tversky,
    "LovaszLoss": _lovasz,
    "FocalLoss": _focal,
}
"""mmsegmentation's losses; each takes its arguments and gives a row without `on`, `target` and `weight`."""


EDGE_LOSSES: dict[str, Callable[[Part], Row]] = {
    # its targets are boundaries of GenerateEdge's edge_width, 4
    "BoundaryLoss": lambda loss: {"type": "BoundaryBCE", "width": 4, "train_ignored": True, "average": "all"},
}
"""Losses of heads that predict boundaries."""


def _of_hard_pixels(sampler: Part, row: Row) -> Row:
    """The row over the pixels that OHEMPixelSampler chooses; `sampler` may serve several rows."""
    values = dict(sampler.values)
    if values.pop("type", None) != "OHEMPixelSampler" or row["type"] != "CrossEntropy":
        raise sampler.refusal(
            "type", sampler.values.get("type"), "segkit has OHEMPixelSampler for CrossEntropyLoss alone"
        )
    threshold, min_kept = values.pop("thresh", None), values.pop("min_kept", 100000)
    for key, value in values.items():
        raise sampler.refusal(key, value, "segkit has nothing for this key of OHEMPixelSampler; remove it")
    place: Row = {key: row[key] for key in ("on", "target", "weight") if key in row}
    inner = {key: value for key, value in row.items() if key not in place}
    return {
        "type": "OHEM",
        "loss": inner,
        "threshold": threshold,
        "min_kept": min_kept,
        "per_image": True,
        "average": "all",
        **place,
    }
