"""Instance segmentation, trained with boxes alone or with masks. B batch, n objects of an image, H W image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.analysis.recorders import ImageRecorder, MatchRecorder
from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt
from segkit.data.files.object_masks import dense_masks
from segkit.engine.hooks import Hook
from segkit.metrics.base import Metric
from segkit.metrics.per_image import InstanceScores
from segkit.models.bases import InstanceHead, Network
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.base import Runner, alike, bare, need_whole
from segkit.runners.instances.growth import Growth
from segkit.runners.instances.moving_teacher import MovingTeacher
from segkit.runners.instances.pictures import ShowInstances
from segkit.runners.instances.supervision import check_supervision
from segkit.runners.instances.tables import instance_tables
from segkit.runners.instances.worst import WorstInstances
from segkit.runners.instances.writer import InstanceWriter
from segkit.runners.tables import score_table
from segkit.runners.writers import Writer
from segkit.types import Batch, Color, Found, InstancePrediction, Meta, Outputs, Prediction, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop
    from segkit.engine.setup import DataSets
    from segkit.models.segmentor import Segmentor

PER_OBJECT = ("boxes", "labels", "crowd", "masks", "mask_quality", "points", "point_labels")
"""Entries of a batch with one row per object."""


@RUNNERS.alias("Instances")
@RUNNERS.register
class BoxSupervised(Runner):
    """Trains and evaluates an InstanceHead, with boxes or masks, whichever the losses read.

    Crowds are left out of the training. Also registered as "Instances".

    Args:
        padding: color in 0..255 of the pixels beyond an image, one value or one per channel. None is the model's mean,
            which the normalization turns into 0 (BoxLevelSet, BoxInst, DiscoBox); Box2Mask has 128.
        divisor: height and width of a batch are padded to multiples of it.
        growth: number of validation images whose masks are drawn into growth.png at every tenth of the run, 0 for none.
        teacher_decay: decay of a moving average of the network, whose outputs losses can name as "teacher.<name>"
            (0.999 in DiscoBox); 0 for none.
        teacher_start: step after which the average begins.
        teacher_rise, teacher_buffers: how the average begins, and whether buffers are part of it; see engine.optim.Ema.

    Raises:
        ConfigError: divisor or padding is out of range.
    """

    default_metrics = ({"type": "CocoAP"},)
    _student: nn.Module

    def __init__(
        self,
        padding: float | Sequence[float] | None = None,
        divisor: PositiveInt = 32,
        *,
        growth: NonNegativeInt = 4,
        teacher_decay: Decay = 0.0,
        teacher_start: NonNegativeInt = 0,
        teacher_rise: PositiveInt = 10,
        teacher_buffers: bool = True,
    ):
        if divisor < 1:
            raise ConfigError(f"runner.divisor = {divisor}: must be a whole number, 1 or more")
        values = [] if padding is None else np.ravel(padding).tolist()
        if any(not 0 <= value <= 255 for value in values):
            raise ConfigError(f"runner.padding = {padding}: must be colors in 0..255")
        self.padding, self.divisor, self.growth = None if padding is None else values, divisor, growth
        self.teacher = None
        if teacher_decay:
            self.teacher = MovingTeacher(teacher_decay, teacher_start, rise=teacher_rise, buffers=teacher_buffers)

    def stages(self, cfg: dict, datasets: "DataSets") -> list[Stage]:
        """Returns the single stage.

        Raises:
            ConfigError: the losses need boxes as masks and the data gives outlines, or the other way round.
        """
        check_supervision(cfg)
        return super().stages(cfg, datasets)

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model, the part of its head that depends on the objects, and the teacher; see Runner.forward.

        Changes the batch: image [B,3,H,W] is 0 where it is padded, masks are B of uint8 [n,H,W], crowds are removed.

        Raises:
            ConfigError: the batch holds no boxes.
        """
        if "boxes" not in batch:
            raise ConfigError(f"train.dataset: the batch holds no boxes; available: {', '.join(batch)}")
        network = cast("Segmentor", bare(model))
        head = cast(InstanceHead, network.head)
        image, valid = with_padding(batch["image"], [meta["valid"] for meta in batch["meta"]], self.divisor)
        batch |= without_crowds(batch)
        if "masks" in batch:
            masks_and_meta = zip(batch["masks"], batch["meta"])
            batch["masks"] = [padded_masks(masks, meta["valid"], image) for masks, meta in masks_and_meta]
        batch["image"] = image if valid is None else image * valid
        seen = self._colored(network, image, valid)
        outputs = model(seen)
        outputs |= head.complete(outputs, batch["boxes"])
        return outputs if self.teacher is None else outputs | self.teacher.outputs(seen, outputs)

    def image_scores(self, dataset: Any) -> InstanceScores:
        """Returns the scores of instances, image by image."""
        return InstanceScores(dataset)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Returns what keeps detections and their matches; see Runner.image_recorder."""
        return MatchRecorder(dataset, metrics)

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Finds the instances of each image; see Runner.predict.

        The images of one size are predicted together, and those of another apart, so that the result of one image does
        not depend on the others.

        Returns:
            For each image, on the CPU: "masks", n RLE at the original size, "scores" float32 [n], falling, "labels"
            int64 [n], "boxes" float32 [n,4].

        Raises:
            ConfigError: the head finds no instances, or section `inference` asks for a sliding window or TTA.
        """
        if not isinstance(model.head, InstanceHead):
            raise ConfigError(
                f"runner.type = 'BoxSupervised': {type(model.head).__name__} finds no instances; use a head "
                "that does: SOLOv2Head, Mask2FormerHead, CondInstHead"
            )
        need_whole(self.inference, "instances")
        image, metas = batch["image"], batch["meta"]
        predictions: dict[int, Prediction] = {}
        for group in alike([tuple(meta["valid"]) for meta in metas]):
            of_group = image if len(group) == len(metas) else torch.cat([image[i : i + 1] for i in group])
            height, width = metas[group[0]]["valid"]
            found = self._predict(model, of_group[..., :height, :width], [metas[i] for i in group])
            predictions.update(zip(group, found))
        return [predictions[i] for i in range(len(metas))]

    def _predict(self, model: Network, image: Tensor, metas: list[Meta]) -> Sequence[Prediction]:
        found = cast(InstanceHead, model.head).instances(self._outputs(model, image, metas), metas)
        return [as_prediction(instances) for instances in found]

    def _outputs(self, model: Network, image: Tensor, metas: list[Meta]) -> Outputs:
        """What the network gives for images of one size, [B,3,H,W] without padding."""
        image, valid = with_padding(image, [meta["valid"] for meta in metas], self.divisor)
        return model(self._colored(model, image, valid))

    def _colored(self, network: Network, image: Tensor, valid: Tensor | None) -> Tensor:
        """The image with the padding's color, float32 [B,3,H,W]; unchanged without padding.

        valid: bool [B,1,H,W], None where nothing is padded.
        """
        if valid is None:
            return image
        color = network.mean if self.padding is None else network.mean.new_tensor(self.padding).view(1, -1, 1, 1)
        if color.shape[1] not in (1, image.shape[1]):
            raise ConfigError(
                f"runner.padding = {self.padding}: must be one value, or one for each channel of the image"
            )
        return torch.where(valid, image.float(), color)

    def show(self, folder: Path, dataset: Any, count: int) -> ShowInstances:
        """Returns a hook that draws masks, boxes, classes and scores."""
        return ShowInstances(folder, dataset, count)

    def worst_images(self, dataset: Any, count: int) -> WorstInstances:
        """Returns a hook that keeps the images with the lowest F1 of objects found."""
        return WorstInstances(dataset, count)

    def holds_whole_models(self) -> str:
        """Returns why loop.shard is refused, where there is a teacher; see Runner.holds_whole_models."""
        return "" if self.teacher is None else "whose runner.teacher follows the whole model"

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Keeps the student, which a resumed teacher is copied from."""
        self._student = loop.raw_model

    def after_step(self, loop: "Loop") -> None:
        """Updates the teacher."""
        if self.teacher is not None:
            self.teacher.update(loop.raw_model, loop.step)

    def state_dict(self) -> dict[str, Any]:
        """Returns the teacher's state, {} without one."""
        return {} if self.teacher is None else self.teacher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the teacher."""
        if self.teacher is not None:
            self.teacher.load_state_dict(state, self._student)

    def table(self, scores: dict[str, Any]) -> str:
        """Formats average precisions, one table for each kind, and the means."""
        return score_table(scores, instance_tables(scores))

    def writer(
        self,
        folder: Path,
        classes: tuple[str, ...],
        palette: tuple[Color, ...],
        *,
        annotations: str | Path | None = None,
        score: float = 0.3,
    ) -> Writer:
        """Returns what writes results in COCO's format and overlays; see Runner.writer."""
        return InstanceWriter(folder, classes, palette, annotations=annotations, score=score)

    def hooks(self) -> tuple[Hook, ...]:
        """Returns the hook that draws masks during training."""
        return (Growth(self.growth),) if self.growth else ()


def with_padding(image: Tensor, valid: list[tuple[int, int]], divisor: int) -> tuple[Tensor, Tensor | None]:
    """Pads a batch at the right and bottom.

    Args:
        image: [B,C,h,w].
        valid: (height, width) of each image in it.
        divisor: height and width become multiples of it.

    Returns:
        The batch, [B,C,H,W]; and bool [B,1,H,W], True inside of the images, None where nothing is padding.
    """
    height, width = (-(-side // divisor) * divisor for side in image.shape[2:])
    if all(tuple(size) == (height, width) for size in valid):
        return image, None
    image = F.pad(image, [0, width - image.shape[3], 0, height - image.shape[2]])
    limits = torch.tensor(valid).to(image.device, non_blocking=True)
    rows = torch.arange(height, device=image.device) < limits[:, :1]
    columns = torch.arange(width, device=image.device) < limits[:, 1:]
    return image, (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def without_crowds(batch: Batch) -> Batch:
    """Returns the entries of the batch with one row per object, without crowds; {} where crowds are not marked."""
    if "crowd" not in batch:
        return {}
    kept = [torch.nonzero(~crowd)[:, 0] for crowd in batch["crowd"]]
    entries = {key: values for key, values in batch.items() if key in PER_OBJECT}
    rows = {key: [_rows(v, index) for v, index in zip(cast(list, values), kept)] for key, values in entries.items()}
    return cast(Batch, rows)


def _rows(values: Tensor | PackedMasks | list, index: Tensor) -> Tensor | PackedMasks | list:
    if isinstance(values, list):
        return [values[i] for i in index.tolist()]
    if len(index) == len(values):
        return values  # masks of many objects take memory
    return values.rows(index) if isinstance(values, PackedMasks) else values[index]


def padded_masks(masks: Tensor | PackedMasks | list, valid: tuple[int, int], image: Tensor) -> Tensor:
    """Pads masks at the right and bottom with 0 to the size of a batch.

    Args:
        masks: uint8 [n,h,w], the same packed, or n RLE of that size.
        valid: (h, w).
        image: the batch, [B,3,H,W].

    Returns:
        uint8 [n,H,W] on the device of the batch.
    """
    if isinstance(masks, list):
        masks = torch.from_numpy(dense_masks(masks, valid))
    height, width = image.shape[2:]
    if isinstance(masks, PackedMasks):
        return masks.to(image.device).dense((height, width))
    below, beside = height - masks.shape[1], width - masks.shape[2]
    masks = masks.to(image.device)
    return F.pad(masks, [0, beside, 0, below]) if below or beside else masks


def as_prediction(found: Found) -> InstancePrediction:
    """Moves instances to the CPU and compresses their masks to RLE."""
    from pycocotools import mask as coco_mask

    # pycocotools reads column by column
    columns = found.masks.transpose(1, 2).to(torch.uint8).contiguous().cpu().numpy()
    masks = coco_mask.encode(columns.transpose(2, 1, 0)) if len(columns) else []
    return InstancePrediction(
        masks=masks, scores=found.scores.cpu(), labels=found.labels.cpu(), boxes=found.boxes.cpu()
    )
