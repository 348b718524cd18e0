"""Cars Can't Fly up in the Sky: Improving Urban-Scene Segmentation via Height-driven Attention Networks (HANet), Choi,
Kim and Choo, CVPR 2020, https://arxiv.org/abs/2003.05128."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ASPP, ConvBNReLU, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS


class HeightAttention(nn.Module):
    """Weighs each row and channel of a map by what the map before it holds in that row, and by how high in the picture
    the row lies (section 3.1): [B,in_channels,h',w'], [B,channels,h,w] -> [B,channels,h,w].

    rows: into how many the lower map is pooled, and positions the picture has; reduction: of its channels; noise:
    standard deviation of the position in training; dropout: of the pooled channels; use_max: rows pool maxima.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        rows: int = 16,
        reduction: int = 64,
        noise: float = 0.5,
        dropout: float = 0.1,
        use_max: bool = False,
    ):
        super().__init__()
        self.rows, self.noise = rows, noise
        self.pool = F.adaptive_max_pool2d if use_max else F.adaptive_avg_pool2d
        hidden = -(-in_channels // reduction)
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = ConvBNReLU(in_channels, hidden, 1)
        self.position = nn.Embedding(rows + 1, hidden)  # the last one is of rows beyond the picture
        nn.init.normal_(self.position.weight, std=0.02)
        self.mix = ConvBNReLU(hidden, 2 * hidden, (3, 1), bias=True)
        self.gate = nn.Conv2d(2 * hidden, channels, (3, 1), padding=(1, 0))

    def weights(self, below: Tensor, places: Tensor) -> Tensor:
        """below: float [B,in_channels,h',w']; places: int64 [B,rows] -> float [B,channels,rows,1] in 0..1."""
        x = self.reduce(self.dropout(self.pool(below, (self.rows, 1))))
        if self.training and self.noise > 0:
            # Jitters by whole positions, two at most; rounded down, as in the authors' code.
            moves = (torch.randn_like(places, dtype=torch.float32) * self.noise).floor().clamp(-2, 2).long()
            places = (places + moves).clamp(0, self.rows)
        x = x + self.position(places).transpose(1, 2).unsqueeze(3)
        return self.gate(self.mix(x)).sigmoid()

    def forward(self, below: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """below: float [B,in_channels,h',w']; x: float [B,channels,h,w]; places: int64 [B,rows] -> float like x."""
        return x * F.interpolate(self.weights(below, places).squeeze(3), x.shape[2], mode="linear").unsqueeze(3)


def row_places(window: list | None, size: tuple[int, int], *, rows: int, batch: int) -> Tensor:
    """Which of `rows` equal bands of the whole picture each of `rows` equal bands of a crop begins in.

    window: None, where the crop is the picture, or per image y0, x0, y1, x1 of the crop and H, W of the picture at the
    crop's scale; size: (h, w) of the crop, whose rows from y1 - y0 on are padding -> int64 [batch,rows], 0 (top) to
    rows - 1, and `rows` for padding. Raises ValueError where H is not told.
    """
    if window is None:
        window = [(0, 0, *size, *size)] * batch
    if any(len(one) != 6 for one in window):
        raise ValueError("a crop's window is y0, x0, y1, x1 of the crop and H, W of the whole image")
    places = []
    for y0, _, y1, _, height, _ in ([float(value) for value in one] for one in window):
        starts = [i * size[0] // rows for i in range(rows)]
        places.append([min(int((y0 + y) * rows / height), rows - 1) if y < y1 - y0 else rows for y in starts])
    return torch.tensor(places)


@HEADS.register
class HANetHead(nn.Module):
    """DeepLabv3+ in the authors' form, with height-driven attention between its layers (section 3).

    places: where: 0 from the fourth stage to the fifth, 1 to the atrous pyramid, 2 to its fusion, 3 to the refined map,
    4 to the scores (the released nets do without); rows, reduction, noise, attention_dropout: of HeightAttention;
    rates: 12, 24, 36 at output stride 8, 6, 12, 18 at 16. Crops must tell their vertical place in the image: their
    window.
    """

    needs = ("window", "size")

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 256,
        rates: tuple[int, ...] = (12, 24, 36),
        low_channels: int = 48,
        places: tuple[int, ...] = (0, 1, 2, 3),
        rows: int = 16,
        reduction: int = 64,
        noise: float = 0.5,
        attention_dropout: float = 0.1,
        align_corners: bool = True,
    ):
        super().__init__()
        self.rows, self.align_corners = rows, align_corners
        deep, wide = in_channels[-1], (len(rates) + 2) * channels
        self.aspp = ASPP(deep, channels, rates)
        self.fuse = ConvBNReLU(wide, channels, 1)
        self.low = ConvBNReLU(at_level(in_channels, -4), low_channels, 1)
        self.refine = nn.Sequential(ConvBNReLU(channels + low_channels, channels), ConvBNReLU(channels, channels))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        bridges = (
            (at_level(in_channels, -2), deep),
            (deep, wide),
            (wide, channels),
            (channels + low_channels, channels),
            (channels, num_classes),
        )
        if not set(places) <= set(range(len(bridges))):
            raise ValueError(f"places = {places}: of 0 to {len(bridges) - 1}")
        self.attention = nn.ModuleDict(
            {
                str(i): HeightAttention(
                    *bridges[i], rows=rows, reduction=reduction, noise=noise, dropout=attention_dropout, use_max=i == 4
                )
                for i in sorted(places)
            }
        )

    def forward(self, features: list[Tensor], window: list | None, size: tuple[int, int]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; window, size: as for row_places -> logits [B,num_classes,h,w],
        embedding [B,channels,h,w], of the first stage's size."""
        deep = features[-1]
        places = row_places(window, size, rows=self.rows, batch=len(deep)).to(deep.device, non_blocking=True)
        deep = self._attend(0, features[-2], deep, places)
        pyramid = self._attend(1, deep, joined(self.aspp(deep), deep.shape[-2:]), places)
        fused = self._attend(2, pyramid, self.fuse(pyramid), places)
        low = self.low(features[-4])
        both = joined([low, fused], low.shape[-2:], align_corners=self.align_corners)
        embedding = self._attend(3, both, self.refine(both), places)
        return {"logits": self._attend(4, embedding, self.classifier(embedding), places), "embedding": embedding}

    def _attend(self, place: int, below: Tensor, x: Tensor, places: Tensor) -> Tensor:
        name = str(place)
        return self.attention[name](below, x, places) if name in self.attention else x
