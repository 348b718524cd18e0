"""The search network of Auto-DeepLab, Liu et al., CVPR 2019, https://arxiv.org/abs/1901.02985, section 3.

Details as in https://github.com/NoamRosenberg/autodeeplab; the authors' own search code is not public.
"""

from typing import Any

import torch
from torch import Tensor, nn

from segkit.archs._auto_deeplab_cells import SamePool2d, halved, operation, relu_conv_norm
from segkit.archs._auto_deeplab_genotype import (
    BLOCKS,
    EDGES,
    LEVELS,
    OPERATIONS,
    Genotype,
    decode_cell,
    decode_path,
    first_edge,
    normalized_betas,
)
from segkit.constraints.named import PositiveFloat, PositiveInt, Rounds
from segkit.models.bases import Head, SearchBackbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, ImagePool, per_channel, resize
from segkit.registry import BACKBONES, HEADS, ConfigError
from segkit.types import Outputs


class MixedOperation(nn.Module):
    """All operations of an edge but "none", summed with weights (equation 3).

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.operations = nn.ModuleList()
        for name in OPERATIONS[1:]:
            module = operation(name, channels, affine=False)
            if isinstance(module, SamePool2d):
                module = nn.Sequential(module, nn.BatchNorm2d(channels, affine=False))
            self.operations.append(module)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Sums the operations.

        Args:
            x: float [B,channels,h,w].
            weights: float [8], of each operation; that of "none" adds nothing.

        Returns:
            float [B,channels,h,w].
        """
        first, *others = self.operations
        result = weights[1] * first(x)
        for i, module in enumerate(others):
            result = result + weights[2 + i] * module(x)
        return result


class SearchCell(nn.Module):
    """The cell of one level and layer: runs once for each map that leads to it, with the same weights.

    Args:
        channels: of a block.
        before: channels of the level's output two layers back; None where there is none.
        sources: channels of the maps of the last layer that lead here, by direction: 0 from the coarser level, 1 from
            the same, 2 from the finer one.
    """

    def __init__(self, channels: int, before: int | None, sources: dict[int, int]):
        super().__init__()
        self.before = None if before is None else relu_conv_norm(before, channels, affine=False)
        self.sources = nn.ModuleDict(
            {str(direction): relu_conv_norm(width, channels, affine=False) for direction, width in sources.items()}
        )
        # edges from input 0, the output two layers back, are missing where there is none
        starts = [first_edge(block) for block in range(BLOCKS)]
        edges = [edge for edge in range(EDGES) if before is not None or edge not in starts]
        self.edges = nn.ModuleDict({str(edge): MixedOperation(channels) for edge in edges})

    def forward(
        self, before: Tensor | None, sources: dict[int, Tensor], size: tuple[int, int], alphas: Tensor
    ) -> dict[int, Tensor]:
        """Runs the cell on each source.

        Args:
            before: float [B,C,h,w], the level's output two layers back; None where there is none.
            sources: the maps that lead here, by direction.
            size: (height, width) of the level.
            alphas: float [20,8], weights of the operations on each edge.

        Returns:
            By direction float [B,5 channels,*size].
        """
        if self.before is not None:
            assert before is not None
            before = self.before(resize(before, size=size, align_corners=True))
        reduced = {}
        for direction, x in sources.items():
            # the published code resizes first and convolves then; of the same size resize does nothing
            reduced[direction] = self.sources[str(direction)](resize(x, size=size, align_corners=True))
        return {direction: self._blocks(before, x, alphas) for direction, x in reduced.items()}

    def _blocks(self, before: Tensor | None, last: Tensor, alphas: Tensor) -> Tensor:
        states = [before, last]
        for block in range(BLOCKS):
            total: Tensor | None = None
            for i, state in enumerate(states):
                if state is None:
                    continue
                edge = first_edge(block) + i
                term = self.edges[str(edge)](state, alphas[edge])
                total = term if total is None else total + term
            states.append(total)
        return torch.cat([state for state in states[2:] if state is not None], 1)


@BACKBONES.register
class AutoDeepLabSearch(SearchBackbone):
    """All networks of the search space at once: cells at every level of every layer, weighted by alphas and betas.

    A softmax over `alphas` weighs the operations on each edge of the cell, which all cells share; one over `betas`
    weighs the ways from each level of a layer to the next layer. Train it with the runner SearchArchitecture.

    Args:
        filters: F, channels of a block at stride 4, which double with each level.
        layers: cells on a path, 3 or more.
        layer1_by_down: weighs the way that stays at stride 8 in the second layer by the weight of the way down, as the
            published code does by an index fault.
        in_channels: of the image.
        mean, std: per channel of the image, in 0..255.

    Raises:
        ConfigError: too few layers to reach every level.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        filters: PositiveInt = 8,
        layers: Rounds = 12,
        *,
        layer1_by_down: bool = False,
        in_channels: PositiveInt = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if layers < LEVELS - 1:
            raise ConfigError(
                f"backbone.layers = {layers}: must be 3 or more, since each level needs a layer to go down"
            )
        self.layers, self.layer1_by_down = layers, layer1_by_down
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.channels = tuple(BLOCKS * filters * 2**level for level in range(LEVELS))
        half, full = max(BLOCKS * filters // 2, 1), BLOCKS * filters
        self.stem = nn.Sequential(
            *(
                ConvBNReLU(before, width, stride=stride, bias=True)
                for before, width, stride in ((in_channels, half, 2), (half, half, 1), (half, full, 2))
            )
        )
        self.cells = nn.ModuleList()
        for layer in range(layers):
            for level in range(min(layer + 2, LEVELS)):
                sources = {d: self.channels[origin] for d, origin in self._origins(layer, level).items()}
                has_before = layer > level if level else layer > 0
                before = self.channels[level] if has_before else None
                self.cells.append(SearchCell(filters * 2**level, before, sources))
        self.alphas = nn.Parameter(1e-3 * torch.randn(EDGES, len(OPERATIONS)))
        self.betas = nn.Parameter(1e-3 * torch.randn(layers, LEVELS, 3))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def _origins(self, layer: int, level: int) -> dict[int, int]:
        """Level that each direction comes from, as far as the layer before has it; in the order of the sum."""
        return {d: level + 1 - d for d in (2, 1, 0) if 0 <= level + 1 - d < min(layer + 1, LEVELS)}

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the output of the last layer at every level.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: not taken.

        Returns:
            Four maps, float [B,channels[i],h_i,w_i].
        """
        alphas, betas = self.alphas.softmax(-1), normalized_betas(self.betas)
        stem = self.stem(image)
        sizes = [(stem.shape[2], stem.shape[3])]
        for _ in range(LEVELS - 1):
            sizes.append(halved(sizes[-1]))
        last: dict[int, Tensor] = {0: stem}
        before: dict[int, Tensor] = {}
        cells = iter(self.cells)
        for layer in range(self.layers):
            outputs: dict[int, Tensor] = {}
            for level in range(min(layer + 2, LEVELS)):
                origins = self._origins(layer, level)
                found = next(cells)(before.get(level), {d: last[o] for d, o in origins.items()}, sizes[level], alphas)
                terms = [betas[layer, o, self._column(layer, level, d)] * found[d] for d, o in origins.items()]
                outputs[level] = sum(terms[1:], terms[0])
            before, last = last, outputs
        return [last[level] for level in range(LEVELS)]

    def _column(self, layer: int, level: int, direction: int) -> int:
        return 2 if self.layer1_by_down and (layer, level, direction) == (1, 1, 1) else direction

    def architecture(self) -> list[nn.Parameter]:
        """Returns alphas, float [20,8], and betas, float [layers,4,3]."""
        return [self.alphas, self.betas]

    def decode(self) -> dict[str, Any]:
        """Returns the genotype of the strongest path and cell as data, see docs/searched_networks.md."""
        return Genotype(decode_path(self.betas), decode_cell(self.alphas)).plain()


@HEADS.register
class AutoDeepLabSearchHead(Head):
    """Predicts at each level by a small atrous pyramid, and sums the logits at the size of the image.

    Section 3.2 of the paper. Each pyramid has a 1x1, one dilated 3x3 convolution and image pooling.

    Args:
        in_channels: channels of each level.
        num_classes: number of classes K.
        rates: dilation at each level.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    needs = ("size",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        rates: tuple[PositiveInt, ...] = (24, 12, 6, 3),
        align_corners: bool = False,
    ):
        super().__init__()
        if len(rates) != len(in_channels):
            raise ConfigError(f"head.rates = {tuple(rates)}: must be one for each of {len(in_channels)} feature maps")
        self.align_corners = align_corners
        self.pyramids = nn.ModuleList(LevelPyramid(c, num_classes, rate) for c, rate in zip(in_channels, rates))

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the image.

        Returns:
            "logits", float [B,K,H,W].
        """
        maps = [pyramid(x) for pyramid, x in zip(self.pyramids, features)]
        first, *others = (resize(x, size=size, align_corners=self.align_corners) for x in maps)
        return {"logits": sum(others, first)}


class LevelPyramid(nn.Module):
    """A 1x1 convolution, a dilated one and image pooling, fused and classified.

    Args:
        channels: C.
        num_classes: K.
        rate: dilation.
    """

    def __init__(self, channels: int, num_classes: int, rate: int):
        super().__init__()
        self.pointwise = ConvBNReLU(channels, channels, 1, act=False)
        self.dilated = ConvBNReLU(channels, channels, dilation=rate, act=False)
        self.image_pool = ImagePool(channels, channels)
        self.fuse = nn.Conv2d(3 * channels, channels, 1, bias=False)
        # the published code gives its momentum, 3e-4, in the place of eps
        self.norm = nn.BatchNorm2d(channels, eps=3e-4)
        self.classify = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to float [B,K,h,w]."""
        branches = [self.pointwise(x), self.dilated(x), self.image_pool(x)]
        return self.classify(self.norm(self.fuse(torch.cat(branches, 1))))
