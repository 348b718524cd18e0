"""A network whose right answer is known: class 1, or an instance, is where the image is bright."""

import torch
from torch import Tensor, nn

from segkit.models.bases import InstanceHead, Network
from segkit.ops.instances.query_results import at_original, boxes_at_original, mask_boxes
from segkit.types import Found, Meta, Outputs


class BrightHead(InstanceHead):
    """Finds one instance, all that is bright; `boxes` are brought back apart from the masks."""

    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        gray, found = outputs["gray"], []
        size = (gray.shape[-2], gray.shape[-1])
        for maps, one in zip(gray, meta):
            masks = at_original(maps, size, one) > 0
            boxes = boxes_at_original(mask_boxes(maps > 0), size, one)
            found.append(Found(torch.ones(1), torch.zeros(1, dtype=torch.int64), masks, boxes))
        return found


class Bright(Network):
    """Logits 127 - gray and gray - 127 at the size of the image.

    Args:
        num_classes: as every network has it; the classes beyond the second are never found.
        align_corners: of the resizing of predictions.
    """

    def __init__(self, num_classes: int = 2, align_corners: bool = False):
        super().__init__()
        self.num_classes, self.align_corners, self.config = num_classes, align_corners, {}
        self.head = BrightHead()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 127.0), persistent=False)
        self.register_buffer("std", torch.ones(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, window: list | None = None) -> Outputs:
        gray = self.weight * (image.float().mean(1, keepdim=True) - 127)
        rest = [gray * 0 - 1000] * (self.num_classes - 2)
        return {"logits": torch.cat([-gray, gray, *rest], 1), "gray": gray}
