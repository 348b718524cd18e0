"""An encoder of timm whose deep stages are dilated and keep their strides, https://github.com/open-mmlab/mmsegmentation
(FastFCN's encoder there)."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from segkit.backbones.timm import Timm
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmDilated(Timm):
    """As Timm at output stride 32, but with dilated 3x3 convolutions in its last stages: [B,in_channels,H,W] -> the
    same list of maps.

    dilations: one per stage, of the last len(dilations); contract_dilation: the first block of a stage has half of it;
    only: dilates convolutions of this name alone ("conv2" in SFNet's ResNets). The other arguments are Timm's.
    """

    def __init__(self, name: str, dilations: tuple[int, ...] = (2, 4), in_channels: int = 3,
                 pretrained: bool | str | Path | Callable[[], dict] | None = None, *, contract_dilation: bool = True,
                 only: str = "", deep_stem: int = 0, frozen_stages: int = 0, norm_eval: bool = False,
                 drop_path_rate: float = 0.0, mean: tuple[float, ...] | None = None,
                 std: tuple[float, ...] | None = None):  # fmt: skip
        super().__init__(name, 32, in_channels, pretrained, deep_stem=deep_stem, frozen_stages=frozen_stages,
                         norm_eval=norm_eval, drop_path_rate=drop_path_rate, mean=mean, std=std)  # fmt: skip
        stages = self.encoder.feature_info.module_name()[-len(dilations) :]
        for path, dilation in zip(stages, dilations):
            blocks = dict(self.encoder.named_modules()).get(path)
            if not isinstance(blocks, nn.Sequential):
                raise ConfigError(f"backbone.name = '{name}': its stages are no rows of blocks that can be dilated")
            for i, block in enumerate(blocks):
                _dilate(block, max(dilation // 2, 1) if i == 0 and contract_dilation else dilation, only)


def _dilate(block: nn.Module, dilation: int, only: str) -> None:
    for name, module in block.named_modules():
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and only in ("", name):
            module.dilation = (dilation, dilation)
            module.padding = tuple(side // 2 * dilation for side in module.kernel_size)
