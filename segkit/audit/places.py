"""Places of a label map that may be wrong: what is labelled there, and what is seen. K classes, H W image."""

from typing import NamedTuple

import cv2
import numpy as np

from segkit.audit.alignment import align
from segkit.audit.findings import BOUNDARY, MISSING, REGION, SPURIOUS, SWAPPED, WRONG, Box
from segkit.audit.parts import Part, grown, parts_of, surrounding_labels, within

SMALL = 0.002
"""Share of an image at which a place has half its weight."""

OWN = 0.5
"""Share of a part that must be seen as another class, for a finding of its whole."""

SEEN = 0.3
"""Share of a labelled part that must be seen as its class, for its outline to be looked at."""

MOSTLY = 0.8
"""Share of a seen part from which it is not labelled as a whole."""

REACH = 0.4
"""Largest move of an outline, as a share of the root of the area."""

LARGEST = 0.25
"""Share of an image beyond which a part is a ground whose outline is not looked at."""

THICK = 0.25
"""Least half width of a region, as a share of the root of its area: thinner ones are outlines."""


class Candidate(NamedTuple):
    """A place whose score waits for the usual confidences.

    Attributes:
        number: of the image.
        box, kind: as of Finding.
        label, predicted: classes.
        against: float [K], the mean probability in the place of what the network sees there, by class.
        support: float [K], that of the labels there, by class.
        fit: in 0..1, how well what is seen and what is labelled are one object or none.
        growth: of an outline, the direction of its change: 1 larger, -1 smaller, 0 moved.
        area: pixels of the place.
        size: pixels of the image.
    """

    number: int
    box: Box
    kind: str
    label: int
    predicted: int
    against: np.ndarray
    support: np.ndarray
    fit: float = 1.0
    growth: int = 0
    area: int = 0
    size: int = 1

    @property
    def weight(self) -> float:
        """s / (s + SMALL), s the share of the image: a small place is easily a network's mistake."""
        share = self.area / self.size
        return share / (share + SMALL)


class JudgedMap:
    """An image that is judged."""

    def __init__(self, number: int, labels: np.ndarray, probabilities: np.ndarray, ignore: int, least: int):
        self.number, self.labels, self.probabilities = number, labels, probabilities
        self.ignore, self.least = ignore, least
        self.predicted = probabilities.argmax(0)
        self.is_valid = labels != ignore
        self.size = (labels.shape[0], labels.shape[1])

    def swapped(self) -> list[Candidate]:
        """Pairs of classes, each of which is seen where the other is labelled."""
        count = len(self.probabilities)
        areas = np.bincount(self.labels[self.is_valid], minlength=count)
        present = np.flatnonzero(areas >= self.least)
        means = {k: self.probabilities[:, self.labels == k].mean(1) for k in present.tolist()}
        found = []
        for i in means:
            for j in means:
                if i < j and means[i][j] > means[i][i] and means[j][i] > means[j][j]:
                    against, support = np.zeros((2, count))
                    against[[j, i]] = means[i][j], means[j][i]
                    support[[i, j]] = means[i][i], means[j][j]
                    box = box_of((self.labels == i) | (self.labels == j))
                    found.append(
                        Candidate(
                            self.number,
                            box,
                            SWAPPED,
                            i,
                            j,
                            against,
                            support,
                            1.0,
                            0,
                            int(areas[[i, j]].sum()),
                            self.labels.size,
                        )
                    )
        return found

    def labelled(self) -> list[Candidate]:
        """Labelled parts of which something else is seen, and those whose outlines are seen elsewhere."""
        found = []
        for label in np.unique(self.labels[self.is_valid]).tolist():
            for part in parts_of(self.labels == label, self.least):
                share = float((part.of(self.predicted)[part.mask] == label).mean())
                if share < OWN:
                    found += self._replaced(label, part)
                if share >= SEEN and part.area <= LARGEST * self.labels.size:
                    found.append(self._outline(label, part))
        return found

    def _replaced(self, label: int, part: Part) -> list[Candidate]:
        """A part that is not seen: what is around goes on in it, or another class is there."""
        inside = part.of(self.probabilities)[:, part.mask]
        means = inside.mean(1)
        support = np.zeros(len(means))
        support[label] = means[label]
        others = np.where(np.arange(len(means)) == label, -1, means)
        best = int(others.argmax())
        around = surrounding_labels(self.labels, part, self.ignore)
        ground = np.zeros(len(means))
        if around is not None:
            at = around[part.mask].astype(np.int64)
            np.add.at(ground, at, np.take_along_axis(inside, at[None], 0)[0])
            ground /= part.area
            ground[label] = 0
        place = (self.number, part.box)
        if ground.sum() >= 0.5 * others[best]:
            return [
                Candidate(
                    *place, SPURIOUS, label, int(ground.argmax()), ground, support, 1.0, 0, part.area, self.labels.size
                )
            ]
        against = np.zeros(len(means))
        against[best] = means[best]
        fit = min(1.0, float((part.of(self.predicted)[part.mask] == best).mean()) / OWN)
        return [Candidate(*place, WRONG, label, best, against, support, fit, 0, part.area, self.labels.size)]

    def _outline(self, label: int, part: Part) -> Candidate:
        reach = max(2.0, REACH * part.area**0.5)
        box = grown(part.box, int(np.ceil(reach)), self.size)
        mask = within(part, box)
        crop = (slice(box[1], box[3]), slice(box[0], box[2]))
        seen = self.probabilities[label][crop].copy()
        # what is labelled elsewhere of the class, and what is not judged, is not this part's
        seen[((self.labels[crop] == label) | ~self.is_valid[crop]) & ~mask] = 0
        found = align(mask, seen, reach)
        best = max(found.moved, found.sized)
        gain = (best - found.before) * best
        growth = 0 if found.moved >= found.sized else int(np.sign(found.growth))
        none = np.zeros(len(self.probabilities))
        return Candidate(
            self.number, part.box, BOUNDARY, label, label, none, none, gain, growth, part.area, self.labels.size
        )

    def missing(self) -> list[Candidate]:
        """Parts that are seen as a class that is not labelled there, where the label goes on around them."""
        found = []
        for label in np.unique(self.predicted[self.is_valid]).tolist():
            is_seen = (self.predicted == label) & self.is_valid
            for part in parts_of(is_seen & (self.labels != label), self.least):
                share = part.area / self._whole(is_seen, part)
                if share < SEEN or (share < MOSTLY and not is_thick(part)):
                    continue
                labels = part.of(self.labels)[part.mask].astype(np.int64)
                inside = part.of(self.probabilities)[:, part.mask]
                support, against = np.zeros((2, len(inside)))
                np.add.at(support, labels, np.take_along_axis(inside, labels[None], 0)[0])
                support /= part.area
                against[label] = inside[label].mean()
                most = int(np.bincount(labels).argmax())
                fit = share * self._open(part)
                found.append(
                    Candidate(
                        self.number,
                        part.box,
                        MISSING,
                        most,
                        label,
                        against,
                        support,
                        fit,
                        0,
                        part.area,
                        self.labels.size,
                    )
                )
        return found

    def regions(self) -> list[Candidate]:
        """Parts of larger labelled areas that are seen as parts of larger areas of another class."""
        found = []
        codes = np.where(self.is_valid, self.labels.astype(np.int64) * len(self.probabilities) + self.predicted, -1)
        for code, count in zip(*np.unique(codes[codes >= 0], return_counts=True)):
            label, predicted = divmod(int(code), len(self.probabilities))
            if label == predicted or count < self.least:
                continue
            for part in parts_of(codes == code, self.least):
                whole = (self._whole(self.labels == label, part), self._whole(self.predicted == predicted, part))
                if part.area > OWN * min(whole) or not is_thick(part):
                    continue
                inside = part.of(self.probabilities)[:, part.mask].mean(1)
                against, support = np.zeros((2, len(inside)))
                against[predicted], support[label] = inside[predicted], inside[label]
                found.append(
                    Candidate(
                        self.number,
                        part.box,
                        REGION,
                        label,
                        predicted,
                        against,
                        support,
                        1.0,
                        0,
                        part.area,
                        self.labels.size,
                    )
                )
        return found

    def _whole(self, mask: np.ndarray, part: Part) -> int:
        """Pixels of the connected part of a mask that a smaller part lies in."""
        numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
        return int((numbers == part.of(numbers)[part.mask][0]).sum())

    def _open(self, part: Part) -> float:
        """Share of a seen part that belongs to labelled areas which go on beyond it."""
        labels = part.of(self.labels)
        box = grown(part.box, max(3, int(part.area**0.5) // 2), self.size)
        mask = within(part, box)
        around = self.labels[box[1] : box[3], box[0] : box[2]]
        share = 0.0
        for label in np.unique(labels[part.mask]).tolist():
            inside, outside = int((labels[part.mask] == label).sum()), int(((around == label) & ~mask).sum())
            if outside >= inside / 2:
                share += inside / part.area
        return share


def is_thick(part: Part) -> bool:
    """Returns whether a part is more than a band along an outline."""
    padded = np.pad(part.mask.astype(np.uint8), 1)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5).max()) >= THICK * part.area**0.5


def meet(first: Box, second: Box) -> bool:
    """Returns whether two boxes overlap."""
    return all(first[k] < second[k + 2] and second[k] < first[k + 2] for k in (0, 1))


def box_of(mask: np.ndarray) -> Box:
    """Returns the box around a mask, bool [H,W] with a pixel at least."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
