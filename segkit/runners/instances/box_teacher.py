"""Boxes alone, with masks that a moving average of the network finds: BoxTeacher.

Cheng et al., CVPR 2023, https://arxiv.org/abs/2210.05174. B batch, n objects of an image, H W image.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt
from segkit.engine.optim import Ema
from segkit.models.bases import InstanceHead
from segkit.ops.instances.pseudo_masks import pseudo_masks
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.instances.runner import BoxSupervised, with_padding
from segkit.types import Batch, Found, Meta, Outputs, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop
    from segkit.engine.setup import DataSets
    from segkit.models.segmentor import Segmentor


@RUNNERS.register
class BoxTeacher(BoxSupervised):
    """Trains on boxes, and on the masks that the moving average of the network finds in them.

    In every step the average, which section `loop` asks for (ema, ema_rise, ema_buffers), finds instances in the clean
    image (transform KeepClean; without it the image itself), resized as for a test. Each object takes the instance
    whose box fits it best (ops.instances.pseudo_masks); its mask and its quality are the batch's "masks" and
    "mask_quality", which a row NoisyMasks reads beside the rows of boxes. As published, the average runs in training
    mode: its batch normalizations use the statistics of the batch, and move their own, those that a test then uses; of
    several processes each has its own, and the main one's are saved.

    Args:
        short, long: the shorter side of the images that the teacher sees, and the limit of the longer one.
        iou: least overlap of an object's box and the instance's.
        score: least score of an instance.
        padding, divisor, growth: as of BoxSupervised.

    Raises:
        ConfigError: divisor or padding is out of range.
    """

    _teacher: Ema

    def __init__(
        self,
        short: PositiveInt = 800,
        long: PositiveInt = 1333,
        iou: Fraction = 0.5,
        score: Fraction = 0.0,
        *,
        padding: float | Sequence[float] | None = None,
        divisor: PositiveInt = 32,
        growth: NonNegativeInt = 4,
    ):
        super().__init__(padding, divisor, growth=growth)
        self.short, self.long, self.iou, self.score = short, long, iou, score

    def stages(self, cfg: dict, datasets: "DataSets") -> list[Stage]:
        """Returns the single stage.

        Raises:
            ConfigError: there is no moving average, or the head says nothing of the quality of its masks.
        """
        if not (cfg.get("loop") or {}).get("ema"):
            raise ConfigError(
                "runner.type = 'BoxTeacher': the teacher is the moving average of the weights; set loop.ema=0.999, "
                "loop.ema_rise=2, loop.ema_buffers=False"
            )
        return super().stages(cfg, datasets)

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Keeps the moving average."""
        super().start(stage, loop)
        assert loop.ema is not None, "stages() has refused it"
        self._teacher = loop.ema

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model, and gives the batch the teacher's masks; see BoxSupervised.forward.

        Changes the batch further: clean [B,3,H,W] is 0 where it is padded; masks are B of bool [n,H,W] that the teacher
        found, mask_quality B of float [n].

        Raises:
            ConfigError: the batch holds no boxes, or the head says nothing of the quality of its masks.
        """
        clean, metas = batch.get("clean", batch["image"]), batch["meta"]
        batch.pop("masks", None)
        padded, inside = with_padding(clean, [meta["valid"] for meta in metas], self.divisor)
        batch["clean"] = padded if inside is None else padded * inside
        outputs = super().forward(model, batch, rng)
        height, width = batch["image"].shape[2:]
        masks, qualities = [], []
        for found, boxes in zip(self.found(clean, metas), batch["boxes"]):
            if found.quality is None:
                raise ConfigError(
                    "runner.type = 'BoxTeacher': the head says nothing of the quality of its masks; set "
                    "model.head.type='CondInstHead', model.head.rescore=True"
                )
            of_image, quality = pseudo_masks(found, boxes, iou=self.iou, score=self.score)
            masks.append(F.pad(of_image, [0, width - of_image.shape[2], 0, height - of_image.shape[1]]))
            qualities.append(quality)
        batch["masks"], batch["mask_quality"] = masks, qualities
        return outputs

    @torch.no_grad()
    def found(self, clean: Tensor, metas: list[Meta]) -> list[Found]:
        """Finds instances by the teacher.

        Args:
            clean: [B,3,H,W] in 0..255.
            metas: of each image, with "valid".

        Returns:
            The instances of each image, masks bool [m,h,w] and boxes in pixels of its valid part.
        """
        network = cast("Segmentor", self._teacher.module)
        image, seen = self.resized(clean, metas)
        image, inside = with_padding(image, [meta["valid"] for meta in seen], self.divisor)
        network.train()
        try:
            outputs = network(self._colored(network, image, inside))
        finally:
            network.eval()
        return cast(InstanceHead, network.head).instances(outputs, seen)

    def resized(self, clean: Tensor, metas: list[Meta]) -> tuple[Tensor, list[Meta]]:
        """Resizes the images of a batch bilinearly to the size of a test.

        Args:
            clean: [B,3,H,W].
            metas: of each image, with "valid".

        Returns:
            float32 [B,3,h,w], 0 where it is padded, and what the head's `instances` is told: "size", that of the image
            in `clean`, and "valid", that of the resized one.
        """
        seen: list[Meta] = []
        images = []
        for image, meta in zip(clean, metas):
            height, width = meta["valid"]
            factor = self.short / min(height, width)
            factor = min(factor, self.long / max(height, width))
            size = (int(height * factor + 0.5), int(width * factor + 0.5))
            part = image[None, :, :height, :width].float()
            images.append(F.interpolate(part, size, mode="bilinear", align_corners=False)[0])
            seen.append(Meta(id=meta["id"], path=meta["path"], size=(height, width), valid=size))
        most = [max(meta["valid"][axis] for meta in seen) for axis in (0, 1)]
        stack = clean.new_zeros((len(images), clean.shape[1], *most), dtype=torch.float32)
        for canvas, image in zip(stack, images):
            canvas[:, : image.shape[1], : image.shape[2]] = image
        return stack, seen
