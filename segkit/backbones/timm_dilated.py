"""An encoder of timm whose deep stages are dilated and keep their strides.

FastFCN's encoder in https://github.com/open-mmlab/mmsegmentation.
"""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from segkit.backbones.timm import Timm
from segkit.backbones.timm_create import feature_info
from segkit.backbones.timm_dilation import dilate
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmDilated(Timm):
    """Timm with given dilations of the 3x3 convolutions in its last stages.

    It returns the same list of maps as Timm.

    Args:
        name, in_channels, pretrained, output_stride, deep_stem, frozen_stages, norm_eval, drop_path_rate, mean, std: as
            in Timm.
        dilations: of each of the last len(dilations) stages; one number, or one for each block of the stage. The
            multi-grid (1, 2, 4) of DeepLabv3 (Chen et al., 2017, section 3.2.2, https://arxiv.org/abs/1706.05587) is
            ((2, 4, 8),) at output stride 16, and ((1, 2, 4),) in mmsegmentation.
        contract_dilation: gives the first block of a stage half of a single number.
        only: dilates convolutions of this name alone ("conv2" in SFNet's ResNets); "" dilates all.

    Raises:
        ConfigError: the encoder's stages are not sequences of blocks, or a stage has another number of blocks.
    """

    def __init__(
        self,
        name: str,
        dilations: tuple[PositiveInt | tuple[PositiveInt, ...], ...] = (2, 4),
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        output_stride: PositiveInt = 32,
        contract_dilation: bool = True,
        only: str = "",
        deep_stem: NonNegativeInt = 0,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        drop_path_rate: Decay = 0.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name,
            output_stride,
            in_channels,
            pretrained,
            deep_stem=deep_stem,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            drop_path_rate=drop_path_rate,
            mean=mean,
            std=std,
        )
        stages = feature_info(self.encoder).module_name()[-len(dilations) :]
        for path, dilation in zip(stages, dilations):
            blocks = dict(self.encoder.named_modules()).get(path)
            if not isinstance(blocks, nn.Sequential):
                raise ConfigError(
                    f"backbone.name = '{name}': its stages are no sequences of blocks to be dilated; take a ResNet"
                )
            for block, spacing in zip(blocks, _of_blocks(dilation, len(blocks), contract_dilation)):
                dilate(block, spacing, only)


def _of_blocks(dilation: int | tuple[int, ...], number: int, is_contracted: bool) -> tuple[int, ...]:
    """The dilation of each block of a stage."""
    if isinstance(dilation, int):
        return (max(dilation // 2, 1) if is_contracted else dilation, *[dilation] * (number - 1))
    if len(dilation) != number:
        raise ConfigError(f"backbone.dilations: {tuple(dilation)} for a stage of {number} blocks; give one for each")
    return tuple(dilation)
