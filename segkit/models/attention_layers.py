"""Attention over the positions of a map, and the heads built around one such block, as several papers share them.

Shape legend: B batch, K classes, C channels, h w height and width of a feature map, D channels that are compared.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float = 1.0) -> Tensor:
    """query: float [B,D,h,w]; key: float [B,D,m,n]; value: float [B,C,m,n] -> float [B,C,h,w]: at each position of the
    query the mean of the values, weighted by softmax(scale * <query, key>) over the m * n positions."""
    rows = [x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (query, key, value)]
    if query.is_cuda:
        # the kernels that hold no [h * w,m * n] products read channels that lie side by side
        rows = [x.contiguous() for x in rows]
    mixed = F.scaled_dot_product_attention(*rows, scale=scale)
    return mixed.squeeze(1).transpose(1, 2).unflatten(2, query.shape[-2:])


def pool_points(x: Tensor, bins: tuple[int, ...]) -> Tensor:
    """float [B,C,h,w] -> float [B,C,sum of bins squared,1]: the means over grids of each number of cells a side."""
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in bins], dim=2).unsqueeze(3)


def project(in_channels: int, channels: int, num_convs: int = 1, *, norm: bool = True) -> nn.Module:
    """1x1 convolutions to what is compared or gathered: num_convs with normalization and ReLU, or with norm=False a
    single one with a bias and nothing after it."""
    if not norm:
        return nn.Conv2d(in_channels, channels, 1)
    convs = [ConvBNReLU(in_channels if i == 0 else channels, channels, 1) for i in range(num_convs)]
    return convs[0] if num_convs == 1 else nn.Sequential(*convs)


def start_at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias 0: what it adds is nothing at the first step."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class SelfAttention2d(nn.Module):
    """What a position gathers from the positions of its own or of another map: [B,C,h,w] -> [B,C',h,w].

    query, key, value: modules that make the compared and the gathered maps; key=None compares the query's own maps, by
    the same weights; out: applied to what was gathered, None for nothing; scale: of the products before the softmax,
    D ** -0.5 in most papers; bins: keys and values are first averaged over grids of these numbers of cells a side.
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
        """x: float [B,C,h,w], whose positions ask; context: float [B,C2,m,n], which answers, None for x itself
        -> float [B,C',h,w]."""
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


class BlockFCN(nn.Module):
    """Two 3x3 convolutions with a block between them that lets positions see each other, a third over the result
    beside the head's input, and a classifier: the form in which NonLocal, GCNet, DNL and CCNet are compared.

    in_channels, level: of the features, the one that is read; block: float [B,channels,h,w] -> the same; concat_input:
    whether the third convolution is there; dropout: share of channels dropped before the classifier.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        block: nn.Module,
        *,
        channels: int = 512,
        concat_input: bool = True,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,K,h,w], embedding [B,channels,h,w]."""
        x = features[self.level]
        mixed = self.convs[1](self.block(self.convs[0](x)))
        if self.merge is not None:
            mixed = self.merge(torch.cat([x, mixed], dim=1))
        embedding = self.dropout(mixed)
        return {"logits": self.classifier(embedding), "embedding": embedding}
