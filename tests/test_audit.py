"""Ranks of labels: errors put into maps and objects whose predictions are known are found, with kind, box and score."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.audit.alignment import align
from segkit.audit.findings import BOUNDARY, MISSING, REGION, SPURIOUS, SWAPPED, WRONG
from segkit.audit.label_maps import LabelMapAudit, softmin
from segkit.audit.objects import ObjectAudit, Objects, overlaps
from segkit.audit.parts import parts_of, surrounding_labels

CLASSES = ("ground", "sky", "car", "person")
SURE = 0.91
"""Probability of the true class; the other three have 0.03 each."""


def scene() -> np.ndarray:
    """Sky above ground, a car of 12 x 20 at (30, 10) and a person of 16 x 8 at (28, 60); uint8 [48,80]."""
    labels = np.zeros((48, 80), np.uint8)
    labels[:20] = 1
    labels[30:42, 10:30] = 2
    labels[28:44, 60:68] = 3
    return labels


def certain(truth: np.ndarray) -> np.ndarray:
    return np.where(truth[None] == np.arange(4)[:, None, None], SURE, 0.03).astype(np.float32)


def audited(labels: np.ndarray, clean: int = 3, ignore: int = 255) -> LabelMapAudit:
    """An image with these labels among clean ones, all judged by what is true."""
    audit = LabelMapAudit(CLASSES, ignore, 16)
    for number in range(clean):
        audit.add(f"clean{number}", scene(), certain(scene()))
    audit.add("changed", labels, certain(scene()))
    return audit


def without_car() -> np.ndarray:
    labels = scene()
    labels[labels == 2] = 0
    return labels


def with_person_in_the_sky() -> np.ndarray:
    labels = scene()
    labels[4:12, 40:46] = 3
    return labels


def car_called_person() -> np.ndarray:
    labels = scene()
    labels[labels == 2] = 3
    return labels


def car_moved() -> np.ndarray:
    labels = without_car()
    labels[32:44, 15:35] = 2
    return labels


def car_grown() -> np.ndarray:
    labels = scene()
    labels[27:45, 7:33] = 2
    return labels


def swapped_classes() -> np.ndarray:
    return np.array([1, 0, 2, 3], np.uint8)[scene()]


def ground_called_sky() -> np.ndarray:
    labels = scene()
    labels[20:46, 36:56] = 1
    return labels


@pytest.mark.parametrize(
    ("labels", "kind", "box", "label", "predicted"),
    [
        (without_car(), MISSING, (10, 30, 30, 42), "ground", "car"),
        (with_person_in_the_sky(), SPURIOUS, (40, 4, 46, 12), "person", "sky"),
        (car_called_person(), WRONG, (10, 30, 30, 42), "person", "car"),
        (car_moved(), BOUNDARY, (15, 32, 35, 44), "car", "car"),
        (car_grown(), BOUNDARY, (7, 27, 33, 45), "car", "car"),
        (swapped_classes(), SWAPPED, (0, 0, 80, 48), "ground", "sky"),
        (ground_called_sky(), REGION, (36, 20, 56, 46), "sky", "ground"),
    ],
)
def test_an_error_in_a_map_is_first_with_its_kind_and_place(labels, kind, box, label, predicted):
    findings = audited(labels).findings()
    assert findings[0][:3] == ("changed", box, kind)
    assert findings[0][4:] == (label, predicted, False)
    assert 0 < findings[0].score <= 1
    assert all(finding.image == "changed" for finding in findings), "clean labels are not doubted"
    assert len(findings) == 1


def test_clean_maps_give_no_finding_and_ignored_pixels_are_not_judged():
    assert audited(scene()).findings() == []
    labels = without_car()
    labels[30:42, 10:30] = 255
    assert audited(labels).findings() == []


def test_scores_of_maps_follow_their_formulas():
    audit = audited(without_car())
    ground, sky, car = 80 * 28 - 240 - 128, 80 * 20, 240
    # the ground of the changed image holds the 240 pixels of the car, with 0.03 each
    usual = [(4 * ground * SURE + car * 0.03) / (4 * ground + car), SURE, SURE, SURE]
    assert audit.usual_confidence() == pytest.approx(usual, abs=1e-6)
    a, b = SURE / usual[2], 0.03 / usual[0]
    # the car has 240 of 3840 pixels, and ground is seen as a car nowhere else
    weight = (240 / 3840) / (240 / 3840 + 0.002)
    assert audit.findings()[0].score == pytest.approx(min(1, a) * a / (a + b) * weight, abs=1e-6)
    # of a swap: the weaker direction against the stronger support; both classes have 3472 pixels
    swapped = audited(swapped_classes(), clean=1)
    usual = swapped.usual_confidence()
    mixed = [ground * SURE + sky * 0.03, sky * SURE + ground * 0.03]
    assert usual[:2] == pytest.approx([value / (ground + sky) for value in mixed], abs=1e-6)
    a, b = min(SURE / usual[1], SURE / usual[0]), max(0.03 / usual[0], 0.03 / usual[1])
    weight = (3472 / 3840) / (3472 / 3840 + 0.002)
    assert swapped.findings()[0].score == pytest.approx(min(1, a) * a / (a + b) * weight, abs=1e-6)


def test_what_is_confused_everywhere_ranks_lower():
    audit = LabelMapAudit(CLASSES, 255, 16)
    truth = scene()
    truth[22:26, 2:40] = 3  # 152 pixels of ground that are seen as a person in each image
    for number in range(3):
        audit.add(str(number), scene(), certain(truth))
    audit.add("changed", without_car(), certain(scene()))
    first, second, *_ = audit.findings()
    assert (first.image, first.predicted) == ("changed", "car")
    assert second.predicted == "person"
    # of the pixels labelled ground without this place two such places are seen as a person
    rarity = 0.02 / (0.02 + 2 * 152 / (4 * 1872 + 240 - 152))
    usual = audit.usual_confidence()
    a, b = SURE / usual[3], 0.03 / usual[0]
    weight = (152 / 3840) / (152 / 3840 + 0.002)
    assert second.score == pytest.approx(min(1, a) * a / (a + b) * weight * rarity, abs=1e-6)


def test_the_quality_of_an_image_is_the_softmin_of_its_pixels():
    weights = [math.exp((1 - score) / 0.1) for score in (0.9, 0.4, 0.4)]
    by_hand = (0.9 * weights[0] + 0.4 * weights[1] + 0.4 * weights[2]) / sum(weights)
    assert softmin(np.array([0.9, 0.4, 0.4])) == pytest.approx(by_hand)
    assert softmin(np.zeros(0)) == 1.0
    images = audited(without_car()).image_scores()
    assert images[0].image == "changed"
    assert images[-1].quality == pytest.approx(SURE)


def test_weaker_evidence_ranks_lower():
    audit = LabelMapAudit(CLASSES, 255, 16)
    for name, sure in (("weak", 0.5), ("strong", 0.9), ("clean", 0.9)):
        rest = (1 - sure) / 3
        probabilities = np.where(scene()[None] == np.arange(4)[:, None, None], sure, rest)
        audit.add(name, scene() if name == "clean" else without_car(), probabilities)
    assert [finding.image for finding in audit.findings()] == ["strong", "weak"]


def test_parts_and_what_lies_around_them():
    labels = np.zeros((8, 10), np.uint8)
    labels[:, 5:] = 1
    labels[2:6, 3:7] = 2
    (part,) = parts_of(labels == 2, 16)
    assert part.box == (3, 2, 7, 6)
    assert part.area == 16
    around = surrounding_labels(labels, part, 255)
    assert around[1:3].tolist() == [[0, 0, 1, 1]] * 2
    assert parts_of(labels == 2, 17) == []
    labels[labels != 2] = 255
    assert surrounding_labels(labels, part, 255) is None


def brute(mask: np.ndarray, seen: np.ndarray, steps: int) -> float:
    """The best soft IoU over all moves of at most `steps`, one by one."""
    best = 0.0
    for dy in range(-steps, steps + 1):
        for dx in range(-steps, steps + 1):
            if dy**2 + dx**2 <= steps**2:
                moved = (
                    cv2.warpAffine(mask.astype(np.uint8), np.float32([[1, 0, dx], [0, 1, dy]]), mask.shape[::-1]) > 0
                )
                inside = seen[moved].sum()
                best = max(best, inside / (mask.sum() + seen.sum() - inside))
    return best


def test_moves_and_growth_of_an_outline_equal_a_slow_search():
    seen = np.random.default_rng(0).random((30, 34)).astype(np.float32) * 0.2
    seen[10:20, 12:24] += 0.7
    mask = np.zeros((30, 34), bool)
    mask[13:23, 10:22] = True
    found = align(mask, seen, 5)
    assert found.before == pytest.approx(seen[mask].sum() / (120 + seen.sum() - seen[mask].sum()), rel=1e-5)
    assert found.moved == pytest.approx(brute(mask, seen, 5), rel=1e-5)
    square = np.zeros((30, 34), np.float32)
    square[8:22, 10:24] = 1
    small = np.zeros((30, 34), bool)
    small[10:20, 12:22] = True
    grown = align(small, square, 4)
    assert grown.before == pytest.approx(100 / 196)
    assert grown.growth == pytest.approx(2 / 10)
    assert grown.sized > 0.95
    assert align(np.zeros((4, 4), bool), np.ones((4, 4), np.float32), 2).moved == 0


# ---------------------------------------------------------------- objects


def objects(*entries: tuple, size: tuple[int, int] = (60, 80)) -> Objects:
    """entries: (x0, y0, x1, y1, label, score)."""
    masks = []
    for x0, y0, x1, y1, *_ in entries:
        mask = np.zeros(size, np.uint8, order="F")
        mask[y0:y1, x0:x1] = 1
        masks.append(coco_mask.encode(mask))
    table = np.array(entries, np.float64).reshape(-1, 6)
    return Objects(table[:, :4], table[:, 4].astype(int), masks, table[:, 5], np.zeros(len(table), bool))


TRUE = ((5, 10, 25, 40, 0, 1.0), (50, 20, 70, 50, 1, 1.0))
FOUND = ((5, 10, 25, 40, 0, 0.8), (50, 20, 70, 50, 1, 0.6))


def audited_objects(*labelled: tuple, found: tuple = FOUND) -> ObjectAudit:
    audit = ObjectAudit(("dog", "cat"))
    for number in range(6):
        audit.add(f"clean{number}", (60, 80), objects(*TRUE), objects(*FOUND))
    audit.add("changed", (60, 80), objects(*labelled), objects(*found))
    return audit


@pytest.mark.parametrize(
    ("labelled", "kind", "box", "label", "predicted", "score"),
    [
        ([TRUE[0]], MISSING, (50, 20, 70, 50), None, "cat", 1.0),
        ([*TRUE, (30, 2, 42, 14, 0, 1)], SPURIOUS, (30, 2, 42, 14), "dog", None, 1.0),
        ([(5, 10, 25, 40, 1, 1), TRUE[1]], WRONG, (5, 10, 25, 40), "cat", "dog", 1.0),
        # 20 x 30 pixels moved by 6: IoU 14 / 26 becomes 1
        ([(11, 10, 31, 40, 0, 1), TRUE[1]], BOUNDARY, (11, 10, 31, 40), "dog", "dog", 0.5 + 0.5 * 12 / 26),
        ([(5, 10, 25, 40, 1, 1), (50, 20, 70, 50, 0, 1)], SWAPPED, (5, 10, 70, 50), "dog", "cat", 1.0),
    ],
)
def test_an_error_among_objects_is_first_with_kind_place_and_score(labelled, kind, box, label, predicted, score):
    audit = audited_objects(*labelled)
    findings = audit.findings()
    assert findings[0][:3] == ("changed", box, kind)
    assert findings[0][4:] == (label, predicted, False)
    assert findings[0].score == pytest.approx(score, abs=1e-6)
    assert len(findings) == 1
    assert audit.image_scores()[0].image == "changed"


def test_certainty_of_objects_is_measured_against_their_class():
    audit = audited_objects(TRUE[0], found=(FOUND[0], (50, 20, 70, 50, 1, 0.3)))
    assert audit.usual_confidence() == pytest.approx([0.8, 0.6])
    # half as sure of the cat as usual, and nothing overlaps it: 0.3 / 0.6 x (1 - 0), not above 0.5
    assert audit.findings() == []
    audit = audited_objects(TRUE[0], found=(FOUND[0], (50, 20, 70, 50, 1, 0.45)))
    assert audit.findings()[0].score == pytest.approx(0.75)


def test_an_object_of_another_class_counts_where_it_fits():
    """The dog is found as a cat with a third of the usual certainty; a surer cat covers a smaller part of it."""
    found = (FOUND[1], (5, 10, 25, 28, 1, 0.2), (5, 28, 25, 40, 1, 0.6))
    audit = audited_objects(*TRUE, found=found)
    assert audit.usual_confidence() == pytest.approx([0.8, 0.6])
    scores = {finding.kind: finding.score for finding in audit.findings()}
    # nothing supports the dog; the surer cat, whose IoU is 12 / 30, fits no labelled object
    assert scores == pytest.approx({WRONG: 1, MISSING: 1 - 12 / 30})
    # once a dog is found on 8 / 30 of it: a = 0.2 / 0.6 x 18 / 30 is not above b = 8 / 30, as the surer cat's would be
    audit = audited_objects(*TRUE, found=(*found, (5, 10, 25, 18, 0, 0.8)))
    assert all(finding.kind != WRONG for finding in audit.findings())


def test_crowds_take_found_objects_in_and_boxes_stand_in_for_masks():
    labelled = replace(objects((40, 10, 80, 60, 1, 1)), crowd=np.array([True]))
    assert overlaps(labelled, objects(FOUND[1])) == pytest.approx(np.ones((1, 1)))
    audit = ObjectAudit(("dog", "cat"))
    audit.add("crowd", (60, 80), labelled, objects(FOUND[1]))
    assert audit.findings() == []
    bare = replace(objects(TRUE[0]), masks=None)
    assert overlaps(bare, objects((15, 10, 35, 40, 0, 1)))[0, 0] == pytest.approx(1 / 3)
    assert overlaps(objects(), objects(*FOUND)).shape == (0, 2)
