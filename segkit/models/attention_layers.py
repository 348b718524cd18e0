"""Self-attention over the positions of a feature map, shared by the heads of several papers.

Shape legend: B batch, K classes, C channels, h w height and width of a feature map, D channels of queries and keys.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.ops.resizing import grid_means
from segkit.types import Outputs


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float = 1.0) -> Tensor:
    """Scaled dot-product attention between the positions of feature maps, with one attention head.

    Args:
        query: float [B,D,h,w].
        key: float [B,D,m,n].
        value: float [B,C,m,n].
        scale: factor of the products before the softmax.

    Returns:
        float [B,C,h,w]: at each position of the query the mean of the values, weighted by softmax(scale * <query, key>)
        over the m * n positions.
    """
    tokens = [x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (query, key, value)]
    if query.is_cuda:
        # the kernels that never store the [h * w,m * n] products read contiguous channels
        tokens = [x.contiguous() for x in tokens]
    queries, keys, values = tokens
    mixed = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
    return mixed.squeeze(1).transpose(1, 2).unflatten(2, query.shape[-2:])


def pool_points(x: Tensor, bins: tuple[int, ...]) -> Tensor:
    """Averages a feature map over several grids and lists all grid cells as positions (spatial pyramid pooling).

    Args:
        x: float [B,C,h,w].
        bins: cells per side of each grid.

    Returns:
        float [B,C,sum of bins squared,1].
    """
    return torch.cat([grid_means(x, size).flatten(2) for size in bins], dim=2).unsqueeze(3)


def project(in_channels: int, channels: int, num_convs: int = 1, *, norm: bool = True) -> nn.Module:
    """Builds the 1x1 convolutions that make queries, keys or values.

    Args:
        in_channels: channels of the feature map.
        channels: output channels.
        num_convs: number of convolutions, each followed by batch normalization and ReLU.
        norm: False gives a single convolution with a bias and nothing after it.

    Returns:
        A module that maps float [B,in_channels,h,w] to float [B,channels,h,w].
    """
    if not norm:
        return nn.Conv2d(in_channels, channels, 1)
    convs = [ConvBNReLU(in_channels if i == 0 else channels, channels, 1) for i in range(num_convs)]
    return convs[0] if num_convs == 1 else nn.Sequential(*convs)


def start_at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """Sets weights and bias of a convolution to 0, so that a residual branch adds nothing at the first step."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class SelfAttention2d(nn.Module):
    """Attention of each position of a feature map to all positions of the same or of another map.

    Args:
        query: module that makes the queries.
        key: module that makes the keys; None makes them with the query's module, and weights, from the context.
        value: module that makes the values.
        out: applied to the attended values; None for nothing.
        scale: factor of the products before the softmax, D ** -0.5 in most papers.
        bins: keys and values are first averaged over grids with these numbers of cells per side; () keeps all
            positions.
    """

    def __init__(
        self,
        query: nn.Module,
        key: nn.Module | None,
        value: nn.Module,
        out: nn.Module | None = None,
        *,
        scale: float = 1.0,
        bins: tuple[int, ...] = (),
    ):
        super().__init__()
        self.query, self.key, self.value = query, key, value
        self.out = nn.Identity() if out is None else out
        self.scale = scale
        self.bins = tuple(bins)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Attends from each position of x to the positions of the context.

        Args:
            x: float [B,C,h,w], from which the queries are made.
            context: float [B,C2,m,n], from which keys and values are made; None takes x itself.

        Returns:
            float [B,C',h,w].
        """
        source = x if context is None else context
        query = self.query(x)
        if self.key is not None:
            key = self.key(source)
        else:
            key = query if context is None else self.query(source)
        value = self.value(source)
        if self.bins:
            key, value = pool_points(key, self.bins), pool_points(value, self.bins)
        return self.out(attend(query, key, value, scale=self.scale))


class BlockFCN(Head):
    """An FCN head with a context block between two 3x3 convolutions.

    NonLocal, GCNet, DNL and CCNet are compared in this form: convolution, block, convolution, a third convolution over
    the result concatenated with the head's input, and a classifier.

    Args:
        in_channels: channels of each feature map.
        num_classes: K.
        block: maps float [B,channels,h,w] to the same shape.
        channels: of the convolutions.
        concat_input: whether the third convolution is there.
        dropout: share of channels dropped before the classifier.
        level: index of the feature map that is read, -1 for the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        block: nn.Module,
        *,
        channels: PositiveInt = 512,
        concat_input: bool = True,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        width = at_level(in_channels, level)
        self.convs = nn.ModuleList([ConvBNReLU(width, channels), ConvBNReLU(channels, channels)])
        self.block = block
        self.merge = ConvBNReLU(width + channels, channels) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts classes from one feature map.

        Args:
            features: float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits" float [B,K,h,w] and "embedding" float [B,channels,h,w], the classifier's input.
        """
        x = features[self.level]
        mixed = self.convs[1](self.block(self.convs[0](x)))
        if self.merge is not None:
            mixed = self.merge(torch.cat([x, mixed], dim=1))
        embedding = self.dropout(mixed)
        return {"logits": self.classifier(embedding), "embedding": embedding}
