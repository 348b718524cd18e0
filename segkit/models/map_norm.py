"""Layer normalization of feature maps."""

from torch import Tensor, nn


class MapNorm(nn.LayerNorm):
    """A layer normalization over the channels of each position of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
