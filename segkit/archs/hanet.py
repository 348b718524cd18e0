"""Cars Can't Fly up in the Sky: Improving Urban-Scene Segmentation via Height-driven Attention Networks (HANet), Choi,
Kim and Choo, CVPR 2020, https://arxiv.org/abs/2003.05128."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, NonNegativeFloat, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConvBNReLU, at_level
from segkit.ops.resized_conv import joined
from segkit.ops.resizing import grid_means
from segkit.registry import HEADS
from segkit.types import Outputs


class HeightAttention(nn.Module):
    """Height-driven attention: weights the rows and channels of a map by context and by height in the image.

    Section 3.1. The weights come from the map below, pooled to one vector per row, and from an embedding of each row's
    position in the image.

    Args:
        in_channels: channels of the lower map, which the weights are computed from.
        channels: channels of the map that is weighted.
        rows: rows to which the lower map is pooled, and number of positions along the height of the image.
        reduction: divides in_channels to give the hidden width, rounded up.
        noise: standard deviation, in positions, of the jitter of positions in training; 0 turns it off.
        dropout: share of the pooled channels that is dropped.
        use_max: pools rows by maximum in place of mean.
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
        self.pool = F.adaptive_max_pool2d if use_max else grid_means
        hidden = -(-in_channels // reduction)
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = ConvBNReLU(in_channels, hidden, 1)
        self.position = nn.Embedding(rows + 1, hidden)  # the last index marks rows of padding
        nn.init.normal_(self.position.weight, std=0.02)
        self.mix = ConvBNReLU(hidden, 2 * hidden, (3, 1), bias=True)
        self.gate = nn.Conv2d(2 * hidden, channels, (3, 1), padding=(1, 0))

    def weights(self, below: Tensor, positions: Tensor) -> Tensor:
        """Computes the attention weights.

        Args:
            below: float [B,in_channels,h',w'], the lower map.
            positions: int64 [B,rows], from `row_positions`.

        Returns:
            Float [B,channels,rows,1] in 0..1.
        """
        x = self.reduce(self.dropout(self.pool(below, (self.rows, 1))))
        if self.training and self.noise > 0:
            # Jitters by at most two whole positions, rounded down as in the authors' code.
            moves = (torch.randn_like(positions, dtype=torch.float32) * self.noise).floor().clamp(-2, 2).long()
            positions = (positions + moves).clamp(0, self.rows)
        x = x + self.position(positions).transpose(1, 2).unsqueeze(3)
        return self.gate(self.mix(x)).sigmoid()

    def forward(self, below: Tensor, x: Tensor, positions: Tensor) -> Tensor:
        """Weights a map; the weights are interpolated linearly to its height.

        Args:
            below: float [B,in_channels,h',w'], the lower map.
            x: float [B,channels,h,w], the map that is weighted.
            positions: int64 [B,rows], from `row_positions`.

        Returns:
            Float [B,channels,h,w].
        """
        return x * F.interpolate(self.weights(below, positions).squeeze(3), x.shape[2], mode="linear").unsqueeze(3)


def row_positions(window: list[tuple[int, ...]] | None, size: tuple[int, int], *, rows: int, batch: int) -> Tensor:
    """Finds the band of the whole image in which each band of a crop begins.

    Image and crop are both cut into `rows` bands of equal height.

    Args:
        window: per image y0, x0, y1, x1 of the crop and H, W of the whole image at the crop's scale, in pixels;
            None where the crop is the whole image.
        size: (h, w) of the crop in pixels; its rows from y1 - y0 on are padding.
        rows: number of bands.
        batch: number of images B, read where window is None.

    Returns:
        Int64 [B,rows], 0 (top) to rows - 1, and `rows` for padding.

    Raises:
        ValueError: if a window does not tell H and W of the whole image.
    """
    if window is None:
        first = torch.arange(rows) * size[0] // rows
        return (first * rows // size[0]).clamp(max=rows - 1).expand(batch, -1)
    starts = [i * size[0] // rows for i in range(rows)]
    positions = []
    for crop in window:
        if len(crop) != 6:
            raise ValueError(f"window = {crop}: must be y0, x0, y1, x1 of the crop and H, W of the whole image")
        top, bottom, height = float(crop[0]), float(crop[2]), float(crop[4])
        positions.append([min(int((top + y) * rows / height), rows - 1) if y < bottom - top else rows for y in starts])
    return torch.tensor(positions)


@HEADS.register
class HANetHead(Head):
    """DeepLabv3+ head in the authors' form, with height-driven attention between its layers.

    Section 3. Crops must tell their vertical position in the image by their window.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the ASPP branches and of the refined map.
        rates: dilation rates of ASPP: 12, 24, 36 at output stride 8, and 6, 12, 18 at 16.
        low_channels: width to which the fourth map from the end is reduced.
        places: where attention is applied: 0 from the fourth stage to the fifth, 1 from the fifth stage to ASPP, 2
            from ASPP to its fusion, 3 from the concatenation with the low-level map to the refined map, 4 from
            there to the logits (the released networks do without 4).
        rows: positions along the height, see HeightAttention.
        reduction: divisor of the hidden width, see HeightAttention.
        noise: jitter of positions in training, see HeightAttention.
        attention_dropout: dropout of HeightAttention.
        align_corners: aligns the corner cells when the fused map is resized to the low-level one.

    Raises:
        ValueError: if places holds a number that is not in 0 to 4.
    """

    needs_pyramid = True

    needs = ("window", "size")

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        rates: tuple[PositiveInt, ...] = (12, 24, 36),
        low_channels: PositiveInt = 48,
        places: tuple[int, ...] = (0, 1, 2, 3),
        rows: PositiveInt = 16,
        reduction: PositiveInt = 64,
        noise: NonNegativeFloat = 0.5,
        attention_dropout: Decay = 0.1,
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
        # Channels of the map below and of the weighted map.
        bridges = (
            (at_level(in_channels, -2), deep),
            (deep, wide),
            (wide, channels),
            (channels + low_channels, channels),
            (channels, num_classes),
        )
        if not set(places) <= set(range(len(bridges))):
            raise ValueError(f"places = {places}: each must be in 0 to {len(bridges) - 1}")
        self.attention = nn.ModuleDict(
            {
                str(i): HeightAttention(
                    *bridges[i], rows=rows, reduction=reduction, noise=noise, dropout=attention_dropout, use_max=i == 4
                )
                for i in sorted(places)
            }
        )

    def forward(self, features: list[Tensor], window: list[tuple[int, ...]] | None, size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            window: window of each crop, see `row_positions`.
            size: (H, W) of the input in pixels.

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both
            have the size of the fourth map from the end.
        """
        deep = features[-1]
        positions = row_positions(window, size, rows=self.rows, batch=deep.shape[0]).to(deep.device, non_blocking=True)
        deep = self._attend(0, features[-2], deep, positions)
        pyramid = self._attend(1, deep, joined(self.aspp(deep), (deep.shape[2], deep.shape[3])), positions)
        fused = self._attend(2, pyramid, self.fuse(pyramid), positions)
        low = self.low(features[-4])
        both = joined([low, fused], (low.shape[2], low.shape[3]), align_corners=self.align_corners)
        embedding = self._attend(3, both, self.refine(both), positions)
        return {"logits": self._attend(4, embedding, self.classifier(embedding), positions), "embedding": embedding}

    def _attend(self, index: int, below: Tensor, x: Tensor, positions: Tensor) -> Tensor:
        """Weights x by the attention layer of this index where there is one."""
        name = str(index)
        return self.attention[name](below, x, positions) if name in self.attention else x
