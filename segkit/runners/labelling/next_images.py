"""Chooses what to label next, and writes it down: a list, JSON that segkit annotate opens, and a page of pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from segkit.data.files.name_list import list_text
from segkit.files import write_whole
from segkit.ops.self_training.choice import UncertainBox, choose
from segkit.runners.labelling.drafts import Pictures
from segkit.runners.labelling.looking import Look, Question
from segkit.viz.draw import to_rgb
from segkit.viz.errors import encoded, fitted
from segkit.viz.page.chosen import chosen_page
from segkit.viz.page.records import Card, Picture

LIST, FINDINGS, PAGE = "next.txt", "next.json", "next.html"
JOURNAL = "next.journal"
"""What an unfinished command has looked at; it goes when the images are chosen."""

THUMBNAIL = 320
"""Longer side of the pictures on the page, in pixels."""


class Pick(NamedTuple):
    """An image or a box that was chosen.

    Attributes:
        image: its number.
        uncertainty: of image or box, 0 to 1.
        rank: of the uncertainty among all that could be chosen, from 1.
        distance: see ops.self_training.choice.Chosen; NaN of a rule that looks at none.
        box: the box, None for the whole image.
        cost: pixels to label.
    """

    image: int
    uncertainty: float
    rank: int
    distance: float
    box: UncertainBox | None
    cost: int


def choose_images(looks: Mapping[int, Look], labelled: set[int], question: Question) -> list[Pick]:
    """Chooses images, or boxes where the question has a side.

    Args:
        looks: what was seen of each image, by its number.
        labelled: numbers of those that are labelled already, which are not chosen and count as covered.
        question: how many, and by which rule.

    Returns:
        In the order in which they were chosen; fewer than asked for where there are no more.
    """
    free = [index for index in looks if index not in labelled]
    if question.side is not None:
        boxes = [(index, box) for index in free for box in looks[index].boxes]
        boxes.sort(key=lambda pair: -pair[1].uncertainty)
        return [
            Pick(index, box.uncertainty, rank, math.nan, box, box.cost)
            for rank, (index, box) in enumerate(boxes[: question.count], 1)
        ]
    uncertainty = np.array([looks[index].uncertainty for index in free])
    ranks = np.empty(len(free), int)
    ranks[np.argsort(-uncertainty, kind="stable")] = np.arange(1, len(free) + 1)
    features = np.stack([looks[index].features for index in free])
    known = [looks[index].features for index in looks if index in labelled and looks[index].features.size]
    covered = np.stack(known) if known else np.zeros((0, features.shape[1]), np.float32)
    picks = []
    for chosen in choose(uncertainty, features, covered, question.count, question.rule, factor=question.factor):
        height, width = looks[free[chosen.item]].size
        values = float(uncertainty[chosen.item]), int(ranks[chosen.item])
        picks.append(Pick(free[chosen.item], *values, chosen.distance, None, height * width))
    return picks


def reason_of(pick: Pick, question: Question, total: int) -> str:
    """Returns why an image or box was chosen, as a sentence.

    Args:
        pick: the image or box.
        question: how it was chosen.
        total: images or boxes that could be chosen.
    """
    unsure = f"{question.measure} {pick.uncertainty:.4f}, number {pick.rank} of {total} by uncertainty"
    if math.isnan(pick.distance):
        return unsure
    if math.isinf(pick.distance):
        return f"{unsure}; the first one, as nothing is labelled yet"
    return f"{unsure}; {pick.distance:.4g} from the nearest image that is labelled or chosen"


def write_choice(
    folder: Path, picks: Sequence[Pick], looks: Mapping[int, Look], pictures: Pictures, question: Question, total: int
) -> None:
    """Writes next.txt, next.json and next.html.

    Args:
        folder: takes the files.
        picks: what was chosen, in its order.
        looks: what was seen of each image, by its number.
        pictures: the images.
        question: how they were chosen.
        total: images or boxes that could be chosen.
    """
    names = list(dict.fromkeys(pictures.files[pick.image] for pick in picks))
    findings = [
        {
            "image": pictures.files[pick.image],
            "box": None if pick.box is None else list(pick.box[:4]),
            "kind": "uncertain image" if pick.box is None else "uncertain region",
            "score": round(pick.uncertainty, 6),
            "class": None,
            "distance": round(pick.distance, 6) if math.isfinite(pick.distance) else None,
            "pixels": pick.cost,
            "reason": reason_of(pick, question, total),
        }
        for pick in picks
    ]
    content: dict[str, Any] = dict(rule=question.rule if question.side is None else "regions", measure=question.measure)
    content |= dict(pixels=sum(pick.cost for pick in picks), findings=findings)
    write_whole(folder / FINDINGS, json.dumps(content, indent=1) + "\n")
    write_whole(folder / PAGE, _page(picks, looks, pictures, question, total))
    # last: a list that is there is of a choice that is whole
    write_whole(folder / LIST, list_text(names))


def _page(
    picks: Sequence[Pick], looks: Mapping[int, Look], pictures: Pictures, question: Question, total: int
) -> bytes:
    rows = [
        (
            number,
            pictures.files[pick.image],
            100 * pick.uncertainty,
            pick.rank,
            pick.distance if math.isfinite(pick.distance) else None,
            pick.cost,
        )
        for number, pick in enumerate(picks, 1)
    ]
    by_image: dict[int, list[Pick]] = {}
    for pick in picks:
        by_image.setdefault(pick.image, []).append(pick)
    top = max((int(looks[index].heat.max(initial=0)) for index in by_image), default=0) / 255
    cards = [_card(looks[i], pictures, i, mine, question, total, top) for i, mine in by_image.items()]
    noun = "images" if question.side is None else "regions"
    subtitle = f"{len(picks)} of {total:,} {noun}, {sum(pick.cost for pick in picks):,} pixels to label"
    return chosen_page(subtitle, _rule_of(question, top), rows, cards).encode("utf-8", "replace")


def _rule_of(question: Question, top: float) -> str:
    """The rule in sentences."""
    candidates = f"the {question.factor:g} x {question.count} most uncertain images"
    ways = {
        "uncertain": "The most uncertain images.",
        "diverse": "One by one the image that is the farthest from all that are labelled or chosen.",
        "both": f"Among {candidates}, one by one the farthest from all that are labelled or chosen.",
    }
    way = ways[question.rule]
    if question.side is not None:
        way = (
            f"The most uncertain squares of {question.side} pixels, at most {question.per_image} of an image, by "
            "uncertainty for each pixel to label."
        )
    return (
        f"{way} Uncertainty is the mean of the pixels' ({question.measure}); yellow is {100 * top:.0f} % in the "
        "pictures. Distances are between the means of the encoder's deepest maps."
    )


def _card(
    look: Look, pictures: Pictures, index: int, picks: list[Pick], question: Question, total: int, top: float
) -> Card:
    """The image and where the models are unsure, with the boxes."""
    image = to_rgb(pictures.images.read(index))
    small = fitted(image, THUMBNAIL)
    shape = (small.shape[1], small.shape[0])
    heat = cv2.resize(np.clip(look.heat / np.float32(255 * top or 1), 0, 1), shape, interpolation=cv2.INTER_LINEAR)
    colors = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_CIVIDIS)[..., ::-1]
    unsure = cv2.addWeighted(np.ascontiguousarray(colors), 0.8, small, 0.2, 0)
    scale = small.shape[1] / image.shape[1]
    for picture in (small, unsure):
        for box in (pick.box for pick in picks if pick.box is not None):
            start = (round(box.x0 * scale), round(box.y0 * scale))
            end = (round(box.x1 * scale) - 1, round(box.y1 * scale) - 1)
            cv2.rectangle(picture, start, end, (0, 0, 0), 4)
            cv2.rectangle(picture, start, end, (255, 255, 255), 2)
    shown = [
        Picture(title, encoded(picture), picture.shape[1], picture.shape[0])
        for title, picture in (("image", small), ("uncertainty", unsure))
    ]
    notes = "; ".join(reason_of(pick, question, total) for pick in picks)
    return Card((), pictures.files[index], notes, tuple(shown))
