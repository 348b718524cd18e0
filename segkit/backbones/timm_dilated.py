"""An encoder of timm whose deep stages are dilated and keep their strides, https://github.com/open-mmlab/mmsegmentation
(FastFCN's encoder there)."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from segkit.backbones.timm import Timm, dilate
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmDilated(Timm):
    """As Timm, but with other dilations of the 3x3 convolutions in its last stages: [B,in_channels,H,W] -> the same
    list of maps.

    dilations: one per stage, of the last len(dilations), or one for each of a stage's blocks: the multi-grid (1, 2, 4)
    of DeepLabv3 (Chen et al., 2017, section 3.2.2, https://arxiv.org/abs/1706.05587) is ((2, 4, 8),) at output stride
    16, and ((1, 2, 4),) in mmsegmentation; contract_dilation: the first block of a stage has half of a single one;
    only: dilates convolutions of this name alone ("conv2" in SFNet's ResNets). The other arguments are Timm's.
    """

    def __init__(
        self,
        name: str,
        dilations: tuple[int | tuple[int, ...], ...] = (2, 4),
        in_channels: int = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        output_stride: int = 32,
        contract_dilation: bool = True,
        only: str = "",
        deep_stem: int = 0,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        drop_path_rate: float = 0.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
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
        stages = self.encoder.feature_info.module_name()[-len(dilations) :]
        for path, dilation in zip(stages, dilations):
            blocks = dict(self.encoder.named_modules()).get(path)
            if not isinstance(blocks, nn.Sequential):
                raise ConfigError(f"backbone.name = '{name}': its stages are no rows of blocks that can be dilated")
            for block, own in zip(blocks, _of_blocks(dilation, len(blocks), contract_dilation)):
                dilate(block, own, only)


def _of_blocks(dilation: int | tuple[int, ...], number: int, is_contracted: bool) -> tuple[int, ...]:
    if isinstance(dilation, int):
        return (max(dilation // 2, 1) if is_contracted else dilation, *[dilation] * (number - 1))
    if len(dilation) != number:
        raise ConfigError(f"backbone.dilations: {tuple(dilation)} for a stage of {number} blocks; give one for each")
    return tuple(dilation)
