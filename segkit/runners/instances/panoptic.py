"""Panoptic segmentation: every pixel of an image gets a class and, of things, an object. K classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from segkit.analysis.recorders import ImageRecorder
from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt
from segkit.metrics.base import Metric
from segkit.models.bases import Network, QueryHead
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.base import Runner
from segkit.runners.instances.panoptic_writer import PanopticWriter
from segkit.runners.instances.runner import BoxSupervised, as_prediction
from segkit.runners.writers import Writer
from segkit.types import Color, Meta, Prediction, Stage

if TYPE_CHECKING:
    from segkit.engine.setup import DataSets


@RUNNERS.register
class Panoptic(BoxSupervised):
    """Trains a head with queries on the segments of panoptic data, and predicts segments that do not overlap.

    The training is that of instances, with a mask for each thing and for each class of stuff. A prediction is one of
    instances whose masks do not overlap, see QueryHead.segments.

    Args:
        things: labels of the classes whose objects are apart; all others are stuff, with one segment in an image.
        score: class probability above which a query can become a segment.
        overlap: least share of its own mask that a query must keep beside the others, otherwise it is left out.
        padding, divisor: as of BoxSupervised.

    Raises:
        ConfigError: divisor or padding is out of range.
    """

    default_metrics = ({"type": "PQ"},)

    def __init__(
        self,
        things: Sequence[NonNegativeInt],
        score: Fraction = 0.8,
        overlap: Fraction = 0.8,
        *,
        padding: float | Sequence[float] | None = None,
        divisor: PositiveInt = 32,
    ):
        super().__init__(padding, divisor, growth=0)
        self.things, self.score, self.overlap = frozenset(things), score, overlap

    def stages(self, cfg: dict, datasets: "DataSets") -> list[Stage]:
        """Returns the single stage.

        Raises:
            ConfigError: `things` are not those of the training data.
        """
        dataset = datasets.get(cfg["train"]["dataset"], "train.dataset")
        if dataset.things is None:
            raise ConfigError(
                f"train.dataset.type = '{type(dataset).__name__}': does not know which of its classes are things; the "
                "runner Panoptic needs a panoptic data set, such as COCOPanoptic"
            )
        known = {label for label, is_thing in enumerate(dataset.things) if is_thing}
        if known != self.things:
            label = min(known ^ self.things)
            name = f"'{dataset.classes[label]}'" if label < len(dataset.classes) else "which it does not have"
            is_in = "in" if label in self.things else "missing in"
            raise ConfigError(
                f"runner.things: class {label} of {type(dataset).__name__}, {name}, is {is_in} the list; its things "
                f"are {', '.join(map(str, sorted(known)))}"
            )
        return super().stages(cfg, datasets)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Raises a ConfigError: segments have no counts yet; see Runner.image_recorder."""
        return Runner.image_recorder(self, dataset, metrics)

    def _predict(self, model: Network, image: Tensor, metas: list[Meta]) -> Sequence[Prediction]:
        if not isinstance(model.head, QueryHead):
            raise ConfigError(
                f"runner.type = 'Panoptic': {type(model.head).__name__} has no queries; use a head that has: "
                "Mask2FormerHead, MaskFormerHead, EoMTHead"
            )
        outputs = self._outputs(model, image, metas)
        head = cast(QueryHead, model.head)
        found = head.segments(outputs, metas, things=sorted(self.things), score=self.score, overlap=self.overlap)
        return [as_prediction(segments) for segments in found]

    def writer(
        self,
        folder: Path,
        classes: tuple[str, ...],
        palette: tuple[Color, ...],
        *,
        annotations: str | Path | None = None,
        score: float = 0.3,
    ) -> Writer:
        """Returns what writes segments in COCO's panoptic format and overlays; see Runner.writer."""
        return PanopticWriter(folder, classes, palette, things=sorted(self.things), annotations=annotations)
