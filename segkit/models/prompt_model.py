"""Promptable networks as click models: SAM, SAM 2 and HQ-SAM of transformers.

B batch, P clicks per sign, n points, H W image, S side of the network's input, s side of its masks.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeInt
from segkit.models.bases import Network
from segkit.models.click_segmentor import Encoded
from segkit.models.normalize import normalized
from segkit.models.prompt_networks import KINDS, build_network, describe, load_pretrained
from segkit.registry import MODELS, ConfigError
from segkit.types import Outputs

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of pixels in 0..255."""

SURE = 1e-3
"""Probabilities of a mask that is given are at least so far from 0 and 1 when they become logits."""

POSITIVE, NEGATIVE = 1, 0
"""Labels of points."""


class Prompts(NamedTuple):
    """What is asked of each image of a batch.

    Attributes:
        points: float [B,n,2] of x, y in pixels of the network's input; rows that are empty have any value.
        labels: int64 [B,n], POSITIVE or NEGATIVE, -1 in empty rows.
        masks: logits of the mask before, float [B,1,s,s]; of images without one any value.
        has_mask: bool [B].
        boxes: float [B,4] of x0, y0, x1, y1 in pixels of the network's input; of images without one any value.
        has_box: bool [B].
        size: (H, W) of the images.
    """

    points: Tensor
    labels: Tensor
    masks: Tensor
    has_mask: Tensor
    boxes: Tensor
    has_box: Tensor
    size: tuple[int, int]


@MODELS.register
class PromptModel(Network):
    """A promptable network that answers clicks, boxes and the mask before, with the methods of a ClickSegmentor.

    The image is encoded once, and each answer runs prompt encoder and mask decoder alone. Of the three masks that
    answer points, the one with the highest predicted IoU counts; a box gets a single mask. The logits of an answer are
    the mask prompt of the next one. It sees the whole image: inference.clicks = dict(zoom=None, flip=False,
    threshold=.5).

    In training the mask decoder learns, and all else stays as it is: its encoder runs without gradients.

    Args:
        num_classes: must be 1, the object.
        architecture: a name such as "sam-b", "sam-hq-l" or "sam2-t" (prompt_networks.ARCHITECTURES), or a description
            as in a config.json of transformers.
        pretrained: published weights, as a folder with config.json and model.safetensors or as OWNER/NAME of the
            Hugging Face hub; None for random ones.
        previous_mask: whether the mask before is a prompt.
        multimask: whether points are answered by the best of three masks instead of a single one.
        hq_only: of HQ-SAM, leaves out the masks of plain SAM, which are added to its own otherwise.
        cache: images whose features are kept in memory, 4 to 16 MB each, those that were asked for last: the rounds and
            the trained pass of a step encode once where a batch fits, and in a training whose transforms leave images
            unchanged each is encoded once where all fit.

    Raises:
        ConfigError: num_classes is not 1, transformers is not installed or cannot build the architecture, or the
            weights cannot be had.
    """

    def __init__(
        self,
        num_classes: int = 1,
        *,
        architecture: str | dict[str, Any] = "sam-b",
        pretrained: str | Path | None = None,
        previous_mask: bool = True,
        multimask: bool = True,
        hq_only: bool = False,
        cache: NonNegativeInt = 8,
    ):
        super().__init__()
        if num_classes != 1:
            raise ConfigError(
                f"model.num_classes = {num_classes}: a click model separates one object from the rest, set 1"
            )
        description = describe(architecture)
        self.kind = KINDS[description["model_type"]]
        self.network = build_network(description)
        if pretrained and not torch.empty(0).is_meta:
            load_pretrained(self.network, description, pretrained)
        self.num_classes, self.align_corners = 1, False
        self.has_previous, self.multimask, self.hq_only = previous_mask, multimask, hq_only
        settings = cast(Any, self.network).config.prompt_encoder_config
        self.side = int(settings.image_size)
        self.mask_side = 4 * (self.side // int(settings.patch_size))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.cache = cache
        self._kept: OrderedDict[bytes, list[Tensor]] = OrderedDict()
        self._freeze()

    def _freeze(self) -> None:
        """Freezes all but the mask decoder, and of that what belongs to encoding or to the choice of a mask."""
        for name, weight in self.network.named_parameters():
            is_encoding = name.startswith(("mask_decoder.conv_s0", "mask_decoder.conv_s1"))
            is_choice = name.startswith(("mask_decoder.iou_prediction_head", "mask_decoder.pred_obj_score_head"))
            weight.requires_grad_(name.startswith("mask_decoder.") and not is_encoding and not is_choice)
        self.frozen = ("network.vision_encoder", "network.prompt_encoder")

    def normalize(self, image: Tensor) -> Tensor:
        """Returns images as they are: `encode` knows their sizes only before they are resized."""
        return image

    def pixels(self, image: Tensor) -> Tensor:
        """Resizes and normalizes images as the network's own processor does.

        Args:
            image: uint8, or float in 0..255, RGB [B,3,H,W].

        Returns:
            float32 [B,3,S,S], padded at the right and bottom with zeros where the aspect is kept.
        """
        from torchvision.transforms.v2 import functional

        size = self.scaled((image.shape[-2], image.shape[-1]))
        resized = functional.resize(image, list(size), antialias=True)
        return F.pad(normalized(resized, self.mean, self.std), (0, self.side - size[1], 0, self.side - size[0]))

    def scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the size to which an image of size (H, W) is resized."""
        if not self.kind.keeps_aspect:
            return self.side, self.side
        scale = self.side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

    def encode(self, normalized: Tensor) -> Encoded:
        """Runs the image encoder, without gradients.

        Args:
            normalized: uint8, or float in 0..255, RGB [B,3,H,W].

        Returns:
            The images and their features, the map that prompts are added to last.
        """
        if not self.cache:
            return Encoded(normalized, self._features(normalized))
        parts = [self._cached(image[None]) for image in normalized]
        return Encoded(normalized, [torch.cat(maps) for maps in zip(*parts, strict=True)])

    @torch.inference_mode(False)  # what is kept may later be read by a training
    @torch.no_grad()
    def _features(self, image: Tensor) -> list[Tensor]:
        maps = cast(Any, self.network).get_image_embeddings(self.pixels(image))
        if isinstance(maps, Tensor):
            return [maps]
        if self.kind.has_inner_maps:
            return [*maps[1], maps[0]]
        return list(maps)

    def _cached(self, image: Tensor) -> list[Tensor]:
        """The features of one image, [1,3,H,W], from the cache where it holds them."""
        values = image.detach().cpu().contiguous()
        key = hashlib.blake2b(repr(values.shape).encode() + values.numpy().tobytes(), digest_size=16).digest()
        if key not in self._kept:
            self._kept[key] = [maps.cpu() for maps in self._features(image)]
            if len(self._kept) > self.cache:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return [maps.to(image.device) for maps in self._kept[key]]

    def guidance(self, clicks: Tensor, size: tuple[int, int], previous: Tensor | None = None) -> Prompts:
        """Turns clicks and the mask before into prompts.

        Args:
            clicks: float [B,2P,3] of y, x, order; the first P are positive, the others negative; a row is empty iff
                max(y, x) < 0.
            size: (H, W) of the images.
            previous: float [B,1,H,W] probabilities, all 0 for no mask; None for none.
        """
        batch, rows = clicks.shape[:2]
        inner = self.scaled(size)
        factors = clicks.new_tensor([inner[1] / size[1], inner[0] / size[0]])
        labels = torch.full((batch, rows), NEGATIVE, device=clicks.device)
        labels[:, : rows // 2] = POSITIVE
        labels[clicks[..., :2].amax(-1) < 0] = -1
        none = torch.zeros(batch, dtype=torch.bool, device=clicks.device)
        masks = clicks.new_zeros(batch, 1, self.mask_side, self.mask_side)
        has_mask = none
        if previous is not None and self.has_previous:
            masks, has_mask = self._low(previous), previous.flatten(1).amax(1) > 0
        return Prompts(clicks[..., [1, 0]] * factors, labels, masks, has_mask, clicks.new_zeros(batch, 4), none, size)

    def with_state(
        self, prompts: Prompts, masks: Sequence[Tensor | None], boxes: Sequence[tuple[float, ...] | None]
    ) -> Prompts:
        """Adds what a session keeps to the prompts.

        Args:
            prompts: of `guidance`.
            masks: of each image "low_logits" of its last answer, float [1,1,s,s]; None leaves the mask prompt as it is.
            boxes: of each image y0, x0, y1, x1 in its pixels; None for no box.
        """
        kept, has_mask = prompts.masks.clone(), prompts.has_mask.clone()
        corners, has_box = prompts.boxes.clone(), prompts.has_box.clone()
        inner, size = self.scaled(prompts.size), prompts.size
        rows, columns = inner[0] / size[0], inner[1] / size[1]
        for i, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
            if mask is not None and self.has_previous:
                kept[i], has_mask[i] = mask[0], True
            if box is not None:
                y0, x0, y1, x1 = box
                corners[i] = corners.new_tensor([x0 * columns, y0 * rows, x1 * columns, y1 * rows])
                has_box[i] = True
        return prompts._replace(masks=kept, has_mask=has_mask, boxes=corners, has_box=has_box)

    def answer(self, encoded: Encoded, guidance: Prompts, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Answers prompts.

        Images with the same kinds and numbers of prompts share a pass: an empty point would change the answer.

        Args:
            encoded: of `encode`.
            guidance: of `guidance`, of the same images.
            window: not used.

        Returns:
            "logits" float [B,1,H,W]; "low_logits" float [B,1,s,s], as the network gives them; and "iou" float [B,1],
            their predicted IoU.
        """
        prompts = guidance
        counts = (prompts.labels >= 0).sum(1)
        keys = torch.stack([counts, prompts.has_mask.long(), prompts.has_box.long()], dim=1).tolist()
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, key in enumerate(keys):
            groups.setdefault(tuple(key), []).append(i)
        low: list[Tensor] = [prompts.masks[0]] * len(keys)
        scores = low.copy()
        for (count, has_mask, has_box), members in groups.items():
            masks, iou = self._decoded(encoded, prompts, members, (count, bool(has_mask), bool(has_box)))
            for position, i in enumerate(members):
                low[i], scores[i] = masks[position], iou[position]
        low_logits = torch.stack(low).float()
        return {"logits": self._full(low_logits, prompts.size), "low_logits": low_logits, "iou": torch.stack(scores)}

    def _decoded(
        self, encoded: Encoded, prompts: Prompts, members: list[int], asked: tuple[int, bool, bool]
    ) -> tuple[Tensor, Tensor]:
        """Masks float [b,1,s,s] and their predicted IoU float [b,1] of images with equal kinds of prompts."""
        count, has_mask, has_box = asked
        index = torch.tensor(members, device=encoded.image.device)
        features = [maps[index] for maps in encoded.features]
        arguments: dict[str, Any] = {"multimask_output": self.multimask and not has_box}
        if count:
            is_point = prompts.labels[index] >= 0
            arguments["input_points"] = prompts.points[index][is_point].view(len(members), 1, count, 2)
            arguments["input_labels"] = prompts.labels[index][is_point].view(len(members), 1, count)
        if has_box:
            arguments["input_boxes"] = prompts.boxes[index][:, None]
        if has_mask:
            arguments["input_masks"] = prompts.masks[index]
        if self.kind.has_inner_maps:
            arguments |= {"intermediate_embeddings": features[:-1], "hq_token_only": self.hq_only}
        embeddings = features[-1] if len(features) == 1 or self.kind.has_inner_maps else features
        result = self.network(image_embeddings=embeddings, **arguments)
        masks, iou = result.pred_masks[:, 0], result.iou_scores[:, 0]
        best = iou[:, : masks.shape[1]].argmax(1)
        rows = torch.arange(len(members), device=best.device)
        return masks[rows, best][:, None], iou[rows, best][:, None]

    def _full(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        """Brings masks of the network, float [B,1,s,s], to the images' size (H, W)."""
        if self.kind.keeps_aspect:
            inner = self.scaled(size)
            low = F.interpolate(low, size=(self.side, self.side), mode="bilinear", align_corners=False)
            low = low[..., : inner[0], : inner[1]]
        return F.interpolate(low, size=size, mode="bilinear", align_corners=False)

    def _low(self, probabilities: Tensor) -> Tensor:
        """Brings probabilities at the images' size to mask prompts, float [B,1,s,s]: the other way, with padding."""
        logits = torch.logit(probabilities.float(), eps=SURE)
        inner = self.scaled((logits.shape[-2], logits.shape[-1]))
        logits = F.interpolate(logits, size=inner, mode="bilinear", align_corners=False)
        least = float(torch.logit(torch.tensor(SURE)))
        logits = F.pad(logits, (0, self.side - inner[1], 0, self.side - inner[0]), value=least)
        return F.interpolate(logits, size=(self.mask_side, self.mask_side), mode="bilinear", align_corners=False)

    def run(self, normalized: Tensor, guidance: Prompts, window: Sequence[tuple[float, ...]] | None = None) -> Outputs:
        """Runs `encode` and `answer`."""
        return self.answer(self.encode(normalized), guidance, window)

    def forward(
        self,
        image: Tensor,
        clicks: Tensor,
        previous: Tensor | None = None,
        window: Sequence[tuple[float, ...]] | None = None,
    ) -> Outputs:
        """Answers clicks; see ClickSegmentor.forward and `answer`."""
        size = (image.shape[-2], image.shape[-1])
        return self.run(self.normalize(image), self.guidance(clicks, size, previous), window)

    def probabilities(self, image: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """As `forward`, but returns probabilities at the images' size, float32 [B,1,H,W]."""
        return self.probabilities_of(self.encode(image), clicks, previous)

    def probabilities_of(self, encoded: Encoded, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """As ClickSegmentor.probabilities_of."""
        size = (encoded.image.shape[-2], encoded.image.shape[-1])
        return self.answer(encoded, self.guidance(clicks, size, previous))["logits"].sigmoid()
