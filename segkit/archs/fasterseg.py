"""FasterSeg: Searching for Faster Real-time Semantic Segmentation, Chen et al., ICLR 2020,
https://arxiv.org/abs/1912.10917. The derived networks; the search is in fasterseg_search."""

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._fasterseg_genotype import STRIDES, Genotype, load_genotype, read_content
from segkit.archs._fasterseg_operations import Fixed, Same, classify, conv_norm, operation, stem, stem_channels
from segkit.constraints.named import OneOf, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel, resize
from segkit.registry import BACKBONES, HEADS, LevelError


@BACKBONES.register
class FasterSegEncoder(Backbone):
    """A derived network of FasterSeg: a stem, and branches of single operations that share their first cells.

    Gives, branch after branch, the last map of each stride from 8 to where the branch ends. A cell that two branches
    share stands in the state dict once for each, as in the published files.

    Args:
        genotype: name of a published one ("fasterseg_student", "fasterseg_teacher"), path of a JSON file that a search
            has written, or its content.
        in_channels: channels of the image.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.

    Raises:
        ConfigError: the genotype is none of FasterSeg.
    """

    order = "RGB"
    stem_stride = 2
    files = {"genotype": read_content}

    def __init__(
        self,
        genotype: str | dict = "fasterseg_student",
        in_channels: PositiveInt = 3,
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.genotype = found = load_genotype(genotype)
        maps = [found.map_channels(i) for i in range(len(found.branches))]
        self.channels = tuple(channels for branch in maps for channels in branch.values())
        self.strides = tuple(stride for branch in maps for stride in branch)
        widths = stem_channels(found.base, found.stem_width)
        self.stem_channels = widths[0]
        self.stem = stem(in_channels, widths)
        self.groups = found.groups()
        self.cells = nn.ModuleDict()
        for layer, groups in enumerate(self.groups):
            for group in groups:
                cell = _cell(found, group[0], layer)
                self.cells.update({f"{layer}-{branch}": cell for branch in group})

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the maps of all branches.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,stem_channels,ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Of each branch float [B,channels[i],h,w] at strides 8, 16, ...
        """
        x = self.stem[0](image)
        x = self.stem[1:](x if stem_add is None else x + stem_add)
        branches = self.genotype.branches
        current = [x] * len(branches)
        last = [{STRIDES[0]: x} for _ in branches]
        for layer, groups in enumerate(self.groups):
            for group in groups:
                out = self.cells[f"{layer}-{group[0]}"](current[group[0]])
                for i in group:
                    strides = branches[i].strides
                    current[i] = last[i][strides[min(layer + 1, len(strides) - 1)]] = out
        return [last[i][stride] for i in range(len(branches)) for stride in last[i]]


def _cell(genotype: Genotype, branch: int, layer: int) -> nn.Module:
    row = genotype.branches[branch]
    name, before_after = row.operations[layer], genotype.cell_channels(branch, layer)
    if name == "skip" and not row.halves(layer):
        return Same()
    return operation(name, *before_after, 2 if row.halves(layer) else 1, Fixed())


class FeatureFusion(nn.Module):
    """Fuses the joined branches by a 1x1 convolution.

    The authors' module holds the two convolutions of a channel attention that it never calls. They are kept, and not
    trained, so that names and number of parameters are the published ones.

    Args:
        channels: of the joined branches.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv_norm(channels, channels, 1)
        self.unused_attention = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        self.unused_attention.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,h,w] to the same shape."""
        return self.conv(x)


class Ascent(nn.Module):
    """Brings the last map of a branch to stride 8: 1x1, enlarged, joined with the branch's map there, 3x3.

    Each step halves the channels.

    Args:
        channels: of the branch's last maps, stride 8 first.
    """

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        deep, widths = range(len(channels) - 1, 0, -1), _widths(channels)
        self.arms = nn.ModuleList(conv_norm(widths[i], widths[i - 1], 1) for i in deep)
        self.refines = nn.ModuleList(conv_norm(widths[i - 1] + channels[i - 1], widths[i - 1], 3) for i in deep)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps float [B,channels[i],h_i,w_i] to float [B,widths[0],h_0,w_0]."""
        x = maps[-1]
        for arm, refine, skip in zip(self.arms, self.refines, maps[-2::-1]):
            size = (skip.shape[-2], skip.shape[-1])
            x = refine(torch.cat([F.interpolate(arm(x), size, mode="bilinear", align_corners=True), skip], 1))
        return x


def _widths(channels: tuple[int, ...]) -> list[int]:
    """Channels at each stride on the way up from the last map."""
    return [round(channels[-1] / 2 ** (len(channels) - 1 - i)) for i in range(len(channels))]


@HEADS.register
class FasterSegHead(Head):
    """Brings the branches of FasterSeg to stride 8, fuses and classifies them.

    Args:
        in_channels: of FasterSegEncoder's maps.
        num_classes: number of classes K.
        strides: of these maps; each branch begins at stride 8.

    Raises:
        LevelError: the maps are no such branches.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int, *, strides: tuple[int, ...]):
        super().__init__()
        starts = [i for i, stride in enumerate(strides) if stride == STRIDES[0]]
        if starts[:1] != [0] or any(b not in (STRIDES[0], 2 * a) for a, b in pairwise(strides)):
            raise LevelError(f"strides {list(strides)}: the head reads branches of maps of strides 8, 16, ...")
        self.parts = [slice(a, b) for a, b in zip(starts, [*starts[1:], len(strides)])]
        branches = [tuple(in_channels[part]) for part in self.parts]
        self.ascents = nn.ModuleDict(
            {str(strides[part.stop - 1]): Ascent(branch) for part, branch in zip(self.parts, branches)}
        )
        width = sum(_widths(branch)[0] for branch in branches)
        self.fuse = FeatureFusion(width)
        self.conv, self.classifier = classify(width, num_classes)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Predicts.

        Args:
            features: float [B,in_channels[i],h_i,w_i], of each branch the maps of strides 8, 16, ...

        Returns:
            "logits" float [B,K,h_0,w_0] and "embedding", what the classifier reads.
        """
        maps = [ascent(features[part]) for part, ascent in zip(self.parts, self.ascents.values())]
        embedding = self.conv(self.fuse(torch.cat(maps, 1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}


@HEADS.register
class FasterSegAux(Head):
    """Auxiliary head of FasterSeg: classifies all branches' last maps of one stride together.

    Args:
        in_channels: of FasterSegEncoder's maps.
        num_classes: number of classes K.
        strides: of these maps.
        stride: 16 or 32.

    Raises:
        LevelError: no branch has a map of this stride.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[int, ...],
        stride: Annotated[int, OneOf((16, 32))] = 16,
    ):
        super().__init__()
        self.indices = [i for i, own in enumerate(strides) if own == stride]
        if not self.indices:
            raise LevelError(f"stride {stride}: the encoder gives strides {list(strides)} alone; remove this head")
        self.conv, self.classifier = classify(sum(in_channels[i] for i in self.indices), num_classes)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Predicts.

        Args:
            features: float [B,in_channels[i],h_i,w_i], as of FasterSegEncoder.

        Returns:
            "logits" float [B,K,h,w] and "embedding", what the classifier reads.
        """
        first = features[self.indices[0]]
        # branches halve odd sizes up or down, by their operations
        maps = [resize(features[i], like=first, align_corners=True) for i in self.indices]
        embedding = self.conv(torch.cat(maps, 1))
        return {"logits": self.classifier(embedding), "embedding": embedding}
