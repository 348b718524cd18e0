"""The head of SSUL, Cha et al., NeurIPS 2021, https://arxiv.org/abs/2106.11562: DeepLabv3 with one head per step."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConvBNReLU, at_level
from segkit.models.step_heads import StepHeads
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class SSULHead(Head):
    """Atrous spatial pyramid pooling, and a head of two convolutions for unknown objects, the background and each step.

    Its outputs are unknown, background, then the classes in the order of the steps: the model takes readout="unknown".

    Args:
        in_channels: channels of each feature map.
        num_classes: outputs of the first step, with unknown and background.
        channels: width of each pyramid branch and of the embedding.
        rates: dilations of the pyramid's 3x3 convolutions.
        dropout: probability of dropping an element of the embedding.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
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
        self.classifier = StepHeads(channels, num_classes)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts the logits of all outputs.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,num_classes and those of later steps,h,w], and "embedding", float [B,channels,h,w], the
            input of the heads.
        """
        x = features[self.level]
        embedding = self.dropout(self.fuse.over_concat(self.aspp(x), like=x))
        return {"logits": self.classifier(embedding), "embedding": embedding}
