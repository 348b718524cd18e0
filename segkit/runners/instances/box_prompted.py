"""Promptable networks of the package transformers (SAM, SAM 2, HQ-SAM) that draw a mask in each box.

Kirillov et al., ICCV 2023, https://arxiv.org/abs/2304.02643; Ravi et al., ICLR 2025, https://arxiv.org/abs/2408.00714;
Ke et al., NeurIPS 2023, https://arxiv.org/abs/2306.01567. n boxes of an image, H W image.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.registry import ConfigError

KINDS = ("sam", "sam2", "sam2_video", "sam_hq")
"""Values of model_type in a network's config.json that take boxes."""

AT_ONCE = 64
"""Boxes that are drawn in one batch; each holds a mask of the image's size in float32."""


class Drawn(NamedTuple):
    """Masks of some boxes of an image.

    Attributes:
        logits: float32 [n,H,W], a pixel belongs to the mask above 0.
        ious: float32 [n], the IoU that the network predicts of each.
    """

    logits: Tensor
    ious: Tensor


class BoxPrompted:
    """A network that draws a mask in each box.

    Args:
        name: a folder with config.json, preprocessor_config.json and model.safetensors, or a repository of the Hugging
            Face hub, OWNER/NAME or hf:OWNER/NAME. Nothing in it is executed: weights are read as safetensors alone.
        device: where it runs.

    Raises:
        ConfigError: transformers is not installed, the network cannot be read, or takes no boxes.
    """

    def __init__(self, name: str, device: torch.device):
        try:
            from transformers import AutoConfig, AutoModelForMaskGeneration, AutoProcessor
        except ImportError as error:
            raise ConfigError(
                f'--model {name}: needs the package transformers; run: pip install "segkit[promptable]"'
            ) from error
        name = name.removeprefix("hf:")
        safe: dict[str, Any] = dict(trust_remote_code=False)
        try:
            kind = AutoConfig.from_pretrained(name, **safe).model_type
            if kind not in KINDS:
                raise ConfigError(f"--model {name}: is of the kind '{kind}', which takes no boxes; take a SAM or SAM 2")
            self.model = AutoModelForMaskGeneration.from_pretrained(name, use_safetensors=True, **safe)
            self.processor = AutoProcessor.from_pretrained(name, **safe)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).split("\n")[0]
            raise ConfigError(
                f"--model {name}: cannot be read by transformers ({reason}); give a folder with config.json, "
                "preprocessor_config.json and model.safetensors, or OWNER/NAME of the hub"
            ) from error
        self.model.to(device).eval()
        self.device = device

    @torch.no_grad()
    def draw(self, image: np.ndarray, boxes: np.ndarray) -> Iterator[Drawn]:
        """Embeds an image once and draws its boxes, AT_ONCE of them in a batch.

        Args:
            image: uint8 [H,W,3] RGB.
            boxes: float [n,4] x0, y0, x1, y1 in pixels, n at least 1.

        Yields:
            The masks of the batches, in the order of the boxes.
        """
        inputs = self.processor(images=image, input_boxes=[boxes.tolist()], return_tensors="pt")
        features = self._features(inputs["pixel_values"].to(self.device))
        sizes = [inputs[key] for key in ("original_sizes", "reshaped_input_sizes") if key in inputs]
        for prompts in inputs["input_boxes"].split(AT_ONCE, 1):
            outputs = self.model(**features, input_boxes=prompts.to(self.device).float(), multimask_output=False)
            (logits,) = self.processor.post_process_masks(outputs.pred_masks.float(), *sizes, binarize=False)
            yield Drawn(logits[:, 0], outputs.iou_scores[0, :, 0].float())

    def _features(self, pixels: Tensor) -> dict[str, Any]:
        """What the network computes of an image, as its forward takes it."""
        embeddings = self.model.get_image_embeddings(pixels)
        if isinstance(embeddings, tuple):  # HQ-SAM's decoder also reads maps of earlier layers
            return dict(image_embeddings=embeddings[0], intermediate_embeddings=embeddings[1])
        return dict(image_embeddings=embeddings)
