"""Label errors of sets of objects, from the objects that a network finds. n labelled and m found objects, K classes.

A class's usual confidence t_k is the mean score of the best found object of class k at each labelled one (IoU of 0.5 or
more): a found object's certainty is min(1, score / t_k). The idea of a score for each kind of error is ObjectLab's,
Tkachenko, Thyagarajan and Mueller, 2023, https://arxiv.org/abs/2309.00832; the formulas are this module's.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from segkit.audit.alignment import align
from segkit.audit.findings import BOUNDARY, MISSING, SPURIOUS, SWAPPED, WRONG, Box, Finding, ImageScore
from segkit.audit.label_maps import LEAST_CONFIDENCE, softmin
from segkit.audit.parts import grown
from segkit.audit.places import REACH
from segkit.types import RLE

MATCH = 0.5
"""IoU from which a found object is a labelled one."""

FEW = 5
"""Objects of a class below which its usual gain is not known."""


@dataclass(frozen=True)
class Objects:
    """Objects of an image.

    Attributes:
        boxes: float [n,4] x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
        labels: int [n], 0..K-1.
        masks: n run-length codes; None where objects are boxes alone.
        scores: float [n] in 0..1, 1 for labels.
        crowd: bool [n], of labels: whether it stands for several objects.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: Sequence[RLE] | None
    scores: np.ndarray
    crowd: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class _Matched(NamedTuple):
    """An image, its objects, and the IoU of each labelled with each found object, float [n,m]."""

    path: str
    size: tuple[int, int]
    labelled: Objects
    found: Objects
    ious: np.ndarray
    seen: bool | None


class ObjectAudit:
    """Takes in images one by one, and ranks their labels in the end.

    Args:
        classes: K names.
    """

    def __init__(self, classes: tuple[str, ...]):
        self.classes = classes
        self._images: list[_Matched] = []

    def add(
        self, path: str, size: tuple[int, int], labelled: Objects, found: Objects, *, seen: bool | None = False
    ) -> None:
        """Takes in an image.

        Args:
            path: of the image.
            size: (H, W).
            labelled: its labels.
            found: what the network found, with scores.
            seen: whether the network was trained on the image.
        """
        self._images.append(_Matched(path, size, labelled, found, overlaps(labelled, found), seen))

    def usual_confidence(self) -> np.ndarray:
        """Returns t_k, float [K]; 1 where no labelled object of the class was found."""
        scores: dict[int, list[float]] = defaultdict(list)
        for image in self._images:
            for i, label in enumerate(image.labelled.labels.tolist()):
                same = (image.found.labels == label) & (image.ious[i] >= MATCH)
                if same.any() and not image.labelled.crowd[i]:
                    scores[label].append(float(image.found.scores[same].max()))
        means = [np.mean(scores[k]) if scores[k] else 1.0 for k in range(len(self.classes))]
        return np.maximum(np.array(means, np.float64), LEAST_CONFIDENCE)

    def findings(self) -> list[Finding]:
        """Returns the labels that the evidence is against, the strongest first."""
        usual = self.usual_confidence()
        found: list[Finding] = []
        for image in self._images:
            certain = np.minimum(image.found.scores / usual[image.found.labels], 1)
            swapped, pairs = self._swapped(image, certain)
            found += swapped + self._missing(image, certain) + self._labelled(image, certain, pairs)
        found += self._outlines(usual)
        kept = [finding for finding in found if finding.score > 0.5]
        return sorted(kept, key=lambda finding: (-finding.score, finding.image, finding.box))

    def image_scores(self) -> list[ImageScore]:
        """Returns the quality of each image's labels, the worst first: the softmin over its objects.

        Of a labelled object it is the largest certainty x IoU of a found one of its class; of a found one that is not
        labelled it is 1 - certainty.
        """
        usual = self.usual_confidence()
        scores = []
        for image in self._images:
            certain = np.minimum(image.found.scores / usual[image.found.labels], 1)
            values = [
                float((certain * image.ious[i] * (image.found.labels == label)).max(initial=0))
                for i, label in enumerate(image.labelled.labels.tolist())
                if not image.labelled.crowd[i]
            ]
            values += [1 - float(certain[j]) for j in _unlabelled(image)]
            scores.append(ImageScore(image.path, softmin(np.array(values)), image.seen))
        return sorted(scores, key=lambda score: score.quality)

    def _missing(self, image: _Matched, certain: np.ndarray) -> list[Finding]:
        """Found objects that nothing labelled overlaps: certainty x (1 - largest IoU)."""
        findings = []
        for j in _unlabelled(image):
            score = float(certain[j] * (1 - image.ious[:, j].max(initial=0)))
            seen = self.classes[image.found.labels[j]]
            findings.append(
                Finding(image.path, _box(image.found, j, image.size), MISSING, score, None, seen, image.seen)
            )
        return findings

    def _labelled(self, image: _Matched, certain: np.ndarray, pairs: set[tuple[int, int]]) -> list[Finding]:
        """Labelled objects of which nothing is found, or one of another class.

        Wrong class, where found objects of other classes fit (IoU >= 0.5): a / (a + b), a the largest certainty x IoU
        of these and b that of the own class. Else spurious: 1 - largest certainty x IoU of any found object.
        """
        findings = []
        for i, label in enumerate(image.labelled.labels.tolist()):
            if image.labelled.crowd[i]:
                continue
            evidence = certain * image.ious[i]
            is_own = image.found.labels == label
            place = (image.path, _box(image.labelled, i, image.size))
            # one of another class that overlaps a little says nothing about the class of this one
            is_match = ~is_own & (image.ious[i] >= MATCH)
            if is_match.any():
                best = int(np.where(is_match, evidence, -1).argmax())
                other = int(image.found.labels[best])
                if (label, other) not in pairs:
                    against, support = float(evidence[best]), float(evidence[is_own].max(initial=0))
                    score = against / max(against + support, 1e-9)
                    names = self.classes[label], self.classes[other]
                    findings.append(Finding(*place, WRONG, score, *names, image.seen))
                continue
            score = 1 - float(evidence.max(initial=0))
            findings.append(Finding(*place, SPURIOUS, score, self.classes[label], None, image.seen))
        return findings

    def _swapped(self, image: _Matched, certain: np.ndarray) -> tuple[list[Finding], set[tuple[int, int]]]:
        """Pairs of classes whose objects are all found as the other one.

        a / (a + b): a is the smaller of the two classes' mean certainty x IoU as the other class, b the larger of their
        means as their own class.
        """
        labels = image.labelled.labels
        evidence = certain[None] * image.ious
        means: dict[int, dict[int, float]] = {}
        for label in np.unique(labels[~image.labelled.crowd]).tolist():
            rows = evidence[(labels == label) & ~image.labelled.crowd]
            means[label] = {
                other: float((rows * (image.found.labels == other)).max(1, initial=0).mean())
                for other in np.unique(labels).tolist()
            }
        findings, pairs = [], set()
        for i in means:
            for j in means:
                against, support = min(means[i][j], means[j][i]), max(means[i][i], means[j][j])
                if i < j and against > support:
                    which = np.flatnonzero((labels == i) | (labels == j))
                    boxes = np.array([_box(image.labelled, int(k), image.size) for k in which])
                    box = (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())
                    names = self.classes[i], self.classes[j]
                    score = against / (against + support)
                    findings.append(Finding(image.path, box, SWAPPED, score, *names, image.seen))
                    pairs |= {(i, j), (j, i)}
        return findings, pairs

    def _outlines(self, usual: np.ndarray) -> list[Finding]:
        """Labelled objects whose outline fits the found one better once it is moved, grown or shrunk.

        0.5 + 0.5 x certainty x (gain of IoU - median gain of the class).
        """
        gains: dict[int, list[tuple[float, float, Finding]]] = defaultdict(list)
        for image in self._images:
            for i, label in enumerate(image.labelled.labels.tolist()):
                ious = np.where(image.found.labels == label, image.ious[i], 0)
                if image.labelled.crowd[i] or ious.max(initial=0) < 0.2:
                    continue
                best = int(ious.argmax())
                gain = _gain(image, i, best)
                certain = min(1.0, float(image.found.scores[best]) / usual[label])
                name = self.classes[label]
                box = _box(image.labelled, i, image.size)
                gains[label].append((gain, certain, Finding(image.path, box, BOUNDARY, 0.0, name, name, image.seen)))
        findings = []
        for of_class in gains.values():
            median = float(np.median([gain for gain, _, _ in of_class])) if len(of_class) >= FEW else 0.0
            for gain, certain, finding in of_class:
                score = 0.5 + 0.5 * certain * min(max(gain - median, 0), 1)
                findings.append(finding._replace(score=score))
        return findings


def overlaps(labelled: Objects, found: Objects) -> np.ndarray:
    """Returns the IoU of labelled and found objects, float [n,m]; of a crowd the share of the found one within it.

    Masks are compared where both sides have them, else boxes.
    """
    from pycocotools import mask as coco_mask

    if not len(labelled) or not len(found):
        return np.zeros((len(labelled), len(found)))
    sides: list[list] = []
    for objects in (found, labelled):
        if labelled.masks is not None and found.masks is not None:
            assert objects.masks is not None
            sides.append(list(objects.masks))
        else:
            boxes = np.asarray(objects.boxes, np.float64)
            sides.append(np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist())
    return np.asarray(coco_mask.iou(*sides, [int(crowd) for crowd in labelled.crowd])).reshape(len(found), -1).T


def _unlabelled(image: _Matched) -> list[int]:
    """Found objects that fit no labelled one, and no better one of the found."""
    found = image.found
    among = overlaps(replace(found, crowd=np.zeros(len(found), bool)), found)
    kept: list[int] = []
    for j in np.argsort(-found.scores, kind="stable").tolist():
        if image.ious[:, j].max(initial=0) < MATCH and not any(among[k, j] >= MATCH for k in kept):
            kept.append(j)
    return kept


def _box(objects: Objects, index: int, size: tuple[int, int]) -> Box:
    """The box of an object in whole pixels, within an image of size (H, W)."""
    x0, y0, x1, y1 = objects.boxes[index].tolist()
    return grown((int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))), 0, size)


def _gain(image: _Matched, labelled: int, found: int) -> float:
    """By how much the IoU of a labelled with a found object grows by a change of the outline."""
    height, width = image.size
    first, second = _box(image.labelled, labelled, image.size), _box(image.found, found, image.size)
    reach = max(2.0, REACH * ((first[2] - first[0]) * (first[3] - first[1])) ** 0.5)
    around = (min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3]))
    box = grown(around, int(np.ceil(reach)), (height, width))
    has_masks = image.labelled.masks is not None and image.found.masks is not None
    masks = [
        _drawn(objects, index, box, has_masks) for objects, index in ((image.labelled, labelled), (image.found, found))
    ]
    fit = align(masks[0], masks[1].astype(np.float32), reach)
    return max(fit.moved, fit.sized) - fit.before


def _drawn(objects: Objects, index: int, box: Box, has_masks: bool) -> np.ndarray:
    """The mask of an object, or its filled box, within a box, bool."""
    from pycocotools import mask as coco_mask

    x0, y0, x1, y1 = box
    if has_masks and objects.masks is not None:
        return coco_mask.decode(objects.masks[index])[y0:y1, x0:x1] > 0
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    left, top, right, bottom = np.rint(objects.boxes[index]).astype(int).tolist()
    mask[max(top - y0, 0) : max(bottom - y0, 0), max(left - x0, 0) : max(right - x0, 0)] = True
    return mask
