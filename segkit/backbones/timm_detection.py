"""A ResNet of timm as detectors train it, with frozen normalizations and deformable convolutions.

https://github.com/open-mmlab/mmdetection.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.timm import Timm
from segkit.backbones.timm_create import feature_info
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.layers import DeformableConv2d
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmDetection(Timm):
    """Timm at output stride 32, optionally with frozen normalizations and deformable convolutions.

    It returns the same list of maps as Timm. Pretrained weights are those of the encoder without offsets, which start
    at 0.

    Args:
        name, in_channels, pretrained, frozen_stages, drop_path_rate, mean, std: as in Timm.
        norm_eval: keeps batch normalizations in eval mode.
        train_norms: whether their scales and biases are trained.
        deformable_stages: in how many stages, counted from the deepest, the 3x3 convolutions are deformable (Dai et
            al., ICCV 2017; 3 in the networks called DCN).
        modulated: as in DeformableConv2d.
        stride_in_first: bottlenecks that halve the map do so in their first 1x1 convolution instead of the 3x3 one, as
            in the original weights of He et al., CVPR 2016 (detectron2's MSRA files).

    Raises:
        ConfigError: the encoder has fewer stages, its blocks have no 3x3 convolution called conv2, or it has no
            bottlenecks whose stride could stand in the first convolution.
    """

    def __init__(
        self,
        name: str,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = True,
        train_norms: bool = True,
        deformable_stages: NonNegativeInt = 0,
        modulated: bool = False,
        stride_in_first: bool = False,
        drop_path_rate: Decay = 0.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name,
            32,
            in_channels,
            pretrained,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            drop_path_rate=drop_path_rate,
            mean=mean,
            std=std,
        )
        stages = feature_info(self.encoder).module_name()
        if not 0 <= deformable_stages < len(stages):
            raise ConfigError(
                f"backbone.deformable_stages = {deformable_stages}: {name} has {len(stages) - 1} stages; give at most "
                "as many"
            )
        if stride_in_first:
            _move_strides(self.encoder, name)
        for path in stages[len(stages) - deformable_stages :]:
            for block in dict(self.encoder.named_modules())[path]:
                if not isinstance(getattr(block, "conv2", None), nn.Conv2d):
                    raise ConfigError(
                        f"backbone.name = '{name}': has no 3x3 convolution conv2 in its blocks; take a ResNet"
                    )
                block.conv2 = _deformable(block.conv2, modulated)
        if not train_norms:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.requires_grad_(False)
        self.train(self.training)


def _move_strides(encoder: nn.Module, name: str) -> None:
    """Moves the stride of each bottleneck from its 3x3 convolution to the 1x1 one before it."""
    from timm.models.resnet import Bottleneck

    blocks = [block for block in encoder.modules() if isinstance(block, Bottleneck)]
    if not blocks:
        raise ConfigError(
            f"backbone.stride_in_first = True: {name} has no bottlenecks; take a ResNet of 50 layers or more"
        )
    for block in blocks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def _deformable(conv: nn.Conv2d, modulated: bool) -> DeformableConv2d:
    """The same convolution, deformable. In a bottleneck conv2 is the 3x3 one, in a basic block the second."""
    new = DeformableConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        stride=conv.stride[0],
        padding=cast(tuple[int, int], conv.padding)[0],
        dilation=conv.dilation[0],
        modulated=modulated,
    )
    new.weight = cast(nn.Parameter, conv.weight)
    new.requires_grad_(conv.weight.requires_grad)
    return new
