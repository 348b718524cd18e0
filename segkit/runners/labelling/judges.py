"""What trained models say of an image without labels: a draft of its labels, and how unsure they are. H W image."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from segkit.data.files.coco_json import row_of
from segkit.data.files.run_lengths import decode_mask
from segkit.data.formats.common import background_of
from segkit.models.bases import Network
from segkit.ops.self_training.confidence import keep_sure
from segkit.ops.self_training.uncertainty import MEASURES, NEED_SEVERAL, object_uncertainty, pixel_uncertainty
from segkit.registry import ConfigError
from segkit.runners.base import Runner, build_runner
from segkit.runners.instances.runner import BoxSupervised
from segkit.runners.predicting import predict_array
from segkit.runners.self_training.committee import Committee
from segkit.runners.self_training.rule import Rule
from segkit.types import IGNORE, Color, InstancePrediction, default_palette

LEAST = 0.05
"""Least score of the objects that count for the certainty of an image."""

BACKGROUND = "background"
"""Name of index 0 in masks of instance models, whose classes have no background."""


class DraftObject(NamedTuple):
    """An object of a draft.

    Attributes:
        label: index of its class.
        score: how sure the models are of it, 0 to 1.
        shape: area, bbox and segmentation, as a COCO annotation has them.
    """

    label: int
    score: float
    shape: dict[str, Any]


class Draft(NamedTuple):
    """Labels that models propose for an image.

    Attributes:
        mask: uint8 [H,W], numbers of `mask_classes`, 255 where the models are not sure; None where 8 bits have no room
            for the classes.
        objects: of the image.
        certainty: of the image, 0 to 1.
        confidence: float32 [H,W], probability of each pixel's class; None of instance models.
    """

    mask: np.ndarray | None
    objects: list[DraftObject]
    certainty: float
    confidence: np.ndarray | None = None


class Unsure(NamedTuple):
    """How unsure models are of an image: of each pixel, float32 [H,W], and of all of it; 0 is sure, 1 knows nothing."""

    pixels: np.ndarray
    score: float


class Judge(Protocol):
    """Models of one task that look at images without labels.

    Attributes:
        kind: "semantic" or "instances".
        models: in evaluation mode.
        files: their checkpoints, for messages.
        runners: of the models.
        classes: K names.
        mask_classes: names of the numbers in masks.
        mask_palette: their colors.
        measures: of uncertainty that these models have.
    """

    kind: str
    models: list[Network]
    files: list[str]
    runners: list[Runner]
    classes: list[str]
    mask_classes: list[str]
    mask_palette: list[Color]
    measures: tuple[str, ...]

    def draft(self, image: np.ndarray) -> Draft:
        """Proposes labels for an image, uint8 or float32 [H,W,C]."""
        ...

    def unsure(self, image: np.ndarray, measure: str) -> Unsure:
        """Measures how unsure the models are of an image by one of `measures`."""
        ...


class SemanticJudge:
    """Semantic models: the mean of their probabilities is the draft.

    The draft has one object of each class that occurs, without the background; its score is the mean probability of its
    pixels. The certainty of an image is the mean probability of its pixels' surest classes, its uncertainty the mean of
    its pixels'.

    Args:
        committee: the models.
        rule: threshold and agree say which pixels of a draft are not sure.
    """

    kind = "semantic"

    def __init__(self, committee: Committee, rule: Rule):
        self.committee, self.rule = committee, rule
        self.models, self.files = committee.models, committee.files
        self.runners: list[Runner] = [*committee.runners]
        self.classes = self.mask_classes = committee.classes
        self.mask_palette: list[Color] = committee.palette or list(default_palette(len(self.classes)))
        self.measures = tuple(name for name in MEASURES if len(self.models) > 1 or name not in NEED_SEVERAL)
        self._background = background_of(self.classes)
        rule.check(self.classes, len(self.models))

    def draft(self, image: np.ndarray) -> Draft:
        """Proposes the class of each pixel that the models predict; see Judge."""
        each = self.committee.probabilities(image)
        labels, confidence, _ = self.committee.decision(each, needs_agreement=self.rule.agree)
        mask = keep_sure(labels, confidence, self.rule.threshold)
        objects = []
        for label in np.unique(mask).tolist():
            if label not in (IGNORE, self._background):
                region = mask == label
                objects.append(DraftObject(label, float(confidence[region].mean(dtype=np.float64)), row_of(region)))
        return Draft(mask, objects, float(confidence.mean(dtype=np.float64)), confidence)

    def unsure(self, image: np.ndarray, measure: str) -> Unsure:
        """Measures the uncertainty of each pixel; see ops.self_training.uncertainty."""
        pixels = pixel_uncertainty(self.committee.probabilities(image), measure)
        return Unsure(pixels, float(pixels.mean(dtype=np.float64)))


class InstanceJudge:
    """An instance model: what it finds is the draft.

    An object found with score s is as certain as |2 s - 1|: a score near 1 is surely an object, one near 0 surely none.
    Objects of a score of at least 0.05 count. Certainty and uncertainty of an image are means over them, and an image
    without one is certain. A pixel is as unsure as the most unsure object that covers it.

    Args:
        model: in evaluation mode.
        file: its checkpoint, for messages.
        runner: of its config.
        score: least score of the objects of a draft.
    """

    kind = "instances"
    measures: tuple[str, ...] = ("margin", "entropy")

    def __init__(self, model: Network, file: str, runner: Runner, score: float):
        self.models, self.files, self.score = [model], [file], score
        self.runners: list[Runner] = [runner]
        if not 0 <= score <= 1:
            raise ConfigError(f"--score {score:g}: must lie between 0 and 1")
        self.classes = list(model.classes or ())
        if not self.classes:
            raise ConfigError(f"{file}: holds no names of classes; train it with segkit, or convert it with --config")
        self.mask_classes = [BACKGROUND, *self.classes]
        colors = [(int(r), int(g), int(b)) for r, g, b in model.palette or ()]
        self.mask_palette: list[Color] = [(0, 0, 0), *(colors or default_palette(len(self.classes) + 1)[1:])]

    def _find(self, image: np.ndarray) -> InstancePrediction:
        return cast(InstancePrediction, predict_array(self.models[0], image, self.runners[0]))

    def draft(self, image: np.ndarray) -> Draft:
        """Proposes the objects of at least the least score; in the mask the surest lies on top. See Judge."""
        found = self._find(image)
        scores, labels = np.asarray(found["scores"]).tolist(), np.asarray(found["labels"]).tolist()
        mask = np.zeros(image.shape[:2], np.uint8) if len(self.mask_classes) <= IGNORE else None
        objects: list[DraftObject] = []
        for k in sorted(range(len(scores)), key=lambda k: scores[k]):
            region = decode_mask(found["masks"][k]) if scores[k] >= self.score else None
            if region is not None and region.any():
                if mask is not None:
                    mask[region > 0] = labels[k] + 1
                objects.insert(0, DraftObject(labels[k], scores[k], row_of(region)))
        unsure = _counted(scores, "margin")
        return Draft(mask, objects, 1 - float(unsure.mean()) if len(unsure) else 1.0)

    def unsure(self, image: np.ndarray, measure: str) -> Unsure:
        """Measures the uncertainty of each object and of the pixels below it; see Judge."""
        found = self._find(image)
        scores = np.asarray(found["scores"]).tolist()
        unsure = _counted(scores, measure)
        pixels = np.zeros(image.shape[:2], np.float32)
        counted = [mask for mask, score in zip(found["masks"], scores, strict=True) if score >= LEAST]
        for mask, value in zip(counted, unsure.tolist(), strict=True):
            region = decode_mask(mask) > 0
            pixels[region] = np.maximum(pixels[region], value)
        return Unsure(pixels, float(unsure.mean()) if len(unsure) else 0.0)


def _counted(scores: Sequence[float], measure: str) -> np.ndarray:
    return object_uncertainty(np.array([score for score in scores if score >= LEAST]), measure)


def judge_of(models: Sequence[Network], files: Sequence[str], rule: Rule, score: float = 0.3) -> Judge:
    """Returns what looks at images with models, by the task of the first.

    Args:
        models: in evaluation mode.
        files: their checkpoints, for messages.
        rule: of semantic drafts.
        score: of instance drafts, the least score of an object.

    Raises:
        ConfigError: the models are of another task, several find instances, or classes differ or have no names.
    """
    runner = build_runner(getattr(models[0], "config", None) or {})
    if not isinstance(runner, BoxSupervised):
        return SemanticJudge(Committee(models, files), rule)
    if len(models) > 1:
        raise ConfigError(
            f"{files[1]}: {files[0]} finds instances, and objects of several models have no mean; give one checkpoint"
        )
    return InstanceJudge(models[0], files[0], runner, score)
