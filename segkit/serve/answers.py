"""Predictions as answers of a server: a label PNG, an overlay, JSON with masks, or probabilities. H W image."""

import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import cv2
import numpy as np

from segkit.data.files.run_lengths import decode_mask, encode_mask
from segkit.runners.instances.drawn import found_in
from segkit.serve.clicks import Clicked, ClickModel
from segkit.serve.predictor import Predictor
from segkit.types import (
    Color,
    InstancePrediction,
    MultiLabelPrediction,
    Prediction,
    SemanticPrediction,
    default_palette,
)
from segkit.viz import draw

FORMATS = {
    "png": "image/png",
    "overlay": "image/png",
    "rle": "application/json",
    "polygons": "application/json",
    "probabilities": "application/x-npy",
}
"""Forms of an answer, and their types of content."""

ACCEPTED = {"image/png": "png", "application/json": "rle", "application/x-npy": "probabilities"}
"""What the header Accept chooses."""


class Answer(NamedTuple):
    """The content of an answer, and its type."""

    content: bytes
    media_type: str


def formats_of(predictor: Predictor | ClickModel) -> list[str]:
    """Returns the forms that a model's predictions have; the first is the default."""
    if predictor.kind in ("semantic", "clicks"):
        return ["png", "rle", "polygons", "overlay", "probabilities"]
    if predictor.kind == "multi_label":
        return ["rle", "polygons", "overlay", "probabilities"]
    return ["rle", "polygons", "overlay"]


def answer(predictor: Predictor, prediction: Prediction, image: np.ndarray, form: str, least: float) -> Answer:
    """Writes a prediction.

    Args:
        predictor: that made it.
        prediction: of an image, as numpy arrays.
        image: [H,W,C], as read.
        form: one of FORMATS.
        least: of instances: the least score of those that are answered.
    """
    palette = colors_of(predictor)
    if form == "png":
        labels = np.asarray(cast(SemanticPrediction, prediction)["labels"])
        # of more than 256 classes a grey PNG of 16 bits
        content = draw.label_png(labels, palette) if labels.max(initial=0) < 256 else draw.png(labels.astype(np.uint16))
    elif form == "overlay":
        content = draw.png(_overlay(predictor, prediction, image, palette, least))
    elif form == "probabilities":
        content = _npy(np.asarray(cast(SemanticPrediction, prediction)["probabilities"]))
    else:
        rows = _rows(predictor, prediction, form == "polygons", least)
        content = json.dumps({"size": list(image.shape[:2]), **rows}).encode()
    return Answer(content, FORMATS[form])


def answer_clicks(clicked: Clicked, form: str) -> Answer:
    """Writes the answer to clicks; form: one of FORMATS. The PNG is grey, 255 on the object."""
    mask = clicked.mask
    if form == "png":
        content = draw.png(mask.astype(np.uint8) * 255)
    elif form == "overlay":
        content = draw.png(draw.overlay_masks(clicked.image, mask[None], default_palette(2)[1:]))
    elif form == "probabilities":
        content = _npy(clicked.probabilities)
    else:
        size, pixels = list(mask.shape), int(mask.sum())
        content = json.dumps({"size": size, "pixels": pixels, **_shape(mask, form == "polygons")}).encode()
    return Answer(content, FORMATS[form])


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(values, np.float32), allow_pickle=False)
    return file.getvalue()


def colors_of(predictor: Predictor | ClickModel) -> tuple[Color, ...]:
    """Returns the model's palette, or the default one of its kind: without black where there is no background."""
    if predictor.palette:
        return predictor.palette
    count = max(256, len(predictor.classes))
    return default_palette(count) if predictor.kind == "semantic" else default_palette(count + 1)[1:]


def _overlay(
    predictor: Predictor, prediction: Prediction, image: np.ndarray, palette: Sequence[Color], least: float
) -> np.ndarray:
    if predictor.kind == "semantic":
        labels = np.asarray(cast(SemanticPrediction, prediction)["labels"])
        return draw.overlay(draw.to_rgb(image), labels, palette)
    if predictor.kind == "multi_label":
        masks = np.asarray(cast(MultiLabelPrediction, prediction)["positive"])
        return draw.overlay_masks(image, masks, palette)
    found = found_in(prediction, least)
    return draw.draw_instances(
        draw.to_rgb(image),
        found.masks,
        found.labels,
        boxes=found.boxes,
        scores=found.scores,
        classes=predictor.classes,
        palette=palette,
    )


def _rows(predictor: Predictor, prediction: Prediction, has_polygons: bool, least: float) -> dict[str, Any]:
    """The JSON answer: "classes" with a mask each, or "instances" as COCO's results."""
    if predictor.kind == "instances":
        return {"instances": _instances(predictor, cast(InstancePrediction, prediction), has_polygons, least)}
    if predictor.kind == "semantic":
        labels = np.asarray(cast(SemanticPrediction, prediction)["labels"])
        masks = {int(label): labels == label for label in np.unique(labels)}
    else:
        positive = np.asarray(cast(MultiLabelPrediction, prediction)["positive"])
        masks = {k: mask for k, mask in enumerate(positive) if mask.any()}
    rows = []
    for label, mask in masks.items():
        name = predictor.classes[label] if label < len(predictor.classes) else str(label)
        rows.append({"label": label, "name": name, "pixels": int(mask.sum()), **_shape(mask, has_polygons)})
    return {"classes": rows}


def _instances(
    predictor: Predictor, prediction: InstancePrediction, has_polygons: bool, least: float
) -> list[dict[str, Any]]:
    rows = []
    columns = (np.asarray(prediction[key]).tolist() for key in ("scores", "labels", "boxes"))  # type: ignore[literal-required]
    for mask, score, label, (x0, y0, x1, y1) in zip(prediction["masks"], *columns):
        if score < least:
            continue
        name = predictor.classes[label] if label < len(predictor.classes) else str(label)
        box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
        shape = _shape(decode_mask(mask) > 0, True) if has_polygons else {"segmentation": _text(mask)}
        rows.append({"category_id": label + 1, "name": name, "score": round(score, 6), "bbox": box, **shape})
    return rows


def _shape(mask: np.ndarray, has_polygons: bool) -> dict[str, Any]:
    """A mask as COCO's run lengths, or as polygons: each a list of rings, the outer one first, then its holes."""
    if not has_polygons:
        return {"segmentation": _text(encode_mask(mask))}
    outlines, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for i, outline in enumerate(outlines):
        if tree[0][i][3] >= 0:
            continue  # a hole, which stands beside its outer ring
        rings, inner = [outline], int(tree[0][i][2])
        while inner >= 0:
            rings.append(outlines[inner])
            inner = int(tree[0][inner][0])
        polygons.append([ring.ravel().tolist() for ring in rings])
    return {"polygons": polygons}


def _text(code: dict) -> dict[str, Any]:
    """Run lengths as JSON holds them."""
    counts = code["counts"]
    return {
        "size": [int(side) for side in code["size"]],
        "counts": counts if isinstance(counts, str) else counts.decode(),
    }
