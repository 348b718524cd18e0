"""An encoder of timm whose deep stages are dilated and keep their strides.

FastFCN's encoder in https://github.com/open-mmlab/mmsegmentation.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        name, in_channels, pretrained, output_stride, deep_stem, frozen_stages, norm_eval, drop_path_rate, options,
            mean, std: as in Timm.
        dilations: of each of the last len(dilations) stages; one number, or one for each block of the stage, which in a
            MobileNet holds all blocks behind the feature map before. The
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
        options: dict[str, Any] | None = None,
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
            options=options,
            mean=mean,
            std=std,
        )
        paths = feature_info(self.encoder).module_name()
        for i, dilation in enumerate(dilations, len(paths) - len(dilations)):
            blocks = _blocks(self.encoder, paths[i], paths[i - 1] if i else "")
            if not blocks:
                raise ConfigError(
                    f"backbone.name = '{name}': its stages are no sequences of blocks to be dilated; take a ResNet"
                )
            for block, spacing in zip(blocks, _of_blocks(dilation, len(blocks), contract_dilation)):
                dilate(block, spacing, only)


def _blocks(encoder: nn.Module, path: str, before: str) -> list[nn.Module]:
    """The blocks of a level of an encoder, [] where its stages are no sequences.

    Args:
        encoder: timm's.
        path: of the module that ends the level.
        before: of the one that ends the level before, "" for none.
    """
    modules = dict(encoder.named_modules())
    parent, _, index = before.rpartition(".")
    paths = [path]
    if parent and index.isdecimal():
        last = path.removeprefix(f"{parent}.")
        # A path without a number is that of a convolution behind the last stage, as in MobileViT.
        end = int(last) if last.isdecimal() else int(index) + 1
        paths = [f"{parent}.{i}" for i in range(int(index) + 1, end + 1)]
    # An encoder that is cut into a list of stages has "stages_0" for "stages.0".
    stages = [modules.get(path) or modules.get(path.replace(".", "_", 1)) for path in paths]
    if not all(isinstance(stage, nn.Sequential) for stage in stages):
        return []
    return [block for stage in stages if isinstance(stage, nn.Sequential) for block in stage]


def _of_blocks(dilation: int | tuple[int, ...], number: int, is_contracted: bool) -> tuple[int, ...]:
    """The dilation of each block of a stage."""
    if isinstance(dilation, int):
        return (max(dilation // 2, 1) if is_contracted else dilation, *[dilation] * (number - 1))
    if len(dilation) != number:
        raise ConfigError(f"backbone.dilations: {tuple(dilation)} for a stage of {number} blocks; give one for each")
    return tuple(dilation)
