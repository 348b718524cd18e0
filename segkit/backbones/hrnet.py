"""Deep High-Resolution Representation Learning (HRNet), Wang et al., TPAMI 2019, https://arxiv.org/abs/1908.07919."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.weights import load_encoder, read_weights
from segkit.constraints.named import OneOf, PositiveFloat, PositiveInt, Rounds
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel, resize
from segkit.registry import BACKBONES, ConfigError


def _by_factor(x: Tensor, factor: int, like: Tensor) -> Tensor:
    return resize(F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False), like=like)


FUSE_UPSAMPLES: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    "nearest": lambda x, _factor, like: resize(x, like=like, mode="nearest"),
    "bilinear": _by_factor,
    "bilinear_size": lambda x, _factor, like: resize(x, like=like),
    "bilinear_corners": lambda x, _factor, like: resize(x, like=like, align_corners=True),
}
"""How the map of a coarser branch is resized to a finer one's.

"nearest" is that of the classification networks. "bilinear" is mmsegmentation's: by the whole factor first, then to
the finer map's size where that is odd. "bilinear_size" goes to that size at once, as hierarchical multi-scale attention
(HMSA) does. "bilinear_corners" aligns corners, as the authors' segmentation networks and RITM do.
"""

ChannelOrder: TypeAlias = Annotated[str, OneOf(("RGB", "BGR"))]
"""Of the channels that a network reads."""

PUBLISHED_DEPTHS: dict[tuple[tuple[int, ...], int], str] = {((1, 3, 2), 2): "_small_v2"}
"""Suffix that timm adds to the name of a width, by (num_modules, num_blocks)."""


class Residual(nn.Module):
    """Residual block: convolutions with normalization, a shortcut around them and a ReLU.

    State dict keys: conv1, bn1, ..., and downsample.0 and .1 where the width changes.

    Args:
        in_channels: channels of the input.
        widths: output channels of each convolution.
        kernels: kernel size of each convolution.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], kernels: tuple[int, ...]):
        super().__init__()
        self.num_convs = len(widths)
        for i, (before, width, kernel) in enumerate(zip((in_channels, *widths), widths, kernels), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(before, width, kernel, padding=kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(width))
        self.downsample = None if in_channels == widths[-1] else conv_bn(in_channels, widths[-1], kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,widths[-1],h,w]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.num_convs + 1):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))
            # in place: the backward pass of a normalization reads its input, not this output
            x = F.relu(x.add_(shortcut) if i == self.num_convs else x, inplace=True)
        return x


def basic_block(width: int) -> Residual:
    """Builds two 3x3 convolutions with a shortcut."""
    return Residual(width, (width, width), (3, 3))


def bottleneck(width: int) -> Residual:
    """Builds a 3x3 convolution of a quarter of the channels between two 1x1 convolutions, with a shortcut."""
    return Residual(width, (width // 4, width // 4, width), (1, 3, 1))


class HRModule(nn.Module):
    """Parallel branches of residual blocks, followed by the fusion of all resolutions (figure 3).

    Args:
        widths: channels of each branch, from the finest to the coarsest.
        num_blocks: residual blocks of each branch.
        upsample: one of FUSE_UPSAMPLES.
        block: builds a block of so many channels.
    """

    def __init__(
        self, widths: tuple[int, ...], num_blocks: int, upsample: str, block: Callable[[int], Residual] = basic_block
    ):
        super().__init__()
        self.upsample = upsample
        self.branches = nn.ModuleList(nn.Sequential(*(block(width) for _ in range(num_blocks))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(cast(nn.Module, _path(widths, source, target)) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Runs the branches and adds to each the maps of all others.

        Args:
            maps: float [B,widths[i],h_i,w_i].

        Returns:
            Maps of the same shapes.
        """
        maps = [branch(x) for branch, x in zip(self.branches, maps)]
        return [F.relu(self._sum(maps, target), inplace=True) for target in range(len(maps))]

    def _sum(self, maps: list[Tensor], target: int) -> Tensor:
        """Sum of all branches' maps at the size and width of one of them."""
        total: Tensor | None = None
        layers = cast(nn.ModuleList, self.fuse_layers[target])
        for source, x in enumerate(maps):
            if source != target:
                x = layers[source](x)
            if source > target:
                x = FUSE_UPSAMPLES[self.upsample](x, 2 ** (source - target), maps[target])
            total = x if total is None else total + x
        assert total is not None
        return total


@BACKBONES.register
class HRNet(Backbone):
    """High-resolution network: keeps a branch at stride 4 to the end, beside branches of strides 8, 16 and 32.

    Its four maps have width, 2, 4 and 8 times width channels. The widening layers that the classification network puts
    after them are left out. State dict keys are the authors'.

    Args:
        width: channels of the finest branch; 18, 32, 48 or 64 in the papers.
        in_channels: channels of the image.
        pretrained: False or None for random weights; True for timm's of that width and depth, or the name of one of
            timm's ("hrnet_w18.ms_in1k"), both fetched from the hub; or any other source that Timm takes.
        num_modules: number of HRModules in the stages with two, three and four branches.
        num_blocks: residual blocks of the first stage and of every branch of a module; (1, 3, 2) modules of 2 blocks
            are "small v2".
        fuse_upsample: one of FUSE_UPSAMPLES.
        norm_eval: keeps batch normalizations in eval mode.
        mean, std: per channel of the image in `order`, in 0..255.
        order: of the channels that the network reads, "RGB" or "BGR"; images stay RGB.

    Raises:
        ConfigError: a value is not allowed, or the weights cannot be had.
    """

    transition1: nn.ModuleList
    transition2: nn.ModuleList
    transition3: nn.ModuleList
    stage2: nn.Sequential
    stage3: nn.Sequential
    stage4: nn.Sequential

    def __init__(
        self,
        width: PositiveInt = 18,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        num_modules: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 4, 3),
        num_blocks: Rounds = 4,
        fuse_upsample: Annotated[str, OneOf(FUSE_UPSAMPLES)] = "bilinear",
        norm_eval: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
        order: ChannelOrder = "RGB",
    ):
        super().__init__()
        if fuse_upsample not in FUSE_UPSAMPLES:
            raise ConfigError(f"backbone.fuse_upsample = {fuse_upsample!r}: must be one of {', '.join(FUSE_UPSAMPLES)}")
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.norm_eval, self.is_pretrained, self.order = norm_eval, bool(pretrained), order
        self.stem_channels, self.stem_stride = 64, 2
        self.channels, self.strides = tuple(width * 2**i for i in range(4)), (4, 8, 16, 32)
        self.conv1, self.bn1 = conv_bn(in_channels, 64, stride=2)
        self.conv2, self.bn2 = conv_bn(64, 64, stride=2)
        first = [Residual(256 if i else 64, (64, 64, 256), (1, 3, 1)) for i in range(num_blocks)]
        self.layer1 = nn.Sequential(*first)
        before: tuple[int, ...] = (256,)
        for stage, count in enumerate(num_modules, start=2):
            widths = self.channels[:stage]
            self.add_module(f"transition{stage - 1}", transition(before, widths))
            modules = [HRModule(widths, num_blocks, fuse_upsample) for _ in range(count)]
            self.add_module(f"stage{stage}", nn.Sequential(*modules))
            before = widths
        init_convs(self)
        if pretrained and not torch.empty(0).is_meta:
            depth = PUBLISHED_DEPTHS.get((tuple(num_modules), num_blocks), "")
            source = f"hrnet_w{width}{depth}" if pretrained is True else pretrained
            is_name = pretrained is True or _is_name_of_timm(source)
            weights = _published(str(source)) if is_name else read_weights(source, list(self.state_dict()))
            load_encoder(self, weights, in_channels, "backbone.pretrained")

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,64,ceil(H / 2),ceil(W / 2)], added after the first convolution, its normalization and
                ReLU.

        Returns:
            Four maps of strides 4 to 32, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        if stem_add is not None:
            x = x + stem_add
        maps = [self.layer1(F.relu(self.bn2(self.conv2(x)), inplace=True))]
        for layers, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            maps = stage(to_next_stage(layers, maps))
        return maps

    def train(self, mode: bool = True) -> "HRNet":
        """As nn.Module.train, but with norm_eval batch normalizations stay in eval mode."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def to_next_stage(layers: nn.ModuleList, maps: list[Tensor]) -> list[Tensor]:
    """Makes the maps of the next stage's branches.

    A new branch starts from the coarsest one before it; the others continue, changed at most in width.

    Args:
        layers: of `transition`.
        maps: float [B,C_i,h_i,w_i].

    Returns:
        One map for each layer.
    """
    sources = [*maps, maps[-1]]
    return [layer(x) for layer, x in zip(layers, sources[: len(layers)])]


def init_convs(module: nn.Module) -> None:
    """Initializes all convolutions as in ResNet."""
    for inner in module.modules():
        if isinstance(inner, nn.Conv2d):
            nn.init.kaiming_normal_(inner.weight, mode="fan_out", nonlinearity="relu")


def conv_bn(in_channels: int, channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Builds a convolution without bias, and its normalization."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module | None:
    """Layers from one branch's width and stride to another's.

    To a finer branch they change the width alone; the map is resized where maps are added.
    """
    if source == target:
        return None
    if source > target:
        return conv_bn(widths[source], widths[target], kernel=1)
    steps = [conv_bn(widths[source], widths[source], stride=2).append(nn.ReLU()) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, conv_bn(widths[source], widths[target], stride=2))


def transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """Builds the layers to the branches of the next stage, which has one more at twice the stride.

    Args:
        before, after: channels of the branches.
    """
    layers: list[nn.Module] = [
        nn.Identity() if old == new else conv_bn(old, new).append(nn.ReLU()) for old, new in zip(before, after)
    ]
    layers.append(nn.Sequential(conv_bn(before[-1], after[-1], stride=2).append(nn.ReLU())))
    return nn.ModuleList(layers)


def _is_name_of_timm(source: str | Path | Callable[[], dict]) -> bool:
    import timm

    return isinstance(source, str) and source.startswith("hrnet_") and timm.models.is_model_pretrained(source)


def _published(name: str) -> dict[str, Tensor]:
    """timm's ImageNet weights of that name, classification layers included."""
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"backbone.pretrained: timm has no model {name}; give a file, or None for random weights")
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except OSError as error:
        raise ConfigError(
            f"backbone.pretrained: the weights of {name} cannot be fetched ({type(error).__name__}); give a file, or "
            "None for random weights"
        ) from error
