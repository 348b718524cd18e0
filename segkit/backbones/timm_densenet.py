"""A DenseNet of timm whose last blocks are dilated instead of pooled, Yang et al., CVPR 2018 (DenseASPP), section 4,
https://openaccess.thecvf.com/content_cvpr_2018/html/Yang_DenseASPP_for_Semantic_CVPR_2018_paper.html."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from segkit.backbones.timm import Timm
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmDenseNet(Timm):
    """A DenseNet without the pooling of its last transitions, whose blocks behind them are dilated, and without its
    last normalization: [B,in_channels,H,W] -> maps of the stem and of the four blocks (strides 2, 4, 8, 8, 8 with two
    dilations), rounded up.

    dilations: of the last blocks, one or two of them. The other arguments are Timm's.
    """

    def __init__(
        self,
        name: str = "densenet121",
        in_channels: int = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        dilations: tuple[int, ...] = (2, 4),
        frozen_stages: int = 0,
        norm_eval: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ):
        super().__init__(
            name, 32, in_channels, pretrained, frozen_stages=frozen_stages, norm_eval=norm_eval, mean=mean, std=std
        )
        parts = dict(self.encoder.named_children())
        if "features_transition3" not in parts or not 0 < len(dilations) < 3:
            raise ConfigError(f"backbone.name = '{name}': a DenseNet of timm is wanted, and one or two dilations")
        for i in (1, 2, 3):
            # Keeps what lies in the corner of an odd map, as strides rounded up want it.
            parts[f"features_transition{i}"].pool.ceil_mode = True
        first = 4 - len(dilations)
        for i, dilation in enumerate(dilations, first):
            parts[f"features_transition{i}"].pool = nn.Identity()
            for module in parts[f"features_denseblock{i + 1}"].modules():
                if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
                    module.dilation = module.padding = (dilation, dilation)
        self.encoder.features_norm5 = nn.Identity()
        self.strides = (2, *(2 ** min(i + 1, first + 1) for i in range(1, 5)))
        self.divisor = (1, 1)
