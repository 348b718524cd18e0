"""Unified Perceptual Parsing (UPerNet), Xiao et al., ECCV 2018, https://arxiv.org/abs/1807.10221."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, PyramidPooling, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class UPerHead(Head):
    """UPerNet head: pyramid pooling on the deepest map, a feature pyramid, and all of its maps concatenated.

    Section 3.2, figure 4, the branch for objects.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: channels of every map of the pyramid.
        bins: cells along each side of a pooling grid, one value per grid.
        num_levels: number of maps that are read, counted from the deepest.
        norm_features: normalizes every map that is read over its channels first, as segmentation_models does.
        dropout: share of channels dropped before the classifier.
        align_corners: of the model's predictions.
        align_maps: aligns the corner cells when maps inside the head are resized; None as align_corners says. False in
            segmentation_models, which aligns them in the prediction alone.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        bins: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        num_levels: Rounds = 4,
        norm_features: bool = False,
        dropout: Decay = 0.1,
        align_corners: bool = False,
        align_maps: bool | None = None,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels = num_levels
        self.align_corners = align_corners if align_maps is None else align_maps
        read = in_channels[-num_levels:] if norm_features else ()
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in read)
        *shallow, deep = in_channels[-num_levels:]
        self.pools = PyramidPooling(deep, channels, bins)
        self.fuse = ConvBNReLU(deep + len(bins) * channels, channels)
        self.laterals = nn.ModuleList(ConvBNReLU(width, channels, 1) for width in shallow)
        self.outputs = nn.ModuleList(ConvBNReLU(channels, channels) for _ in shallow)
        self.merge = ConvBNReLU(num_levels * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both
            have the size of the finest map that is read.
        """
        read = features[-self.num_levels :]
        if self.norms:
            read = [norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, x in zip(self.norms, read)]
        maps = self._pyramid(read)
        embedding = self.dropout(self.merge.over_concat(maps, like=maps[0], align_corners=self.align_corners))
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def _pyramid(self, features: list[Tensor]) -> list[Tensor]:
        """The pyramid's maps, float [B,channels,h_i,w_i], the finest first."""
        *shallow, deep = features
        maps = [lateral(x) for lateral, x in zip(self.laterals, shallow)]
        maps.append(self.fuse.over_concat([deep, *self.pools(deep)], like=deep, align_corners=self.align_corners))
        for i in reversed(range(len(shallow))):
            maps[i] = maps[i] + resize(maps[i + 1], like=maps[i], align_corners=self.align_corners)
        return [*(output(x) for output, x in zip(self.outputs, maps)), maps[-1]]
