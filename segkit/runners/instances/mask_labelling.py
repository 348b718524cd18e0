"""A network that draws the mask in a box, taught by boxes and by the moving average of itself: MAL.

Lan et al., Vision Transformers Are Good Mask Auto-Labelers, CVPR 2023, https://arxiv.org/abs/2301.03992. B crops, n
objects of an image, H W image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.constraints.named import Range
from segkit.engine.optim import Ema
from segkit.models.bases import Network
from segkit.models.mask_labeler import MaskLabeler
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.base import Runner
from segkit.runners.instances.box_labels import BoxLabeler
from segkit.runners.instances.pictures import ShowInstances
from segkit.runners.instances.runner import as_prediction
from segkit.runners.instances.tables import instance_tables
from segkit.runners.instances.worst import WorstInstances
from segkit.runners.tables import score_table
from segkit.types import Batch, Found, InstancePrediction, Outputs, Prediction, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop
    from segkit.engine.setup import DataSets

PIXELS = 16
"""Of a token's side; crops have a multiple of it."""


@RUNNERS.register
class MaskLabelling(Runner):
    """Trains a MaskLabeler on crops of boxes, and draws masks in given boxes.

    Batches are of the data set BoxCrops. In every step the moving average of the network, which section `loop` asks for
    (ema, ema_rise, ema_buffers), sees the same crops; its outputs are "teacher.logits", which a row MAL reads.

    In evaluation the data set is one of instances: the network is given the true boxes, and its masks are the
    predictions, all of score 1, crowds left out. `matched` then says how well masks fit when the boxes are known.

    Args:
        side: of the square that crops are resized to, in pixels, a multiple of 16; BoxCrops.side is the same.

    Raises:
        ConfigError: side is no multiple of 16.
    """

    default_metrics = ({"type": "MatchedMaskIoU"},)
    needs_stored = True
    predicts_classes = False
    usage = "segkit label BOXES.json IMAGES --model {quoted} --out masks.json"
    _teacher: Ema

    def __init__(self, side: Annotated[int, Range(PIXELS)] = 512):
        if side % PIXELS or side < PIXELS:
            raise ConfigError(f"runner.side = {side}: must be a multiple of {PIXELS}, such as 512")
        self.side = side

    def stages(self, cfg: dict, datasets: "DataSets") -> list[Stage]:
        """Returns the single stage.

        Raises:
            ConfigError: there is no moving average, or the crops have another side.
        """
        if not (cfg.get("loop") or {}).get("ema"):
            raise ConfigError(
                "runner.type = 'MaskLabelling': the teacher is the moving average of the weights; set loop.ema=0.996, "
                "loop.ema_rise=1, loop.ema_buffers=False"
            )
        side = cfg["train"]["dataset"].get("side", self.side)
        if side != self.side:
            raise ConfigError(
                f"train.dataset.side = {side}: differs from runner.side = {self.side}, at which masks are drawn later; "
                "set both to the same"
            )
        return super().stages(cfg, datasets)

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Keeps the moving average."""
        super().start(stage, loop)
        assert loop.ema is not None, "stages() has refused it"
        self._teacher = loop.ema

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model and its teacher; see Runner.forward.

        Raises:
            ConfigError: the batch holds no crops of boxes.
        """
        if "box" not in batch["meta"][0]:
            raise ConfigError(
                "train.dataset: its images are no crops of boxes; set train.dataset = dict(type='BoxCrops', "
                "dataset=dict(...)), with the data set of the boxes inside"
            )
        boxes = torch.tensor([meta["box"] for meta in batch["meta"]])
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).to(batch["image"].device)
        outputs: Outputs = model(batch["image"], area)
        with torch.no_grad():
            outputs["teacher.logits"] = self._teacher.module(batch["image"], area)["logits"]
        return outputs

    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Draws a mask in each box of the batch that is no crowd.

        Args:
            model: the raw model in evaluation mode.
            batch: images, their meta, boxes in pixels of the image as stored, labels and crowd marks, if any.

        Raises:
            ConfigError: the batch holds no boxes, or the model draws no masks in boxes.
        """
        if not isinstance(model, MaskLabeler):
            raise ConfigError(f"model.type = {type(model).__name__}: draws no masks in boxes; use MaskLabeler")
        if "boxes" not in batch:
            raise ConfigError(
                "this model draws masks in boxes, and this image has none: use segkit label BOXES.json IMAGES --model "
                "CHECKPOINT --out FILE.json"
            )
        labeler, predictions = BoxLabeler(model, self.side), []
        for i, meta in enumerate(batch["meta"]):
            image = batch["image"][i, :, : meta["valid"][0], : meta["valid"][1]]
            kept = ~batch["crowd"][i] if "crowd" in batch else torch.ones(len(batch["boxes"][i]), dtype=torch.bool)
            boxes, labels = (batch[key][i][kept.to(batch[key][i].device)] for key in ("boxes", "labels"))
            predictions.append(self._drawn(labeler, image, boxes, labels))
        return predictions

    def _drawn(self, labeler: BoxLabeler, image: Tensor, boxes: Tensor, labels: Tensor) -> InstancePrediction:
        pixels = image.permute(1, 2, 0).cpu().numpy()
        drawn = [batch.logits > 0 for batch in labeler.draw(pixels, boxes.cpu().numpy())]
        masks = torch.cat(drawn) if drawn else torch.zeros((0, *pixels.shape[:2]), dtype=torch.bool)
        return as_prediction(Found(torch.ones(len(masks)), labels, masks, boxes))

    def show(self, folder: Path, dataset: Any, count: int) -> ShowInstances:
        """Returns a hook that draws masks, boxes and classes."""
        return ShowInstances(folder, dataset, count)

    def worst_images(self, dataset: Any, count: int) -> WorstInstances:
        """Returns a hook that keeps the images with the lowest F1 of objects found."""
        return WorstInstances(dataset, count)

    def table(self, scores: dict[str, Any]) -> str:
        """Formats the scores of masks; see BoxSupervised.table."""
        return score_table(scores, instance_tables(scores))
