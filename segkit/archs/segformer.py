"""SegFormer, Xie et al., NeurIPS 2021, https://arxiv.org/abs/2105.15203."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class SegFormerHead(Head):
    """SegFormer head: projects every map to one width, resizes all to stride 4, fuses and classifies them.

    Section 3.2, eq. 4: the projections are linear layers, which are 1x1 convolutions of a map. The maps are
    concatenated shallow first. The authors' code and Hugging Face's concatenate them deep first; key maps reorder their
    weights.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the projections and of the fused map; the authors have 256 with MiT-B0 and B1 and 768 with
            the larger ones, mmsegmentation 256 with all.
        num_levels: number of maps that are read, counted from the deepest; segmentation_models reads a fifth one, of
            stride 2, where the encoder gives it. The result has the size of the fourth from the end, or of the finest
            of fewer maps.
        norm: gives each projection batch normalization and a ReLU in place of a bias, as in mmsegmentation.
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
        channels: PositiveInt = 256,
        num_levels: Rounds = 4,
        norm: bool = False,
        dropout: Decay = 0.1,
        align_corners: bool = False,
        align_maps: bool | None = None,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels = num_levels
        self.align_corners = align_corners if align_maps is None else align_maps
        self.projections = nn.ModuleList(
            ConvBNReLU(width, channels, 1) if norm else nn.Conv2d(width, channels, 1)
            for width in in_channels[-num_levels:]
        )
        self.fuse = ConvBNReLU(num_levels * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, at the
            size of the fourth map from the end.
        """
        maps = [project(x) for project, x in zip(self.projections, features[-self.num_levels :])]
        like = maps[max(len(maps) - 4, 0)]
        embedding = self.dropout(self.fuse.over_concat(maps, like=like, align_corners=self.align_corners))
        return {"logits": self.classifier(embedding), "embedding": embedding}
