"""Auto-DeepLab: Hierarchical Neural Architecture Search for Semantic Image Segmentation, Liu et al., CVPR 2019,
https://arxiv.org/abs/1901.02985."""

import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._auto_deeplab_cells import (
    Cell,
    DropPath,
    SameConv2d,
    moved,
    operation,
    relu_conv_norm,
    strided_operation,
)
from segkit.archs._auto_deeplab_genotype import (
    BLOCKS,
    PAPER,
    SEARCHED_AGAIN,
    Genotype,
    parse_genotype,
    read_genotype,
)
from segkit.constraints.named import Decay, Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import ASPP, IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, at_level, per_channel, resize
from segkit.ops.resized_conv import joined
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs

STEM = (64, 128)
"""Channels of the stem at strides 2 and 4, whatever the width of the cells."""

EARLY_CELLS = 3
"""The head's early map is the last one of stride 4 among the stem and so many cells, as published."""


class SearchedNetwork(Backbone):
    """Base of networks that a genotype describes: a stem to stride 4, then the cells of the path.

    Args:
        genotype: its data or its JSON file; None for `published`.
        filters: F, channels of a block at level 0, which double with each level.
        in_channels: of the image.
        mean, std: per channel of the image, in 0..255.

    Attributes:
        published: the genotype that stands in the paper or its code.
        genotype: the one that is built.
        levels: of each cell.
        early: number of cells before the head's early map.
    """

    files: ClassVar[dict[str, Callable[[str], Any]]] = {"genotype": read_genotype}
    published: ClassVar[Genotype]

    def __init__(
        self,
        genotype: str | dict | None,
        filters: int,
        in_channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ):
        super().__init__()
        self.genotype = genotype_of(genotype, self.published)
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.levels = self.genotype.path
        self.widths = tuple(filters * 2**level for level in self.levels)
        early = [i + 1 for i, level in enumerate(self.levels[:EARLY_CELLS]) if level == 0]
        self.early = max(early, default=0)
        outputs = self.output_channels()
        self.channels = (outputs[self.early + 1], outputs[-1])
        self.strides = (4, 4 * 2 ** self.levels[-1])

    def output_channels(self) -> tuple[int, ...]:
        """Returns the channels of both stem maps and of each cell's output."""
        return (*STEM, *(BLOCKS * width for width in self.widths))

    def steps(self) -> tuple[int, ...]:
        """Returns by how many levels each cell is coarser than the one before it: -1, 0 or 1."""
        return tuple(level - before for before, level in itertools.pairwise((0, *self.levels)))


def genotype_of(value: str | dict | None, published: Genotype) -> Genotype:
    """Returns the genotype that an argument names.

    Args:
        value: data of a genotype, the path of its file, or None.
        published: the one for None.

    Raises:
        ConfigError: it is no genotype.
    """
    if value is None:
        return published
    at = "model.backbone.genotype"
    return parse_genotype(value if isinstance(value, dict) else read_genotype(value), at)


def set_momentum(module: nn.Module, momentum: float) -> None:
    """Sets the momentum of all batch normalizations of a module."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = momentum


def _dropping(name: str, module: nn.Module, share: float, steps: int) -> nn.Module:
    """The operation with drop path, which the published network has behind all but the identity."""
    if share == 0 or name in ("none", "skip_connect"):
        return module
    return nn.Sequential(module, DropPath(share, steps))


@BACKBONES.register
class AutoDeepLab(SearchedNetwork):
    """The derived network as the paper's authors built it (TensorFlow's "hnasnet"; section 4 of the paper).

    A cell that goes to the coarser level strides inside its operations on both inputs; dilated convolutions are full
    ones of rate 2. All padding is TensorFlow's "SAME".

    Args:
        genotype: of a search, its data or its JSON file; None for the paper's.
        filters: F, channels of a block at stride 4: 20, 32 and 48 in Auto-DeepLab-S, -M and -L.
        drop_path: share of operations dropped in training, for the last cell at the end; less for the cells before it.
        drop_path_steps: training passes until then, 0 for the full share from the start.
        norm_momentum: of the normalizations' running statistics; the authors have 3e-4 for trainings of 1.5M steps.
        in_channels: of the image.
        mean, std: per channel of the image, in 0..255.

    Raises:
        ConfigError: the genotype is none.
    """

    published = PAPER

    def __init__(
        self,
        genotype: str | dict | None = None,
        filters: PositiveInt = 20,
        *,
        drop_path: Decay = 0.0,
        drop_path_steps: NonNegativeInt = 0,
        norm_momentum: Fraction = 0.1,
        in_channels: PositiveInt = 3,
        mean: tuple[float, ...] = (127.5, 127.5, 127.5),
        std: tuple[PositiveFloat, ...] = (127.5, 127.5, 127.5),
    ):
        super().__init__(genotype, filters, in_channels, mean, std)
        half, full = STEM
        self.stem = nn.ModuleList(
            nn.Sequential(SameConv2d(before, width, 3, stride=stride), nn.BatchNorm2d(width, eps=1e-3))
            for before, width, stride in ((in_channels, half, 2), (half, half, 1), (half, full, 2))
        )
        outputs = self.output_channels()
        self.before, self.last, self.cells = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, (width, step) in enumerate(zip(self.widths, self.steps())):
            keeps = outputs[i] == width
            self.before.append(nn.Identity() if keeps else relu_conv_norm(outputs[i], width, eps=1e-3))
            self.last.append(relu_conv_norm(outputs[i + 1], width, eps=1e-3))
            share = drop_path * (i + 1) / len(self.widths)
            drop = (share, drop_path_steps)
            modules = [
                [
                    _dropping(name, strided_operation(name, width, 2 if step > 0 and state < 2 else 1), *drop)
                    for state, name in block
                ]
                for block in self.genotype.cell
            ]
            self.cells.append(Cell(self.genotype.cell, modules))
        set_momentum(self, norm_momentum)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: not taken.

        Returns:
            The early map of stride 4 and the output of the last cell, float [B,channels[i],h_i,w_i].
        """
        first, second, third = self.stem
        half = second(F.relu(first(image)))
        outputs = [half, third(F.relu(half))]
        for step, before, last, cell in zip(self.steps(), self.before, self.last, self.cells):
            current = moved(outputs[-1], min(step, 0))
            previous = resize(outputs[-2], like=current, align_corners=True)
            outputs.append(cell(before(previous), last(current)))
        return [outputs[self.early + 1], F.relu(outputs[-1])]


@BACKBONES.register
class AutoDeepLabResized(SearchedNetwork):
    """The derived network in the form of the search: maps are resized before a cell, and no operation strides.

    As in https://github.com/NoamRosenberg/autodeeplab, which searched the network of the default genotype again.
    Dilated convolutions are separable.

    Args:
        genotype: of a search, its data or its JSON file; None for the one of that repository.
        filters: F, channels of a block at stride 4.
        affine: whether the cells' normalizations have weights.
        in_channels: of the image.
        mean, std: per channel of the image, in 0..255.

    Raises:
        ConfigError: the genotype is none.
    """

    published = SEARCHED_AGAIN

    def __init__(
        self,
        genotype: str | dict | None = None,
        filters: PositiveInt = 20,
        *,
        affine: bool = True,
        in_channels: PositiveInt = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__(genotype, filters, in_channels, mean, std)
        half, full = STEM
        self.stem = nn.ModuleList(
            ConvBNReLU(before, width, stride=stride, bias=True)
            for before, width, stride in ((in_channels, half, 2), (half, half, 1), (half, full, 2))
        )
        outputs = self.output_channels()
        self.before, self.last, self.cells = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.keeps = tuple(outputs[i] == width for i, width in enumerate(self.widths))
        for i, (width, keeps) in enumerate(zip(self.widths, self.keeps)):
            # the published code builds this convolution also where it does not call it, and counts it
            self.before.append(relu_conv_norm(outputs[i], width, affine=affine).requires_grad_(not keeps))
            self.last.append(relu_conv_norm(outputs[i + 1], width, affine=affine))
            modules = [[operation(name, width, affine=affine) for _, name in block] for block in self.genotype.cell]
            self.cells.append(Cell(self.genotype.cell, modules))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: not taken.

        Returns:
            The early map of stride 4 and the output of the last cell, float [B,channels[i],h_i,w_i].
        """
        first, second, third = self.stem
        half = second(first(image))
        outputs = [half, third(half)]
        for step, keeps, before, last, cell in zip(self.steps(), self.keeps, self.before, self.last, self.cells):
            current = moved(outputs[-1], step)
            previous = resize(outputs[-2], like=current, align_corners=True)
            outputs.append(cell(previous if keeps else before(previous), last(current)))
        return [outputs[self.early + 1], outputs[-1]]


@HEADS.register
class AutoDeepLabHead(Head):
    """DeepLabv3+ with plain convolutions: an atrous pyramid on the deep map, refined with the early map of stride 4.

    Section 4 of the paper: the head of its searched networks.

    Args:
        in_channels: channels of the early and the deep map.
        num_classes: number of classes K.
        channels: width of each pyramid branch, of the fused and of the refined map.
        rates: dilations of the pyramid's 3x3 convolutions.
        low_channels: width that the early map is reduced to.
        fuse_dropout: probability of dropping an element after the fusing convolution.
        dropouts: the same after each of the two refining convolutions.
        norm_momentum: of the normalizations' running statistics.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        rates: tuple[PositiveInt, ...] = (6, 12, 18),
        low_channels: PositiveInt = 48,
        fuse_dropout: Decay = 0.0,
        dropouts: tuple[Decay, Decay] = (0.0, 0.0),
        norm_momentum: Fraction = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.aspp = ASPP(in_channels[-1], channels, rates)
        self.fuse = ConvBNReLU((len(rates) + 2) * channels, channels, 1)
        self.fuse_dropout = nn.Dropout(fuse_dropout)
        self.low = ConvBNReLU(at_level(in_channels, -2), low_channels, 1)
        self.refine = nn.ModuleList((ConvBNReLU(channels + low_channels, channels), ConvBNReLU(channels, channels)))
        self.dropouts = nn.ModuleList(nn.Dropout(share) for share in dropouts)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        set_momentum(self, norm_momentum)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both have
            the early map's size.
        """
        low, deep = self.low(features[-2]), features[-1]
        fused = self.fuse_dropout(self.fuse.over_concat(self.aspp(deep), like=deep))
        x = joined([fused, low], low.shape[-2:], align_corners=self.align_corners)
        for conv, dropout in zip(self.refine, self.dropouts):
            x = dropout(conv(x))
        return {"logits": self.classifier(x), "embedding": x}
