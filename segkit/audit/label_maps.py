"""Label errors of semantic maps, from the probabilities of a network. K classes, H W image.

A class's usual confidence t_k is the mean probability of class k over all pixels labelled k (Northcutt et al.,
Confident Learning, JAIR 2021, section 3.1): what a network says of a class is measured against it.
"""

from collections import defaultdict

import numpy as np

from segkit.audit.findings import BOUNDARY, MISSING, REGION, SWAPPED, Finding, ImageScore
from segkit.audit.places import MOSTLY, Candidate, JudgedMap, meet
from segkit.files import DataError

LEAST_SHARE = 0.0005
"""Share of an image that the smallest part has."""

CONFUSED = 0.02
"""Share of a class's pixels seen as another one, over the set, at which such a place has half its weight."""

LEAST_GAIN = 0.05
"""IoU that an outline must gain beyond what is usual."""

TEMPERATURE = 0.1
"""Of the softmin of pixels' scores."""

LEAST_CONFIDENCE = 0.05
"""Lower bound of the usual confidence of a class, which a network that never learned it may have."""


class LabelMapAudit:
    """Takes in images one by one, and ranks their labels in the end.

    Args:
        classes: K names.
        ignore: label of pixels that are not judged.
        least: pixels of the smallest part that is judged; None for 0.05 % of each image.
    """

    def __init__(self, classes: tuple[str, ...], ignore: int, least: int | None = None):
        self.classes, self.ignore, self.least = classes, ignore, least
        self._images: list[tuple[str, float, bool | None]] = []
        self._candidates: list[Candidate] = []
        self._sums, self._counts = np.zeros(len(classes)), np.zeros(len(classes))
        self._pairs = np.zeros((len(classes), len(classes)))

    def add(self, path: str, labels: np.ndarray, probabilities: np.ndarray, *, seen: bool | None = False) -> int:
        """Judges the labels of an image.

        Args:
            path: of the image.
            labels: integer [H,W], 0..K-1 or ignore.
            probabilities: float [K,H,W] in 0..1.
            seen: whether the network was trained on the image.

        Returns:
            The number of the image.

        Raises:
            DataError: the two do not fit.
        """
        if probabilities.shape != (len(self.classes), *labels.shape):
            raise DataError(
                f"{path}: probabilities of {tuple(probabilities.shape)} for labels of {labels.shape} and "
                f"{len(self.classes)} classes; predict with the same data set"
            )
        number = len(self._images)
        probabilities = np.asarray(probabilities, np.float32)
        is_valid = labels != self.ignore
        own = np.take_along_axis(probabilities, np.where(is_valid, labels, 0)[None].astype(np.int64), 0)[0]
        self._sums += np.bincount(labels[is_valid], own[is_valid], minlength=len(self.classes))
        self._counts += np.bincount(labels[is_valid], minlength=len(self.classes))
        pairs = labels[is_valid].astype(np.int64) * len(self.classes) + probabilities.argmax(0)[is_valid]
        self._pairs += np.bincount(pairs, minlength=self._pairs.size).reshape(self._pairs.shape)
        self._images.append((path, softmin(own[is_valid]), seen))
        image = JudgedMap(
            number, labels, probabilities, self.ignore, self.least or max(16, int(LEAST_SHARE * labels.size))
        )
        self._candidates += [*image.swapped(), *image.labelled(), *image.missing(), *image.regions()]
        return number

    def usual_confidence(self) -> np.ndarray:
        """Returns t_k, float [K]: the mean probability of each class where it is labelled; 1 where it never is."""
        known = self._counts > 0
        means = np.where(known, self._sums / np.maximum(self._counts, 1), 1.0)
        return np.maximum(means, LEAST_CONFIDENCE)

    def confusion(self) -> np.ndarray:
        """Returns the number of pixels that are labelled as one class and seen as another, float [K,K]."""
        return self._pairs

    def findings(self) -> list[Finding]:
        """Returns the places whose labels the evidence is against, the strongest first."""
        usual, confusion = self.usual_confidence(), self.confusion()
        swapped: dict[int, set[tuple[int, int]]] = defaultdict(set)
        scores = {}
        for place, candidate in enumerate(self._candidates):
            if candidate.kind != BOUNDARY:
                scores[place] = score_of(candidate, usual, confusion)
                if candidate.kind == SWAPPED and scores[place] > 0:
                    pair = (candidate.label, candidate.predicted)
                    swapped[candidate.number] |= {pair, pair[::-1]}
        scores |= self._boundary_scores()
        explained = self._explained(scores)
        found = []
        for place, score in scores.items():
            candidate = self._candidates[place]
            pair = (candidate.label, candidate.predicted)
            is_part_of_swap = candidate.kind != SWAPPED and pair in swapped[candidate.number]
            if score > 0 and not is_part_of_swap and place not in explained:
                path, _, seen = self._images[candidate.number]
                names = self.classes[candidate.label], self.classes[candidate.predicted]
                found.append(Finding(path, candidate.box, candidate.kind, score, *names, seen))
        return sorted(found, key=lambda finding: (-finding.score, finding.image, finding.box))

    def _explained(self, scores: dict[int, float]) -> set[int]:
        """Regions and rests of seen parts that an outline of the same class explains, which is in doubt itself."""
        outlines = defaultdict(list)
        for place, score in scores.items():
            candidate = self._candidates[place]
            if candidate.kind == BOUNDARY and score > 0:
                outlines[candidate.number].append(candidate)
        return {
            place
            for place in scores
            if ((region := self._candidates[place]).kind == REGION or (region.kind == MISSING and region.fit < MOSTLY))
            and any(
                outline.label in (region.label, region.predicted) and meet(outline.box, region.box)
                for outline in outlines[region.number]
            )
        }

    def _boundary_scores(self) -> dict[int, float]:
        """Gains of outlines beyond the median of their class and direction, since networks have habits of their own."""
        of_group = defaultdict(list)
        for place, candidate in enumerate(self._candidates):
            if candidate.kind == BOUNDARY:
                of_group[candidate.label, candidate.growth].append(place)
        scores = {}
        for places in of_group.values():
            gains = np.array([self._candidates[place].fit for place in places])
            usual = float(np.median(gains)) if len(gains) >= 5 else 0.0
            for place, gain in zip(places, gains.tolist()):
                if gain - usual >= LEAST_GAIN:
                    scores[place] = self._candidates[place].weight * min(gain - usual, 1.0)
        return scores

    def image_scores(self) -> list[ImageScore]:
        """Returns the quality of each image's labels, the worst first."""
        return sorted((ImageScore(*image) for image in self._images), key=lambda image: image.quality)


def softmin(scores: np.ndarray, temperature: float = TEMPERATURE) -> float:
    """Returns the mean of scores weighted towards the lowest ones: sum of s w, w = softmax((1 - s) / temperature).

    Args:
        scores: float [n] in 0..1, the probability of each pixel's label.
        temperature: towards 0 it becomes the minimum.

    Lad and Mueller, Estimating label quality and errors in semantic segmentation data via any model, 2023.
    """
    if not scores.size:
        return 1.0
    scores = scores.astype(np.float64)
    weights = np.exp((scores.min() - scores) / temperature)
    return float((scores * weights).sum() / weights.sum())


def evidence_of(candidate: Candidate, usual: np.ndarray) -> tuple[float, float]:
    """Returns a and b: what is seen against the label, and what supports it, by their usual confidence.

    Both are sums over classes; of two classes that are swapped a is the smaller and b the larger of the two.
    """
    against, support = candidate.against / usual, candidate.support / usual
    if candidate.kind == SWAPPED:
        pair = [candidate.label, candidate.predicted]
        return float(against[pair].min()), float(support[pair].max())
    return float(against.sum()), float(support.sum())


def score_of(candidate: Candidate, usual: np.ndarray, confusion: np.ndarray) -> float:
    """Returns min(1, a) x a / (a + b) x fit x weight x rarity; 0 where the evidence a does not exceed b.

    Rarity is CONFUSED / (CONFUSED + c): what a network confuses everywhere says little about one place. c is, in the
    whole set without this place, the share of the pixels of the labelled class that is seen as the other one, or that
    of the pixels seen as the other class that is labelled so, whichever is larger; of a missing object the first. Of
    swapped classes rarity is 1.

    Args:
        candidate: the place; a and b are those of evidence_of.
        usual: t_k, float [K].
        confusion: of LabelMapAudit.confusion.
    """
    a, b = evidence_of(candidate, usual)
    if a <= b:
        return 0.0
    often = 0.0
    if candidate.kind != SWAPPED:
        row, column = confusion[candidate.label], confusion[:, candidate.predicted]
        both = max(float(row[candidate.predicted]) - candidate.area, 0.0)
        # a missing object is always seen on a class that is hardly ever taken for its own
        total = float(row.sum()) if candidate.kind == MISSING else min(float(row.sum()), float(column.sum()))
        often = both / max(total - candidate.area, 1.0)
    return min(1.0, a) * a / (a + b) * candidate.fit * candidate.weight * CONFUSED / (CONFUSED + often)
