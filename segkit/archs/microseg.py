"""The head of MicroSeg, which classifies proposed regions: DeepLabv3 with heads of single steps.

Zhang et al., Mining Unseen Classes via Regional Objectness: A Simple Baseline for Incremental Segmentation, NeurIPS
2022, https://arxiv.org/abs/2211.06866. Its proposals come from a network trained on COCO, which has seen the classes of
VOC: scores with them are not comparable with those of other methods.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConvBNReLU, at_level
from segkit.models.step_heads import ProposalHeads
from segkit.registry import HEADS
from segkit.types import MOST_PROPOSALS, Outputs


@HEADS.register
class MicroSegHead(Head):
    """Classifies each pixel, and each proposed region by its mean feature, with a head for each step.

    Its outputs are unknown, background, then the classes in the order of the steps: the model takes readout="unknown".
    The proposed regions are one more channel of the model's input, see runner.proposals.

    Args:
        in_channels: channels of each feature map.
        num_classes: outputs of the first step, with unknown and background.
        num_unknown: outputs for unknown objects, which are summed into one.
        channels: width of each pyramid branch and of the embedding.
        rates: dilations of the pyramid's 3x3 convolutions.
        dropout: probability of dropping an element of the embedding.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    needs = ("proposals",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        num_unknown: PositiveInt = 5,
        channels: PositiveInt = 256,
        rates: tuple[PositiveInt, ...] = (6, 12, 18),
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        self.aspp = ASPP(at_level(in_channels, level), channels, rates)
        self.fuse = ConvBNReLU((len(rates) + 2) * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = ProposalHeads(channels, num_classes, num_unknown)

    def forward(self, features: list[Tensor], proposals: Tensor) -> Outputs:
        """Predicts the logits of all outputs.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            proposals: [B,H,W], the number of the proposed region that a pixel is of, 1 to MOST_PROPOSALS, or 0.

        Returns:
            "logits", float [B,O,H,W], those of the region at each pixel, 0 where there is none, and "pixel.logits",
            float [B,O,h,w], of the num_classes O and those of later steps; "unknown", float [B,U,H,W], the single
            outputs of the regions for unknown objects; "proposal_logits", float [B,P,U + O - 1] of the regions;
            "embedding", float [B,channels,h,w].
        """
        x, regions = features[self.level], proposals.long() - 1
        embedding = self.dropout(self.fuse.over_concat(self.aspp(x), like=x))
        of_regions = self.classifier.of_regions(region_means(embedding, regions, MOST_PROPOSALS))
        composed = composed_map(of_regions, regions)
        return {
            "logits": self.classifier.merged(composed),
            "pixel.logits": self.classifier.merged(self.classifier(embedding)),
            "unknown": composed[:, : self.classifier.num_unknown],
            "proposal_logits": of_regions,
            "embedding": embedding,
        }


def region_means(features: Tensor, proposals: Tensor, num_proposals: int) -> Tensor:
    """Averages features, resized to the proposals, over each proposal; 0 where one is empty.

    Args:
        features: float [B,C,h,w].
        proposals: int64 [B,H,W], -1 for none.
        num_proposals: P.

    Returns:
        float [B,P,C].
    """
    resized = F.interpolate(features, proposals.shape[-2:], mode="bilinear", align_corners=False)
    chosen = _chosen(proposals, num_proposals, resized)
    sums = torch.einsum("bphw,bchw->bpc", chosen, resized)
    return sums / chosen.sum((2, 3)).clamp_min(1).unsqueeze(2)


def composed_map(of_regions: Tensor, proposals: Tensor) -> Tensor:
    """Gives each pixel the logits of its proposal, 0 where it has none.

    Args:
        of_regions: float [B,P,O].
        proposals: int64 [B,H,W], -1 for none.

    Returns:
        float [B,O,H,W].
    """
    return torch.einsum("bphw,bpo->bohw", _chosen(proposals, of_regions.shape[1], of_regions), of_regions)


def _chosen(proposals: Tensor, num_proposals: int, like: Tensor) -> Tensor:
    """One map of 0 and 1 for each proposal, float [B,P,H,W]."""
    numbers = torch.arange(num_proposals, device=proposals.device).view(-1, 1, 1)
    return (proposals[:, None] == numbers).to(like.dtype)
