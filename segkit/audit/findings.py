"""What an audit of labels finds. K classes."""

from typing import NamedTuple, TypeAlias

Box: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the image, x1 and y1 exclusive."""

MISSING, SPURIOUS, WRONG, BOUNDARY, SWAPPED, REGION = (
    "missing",
    "spurious",
    "wrong_class",
    "boundary",
    "swapped",
    "region",
)

KINDS = {
    MISSING: "an object that the network sees and the labels lack",
    SPURIOUS: "a labelled object of which the network sees only what is around it",
    WRONG: "an object of another class than its label says",
    BOUNDARY: "a label that fits what the network sees better once it is moved, grown or shrunk",
    SWAPPED: "two classes of an image, each of which the network sees where the other is labelled",
    REGION: "a part of a labelled area that the network sees as another class",
}
"""Kinds of findings by their names in audit.json, and what each means."""


class Finding(NamedTuple):
    """A label with evidence against it.

    Attributes:
        image: path of the image's file.
        box: around the place in question.
        kind: one of KINDS.
        score: in 0..1, the evidence against the label; only places with more evidence against it than for it are found.
        label: class of the label, None where none is labelled (a missing object of an instance set).
        predicted: class that the network sees, None where it sees no object.
        seen: whether a network that judged the image was trained on it, None where that is not known.
    """

    image: str
    box: Box
    kind: str
    score: float
    label: str | None
    predicted: str | None
    seen: bool | None = False


class ImageScore(NamedTuple):
    """How well the labels of a whole image agree with the predictions.

    Attributes:
        image: path of the image's file.
        quality: in 0..1, the lowest is the worst.
        seen: as of Finding.
    """

    image: str
    quality: float
    seen: bool | None = False
