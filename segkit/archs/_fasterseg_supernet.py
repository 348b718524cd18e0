"""Parts of FasterSeg's search network: its cells, its learned weights, and the decoder of one network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._fasterseg_decode import SearchWeights
from segkit.archs._fasterseg_genotype import OPERATIONS, STRIDES
from segkit.archs._fasterseg_mixed import MixedOperation
from segkit.archs._fasterseg_operations import classify, conv_norm

ANSWERS = ("8", "16", "32", "8_32", "16_32")
"""Strides of the maps that a prediction is made of."""

SCALES = range(len(STRIDES))


class SearchCell(nn.Module):
    """A cell of the search network: one mixed operation that keeps the map's size, and one that halves it.

    Args:
        channels: at full width.
        widths: in twelfths, from the narrowest.
        halves: whether there is one that halves.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], *, halves: bool):
        super().__init__()
        self.keep = MixedOperation(channels, channels, 1, widths)
        self.down = MixedOperation(channels, 2 * channels, 2, widths) if halves else None


class Architecture(nn.Module):
    """The weights that a search learns of one network, equal at the start; see SearchWeights.

    Args:
        layers: L.
        num_widths: W; 1 for a network of full width, which has no weights of widths.
    """

    def __init__(self, layers: int, num_widths: int):
        super().__init__()

        def weights(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.full((rows, columns), 1e-3))

        self.alphas = nn.ParameterList(weights(layers - s, len(OPERATIONS)) for s in SCALES)
        self.betas = nn.ParameterList(weights(layers - 1 - s, 2) for s in (1, 2))
        rows = (layers - 1, layers - 1, layers - 2) if num_widths > 1 else ()
        self.ratios = nn.ParameterList(weights(count, num_widths) for count in rows)

    def weights(self) -> SearchWeights:
        """Returns the learned weights."""
        layers = len(self.alphas[0])
        fixed = [torch.zeros(count, 1) for count in (layers - 1, layers - 1, layers - 2)]
        ratios = [*self.ratios] or fixed
        return SearchWeights(
            (self.alphas[0], self.alphas[1], self.alphas[2]),
            (self.betas[0], self.betas[1]),
            (ratios[0], ratios[1], ratios[2]),
        )


def cell_inputs(
    keep: list[Tensor], down: list[Tensor], betas: Tensor | None, layer: int, scale: int
) -> tuple[list[Tensor], list[Tensor]]:
    """What a cell reads, from the larger scale and from its own, and their shares; betas: of the scale, normalized."""
    if scale == 0 or layer == scale:
        return [keep[0] if scale == 0 else down[scale - 1]], []
    assert betas is not None
    return [down[scale - 1], keep[scale]], list(betas[layer - scale - 1])


def weighted(values: list[Tensor], shares: list[Tensor]) -> Tensor:
    """The sum with shares; of a single value that value."""
    terms = [value * share for value, share in zip(values, shares)] if shares else values
    return sum(terms[1:], terms[0])


class SearchDecoder(nn.Module):
    """Predicts from the maps of one network in five ways: by each scale alone, and by two of them together.

    Args:
        channels: of the maps of strides 8, 16 and 32.
        num_classes: K.
    """

    def __init__(self, channels: tuple[int, ...], num_classes: int):
        super().__init__()
        eight, sixteen, deep = channels
        self.refine16 = nn.ModuleList([conv_norm(sixteen, eight, 1), conv_norm(2 * eight, eight, 3)])
        self.refine32 = nn.ModuleList(
            [
                conv_norm(deep, sixteen, 1),
                conv_norm(2 * sixteen, sixteen, 3),
                conv_norm(sixteen, eight, 1),
                conv_norm(2 * eight, eight, 3),
            ]
        )
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(*classify(eight * len(name.split("_")), num_classes)) for name in ANSWERS}
        )

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Maps float [B,channels[i],h_i,w_i] to five maps of logits, float [B,K,h_0,w_0], by their strides."""
        eight, sixteen, deep = maps
        of16 = _up(self.refine16[0], self.refine16[1], sixteen, eight)
        of32 = _up(self.refine32[0], self.refine32[1], deep, sixteen)
        of32 = _up(self.refine32[2], self.refine32[3], of32, eight)
        found = {"8": eight, "16": of16, "32": of32}
        return {
            name: head(torch.cat([found[part] for part in name.split("_")], 1)) for name, head in self.heads.items()
        }


def _up(arm: nn.Module, refine: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    size = (skip.shape[-2], skip.shape[-1])
    return refine(torch.cat([F.interpolate(arm(x), size, mode="bilinear", align_corners=True), skip], 1))
