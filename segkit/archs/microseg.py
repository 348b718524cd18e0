"""The head of MicroSeg, which classifies proposed regions: DeepLabv3 with heads of single steps.

Zhang et al., Mining Unseen Classes via Regional Objectness: A Simple Baseline for Incremental Segmentation, NeurIPS
2022, https://arxiv.org/abs/2211.06866. Its proposals come from a network trained on COCO, which has seen the classes of
VOC: scores with them are not comparable with those of other methods. The head is not registered: the data sets do not
read proposals yet.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.layers import ASPP, ConvBNReLU, at_level
from segkit.models.step_heads import step_head
from segkit.types import Outputs


def region_head(in_channels: int, num_outputs: int) -> nn.Sequential:
    """Returns three 3x3 convolutions that keep the channels, each normalized and with a ReLU, and a 1x1 convolution."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False), nn.BatchNorm2d(in_channels)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.Conv2d(in_channels, num_outputs, 1))


class MicroSegHead(nn.Module):
    """Classifies each pixel, and each proposed region by its mean feature, with a head for each group of outputs.

    Args:
        in_channels: channels of each feature map.
        groups: outputs of each group: unknown objects, background, the first step's classes, then each later step's.
        channels: width of each pyramid branch and of the embedding.
        rates: dilations of the pyramid's 3x3 convolutions.
        dropout: probability of dropping an element of the embedding.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        groups: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 256,
        rates: tuple[PositiveInt, ...] = (6, 12, 18),
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level, self.num_unknown = level, groups[0]
        self.aspp = ASPP(at_level(in_channels, level), channels, rates)
        self.fuse = ConvBNReLU((len(rates) + 2) * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.pixels = nn.ModuleList(step_head(channels, count) for count in groups)
        self.regions = nn.ModuleList(region_head(channels, count) for count in groups)

    def forward(self, features: list[Tensor], proposals: Tensor, num_proposals: int) -> Outputs:
        """Predicts the logits of all outputs.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            proposals: int64 [B,H,W], the number of the proposal at each pixel; a pixel of none is -1.
            num_proposals: P.

        Returns:
            "logits", float [B,O,H,W], those of the proposal at each pixel, and "pixel.logits", float [B,O,h,w], in both
            of which the outputs for unknown objects are summed into one; "unknown", float [B,U,H,W], the single ones of
            the proposals; "proposal_logits", float [B,P,U + O - 1]; "embedding", float [B,channels,h,w].
        """
        x = features[self.level]
        embedding = self.dropout(self.fuse.over_concat(self.aspp(x), like=x))
        of_pixels = torch.cat([head(embedding) for head in self.pixels], 1)
        means = region_means(embedding, proposals, num_proposals)
        flat = means.flatten(0, 1)[..., None, None]
        of_regions = torch.cat([head(flat) for head in self.regions], 1)[..., 0, 0].unflatten(0, means.shape[:2])
        composed = composed_map(of_regions, proposals)
        return {
            "logits": self.merged(composed),
            "pixel.logits": self.merged(of_pixels),
            "unknown": composed[:, : self.num_unknown],
            "proposal_logits": of_regions,
            "embedding": embedding,
        }

    def merged(self, logits: Tensor) -> Tensor:
        """Sums the outputs for unknown objects: float [B,U + O - 1,h,w] -> float [B,O,h,w]."""
        unknown = logits[:, : self.num_unknown].sum(1, keepdim=True)
        return torch.cat([unknown, logits[:, self.num_unknown :]], 1)


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
