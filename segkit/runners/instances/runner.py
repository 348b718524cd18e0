"""Instances learnt from boxes alone, or from masks: images go in, and what the rows of the criterion name comes out.
B images, n objects of an image, H W the batch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.data.transforms.geometry import dense_masks
from segkit.engine.hooks import Hook
from segkit.models.bases import InstanceHead, Network
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.base import Runner, bare
from segkit.runners.instances.growth import Growth
from segkit.runners.instances.moving_teacher import MovingTeacher
from segkit.runners.instances.pictures import ShowInstances
from segkit.runners.instances.supervision import check_supervision
from segkit.runners.instances.tables import instance_tables
from segkit.runners.instances.writer import InstanceWriter
from segkit.runners.tables import score_table
from segkit.types import Batch, Color, Found, InstancePrediction, Meta, Outputs, Prediction, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop
    from segkit.engine.setup import DataSets
    from segkit.models.segmentor import Segmentor

PER_OBJECT = ("boxes", "labels", "crowd", "masks")


@RUNNERS.alias("Instances")
@RUNNERS.register
class BoxSupervised(Runner):
    """Trains heads of instances, those with `instances(outputs, meta)`; what teaches them are the criterion's rows.

    padding: color in 0..255 of pixels beyond an image, one value or one per channel; None is the model's mean, which
    becomes 0 by the normalization (BoxLevelSet, BoxInst, DiscoBox), Box2Mask has 128. divisor: what sides of a batch
    are multiples of. growth: validation images whose masks are drawn at every tenth of the run into growth.png, 0 for
    none. teacher_decay: of the moving average of the network whose outputs are there as "teacher.<name>" (DiscoBox,
    0.999), 0 for none; teacher_start: the step after which the average begins. Crowds teach nothing.
    """

    def __init__(
        self,
        padding: float | Sequence[float] | None = None,
        divisor: int = 32,
        *,
        growth: int = 4,
        teacher_decay: float = 0.0,
        teacher_start: int = 0,
    ):
        if divisor < 1:
            raise ConfigError(f"runner.divisor = {divisor}: a whole number from 1 on")
        values = [] if padding is None else np.ravel(padding).tolist()
        if any(not 0 <= value <= 255 for value in values):
            raise ConfigError(f"runner.padding = {padding}: colors are in 0..255")
        self.padding, self.divisor, self.growth = None if padding is None else values, divisor, growth
        self.teacher = MovingTeacher(teacher_decay, teacher_start) if teacher_decay else None
        self._student: nn.Module | None = None

    def stages(self, cfg: dict, datasets: "DataSets") -> list[Stage]:
        """-> the one training. ConfigError where losses and data disagree on what the masks are."""
        check_supervision(cfg)
        return super().stages(cfg, datasets)

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Changes the batch: image [B,3,H,W] is 0 where it is padded, masks are B of uint8 [n,H,W], crowds are gone.
        -> outputs of the model and those that its head makes of outputs and boxes."""
        if "boxes" not in batch:
            raise ConfigError(f"train.dataset: the batch holds no boxes; it holds: {', '.join(batch)}")
        network = cast("Segmentor", bare(model))
        head = cast(InstanceHead, network.head)
        image, valid = with_padding(batch["image"], [meta["valid"] for meta in batch["meta"]], self.divisor)
        batch |= without_crowds(batch)
        if "masks" in batch:
            batch["masks"] = [
                padded_masks(one, meta["valid"], image) for one, meta in zip(batch["masks"], batch["meta"])
            ]
        batch["image"] = image if valid is None else image * valid
        seen = self._colored(network, image, valid)
        outputs = model(seen)
        outputs |= head.complete(outputs, batch["boxes"])
        return outputs if self.teacher is None else outputs | self.teacher.outputs(seen, outputs)

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """-> one Prediction per image: "masks", n RLE at original size, "scores" float32 [n], falling, "labels" int64
        [n], "boxes" float32 [n,4], on the host. Images of one size go together, others one by one, so that what is
        found in one does not depend on the others."""
        if not isinstance(model.head, InstanceHead):
            raise ConfigError(
                f"runner.type = 'BoxSupervised': {type(model.head).__name__} finds no instances; choose a head "
                "that does: SOLOv2Head, Mask2FormerHead, CondInstHead"
            )
        if self.inference.mode != "whole" or self.inference.tta:
            raise ConfigError("inference: a sliding window or several views (--slide, --tta) are not for instances")
        metas = batch["meta"]
        height, width = metas[0]["valid"]
        if len({meta["valid"] for meta in metas}) == 1:
            return self._predict(model, batch["image"][..., :height, :width], metas)
        singles = (self.predict(model, Batch(image=batch["image"][i : i + 1], meta=[m])) for i, m in enumerate(metas))
        return [prediction for single in singles for prediction in single]

    def _predict(self, model: Network, image: Tensor, metas: list[Meta]) -> Sequence[Prediction]:
        image, valid = with_padding(image, [meta["valid"] for meta in metas], self.divisor)
        outputs = model(self._colored(model, image, valid))
        return [as_prediction(found) for found in cast(InstanceHead, model.head).instances(outputs, metas)]

    def _colored(self, network: Network, image: Tensor, valid: Tensor | None) -> Tensor:
        """image: [B,3,H,W]; valid: bool [B,1,H,W], None where nothing is padded -> the image with the padding's
        color, float32 where there is padding."""
        if valid is None:
            return image
        color = network.mean if self.padding is None else network.mean.new_tensor(self.padding).view(1, -1, 1, 1)
        if color.shape[1] not in (1, image.shape[1]):
            raise ConfigError(f"runner.padding = {self.padding}: one value, or one for each channel of the image")
        return torch.where(valid, image.float(), color)

    def show(self, folder: Path, dataset: Any, count: int) -> ShowInstances:
        """Pictures of masks, boxes, classes and scores."""
        return ShowInstances(folder, dataset, count)

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Remembers whose average the teacher is."""
        self._student = loop.raw_model

    def after_step(self, loop: "Loop") -> None:
        """Moves the teacher."""
        if self.teacher is not None:
            self.teacher.update(loop.raw_model, loop.step)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.teacher is None else self.teacher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
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
    ) -> InstanceWriter:
        """Returns what writes results in COCO's format and overlays; see Runner.writer."""
        return InstanceWriter(folder, classes, palette, annotations=annotations, score=score)

    def hooks(self) -> tuple[Hook, ...]:
        """What draws how masks grow."""
        return (Growth(self.growth),) if self.growth else ()


def with_padding(image: Tensor, valid: list[tuple[int, int]], divisor: int) -> tuple[Tensor, Tensor | None]:
    """image: [B,C,h,w]; valid: (height, width) of each image in it -> [B,C,H,W], padded at the right and bottom to
    multiples of the divisor; bool [B,1,H,W], True inside of the images, None where nothing is padding."""
    sides = [-(-side // divisor) * divisor for side in image.shape[2:]]
    if all(tuple(one) == tuple(sides) for one in valid):
        return image, None
    image = F.pad(image, [0, sides[1] - image.shape[3], 0, sides[0] - image.shape[2]])
    limits = torch.tensor(valid).to(image.device, non_blocking=True)
    rows, columns = (
        torch.arange(side, device=image.device) < limit.unsqueeze(1) for side, limit in zip(sides, limits.T)
    )
    return image, (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def without_crowds(batch: Batch) -> dict[str, list]:
    """-> the entries of the batch with one row per object, without crowds; nothing where there are no crowd marks."""
    if "crowd" not in batch:
        return {}
    kept = [torch.nonzero(~one)[:, 0] for one in batch["crowd"]]
    return {
        key: [_rows(values, index) for values, index in zip(batch[key], kept)] for key in PER_OBJECT if key in batch
    }


def _rows(values: Tensor | list, index: Tensor) -> Tensor | list:
    if isinstance(values, list):
        return [values[i] for i in index.tolist()]
    return values[index]


def padded_masks(masks: Tensor | list, valid: tuple[int, int], image: Tensor) -> Tensor:
    """masks: uint8 [n,h,w], or n RLE of that size; image: [B,3,H,W] -> uint8 [n,H,W] on its device, 0 beyond."""
    if isinstance(masks, list):
        masks = torch.from_numpy(dense_masks(masks, valid))
    height, width = image.shape[2:]
    return F.pad(masks.to(image.device), [0, width - masks.shape[2], 0, height - masks.shape[1]])


def as_prediction(found: Found) -> InstancePrediction:
    """-> the same with masks as compressed RLE, on the host."""
    from pycocotools import mask as coco_mask

    scores, labels, boxes = (part.cpu() for part in (found.scores, found.labels, found.boxes))
    # pycocotools reads column by column
    columns = found.masks.transpose(1, 2).to(torch.uint8).contiguous().cpu().numpy()
    masks = coco_mask.encode(columns.transpose(2, 1, 0)) if len(columns) else []
    return InstancePrediction(masks=masks, scores=scores, labels=labels, boxes=boxes)
