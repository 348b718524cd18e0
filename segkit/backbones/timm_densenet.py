"""A DenseNet of timm whose last blocks are dilated instead of pooled, as in DenseASPP.

Yang et al., CVPR 2018, section 4,
https://openaccess.thecvf.com/content_cvpr_2018/html/Yang_DenseASPP_for_Semantic_CVPR_2018_paper.html.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import nn

from segkit.backbones.timm import Timm
from segkit.constraints.named import NonNegativeInt, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmDenseNet(Timm):
    """A DenseNet with dilated last blocks, without the pooling before them and without its last normalization.

    It returns the maps of the stem and of the four blocks, of strides 2, 4, 8, 8, 8 with two dilations; sizes are
    rounded up.

    Args:
        name: of a DenseNet in timm.
        in_channels, pretrained, frozen_stages, norm_eval, mean, std: as in Timm.
        dilations: of the last blocks, one or two of them.

    Raises:
        ConfigError: the encoder is no DenseNet, or there are not one or two dilations.
    """

    def __init__(
        self,
        name: str = "densenet121",
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        dilations: tuple[PositiveInt, ...] = (2, 4),
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name, 32, in_channels, pretrained, frozen_stages=frozen_stages, norm_eval=norm_eval, mean=mean, std=std
        )
        children = dict(self.encoder.named_children())
        if "features_transition3" not in children:
            raise ConfigError(f"backbone.name = '{name}': is no DenseNet; name a DenseNet of timm")
        if not 0 < len(dilations) < 3:
            raise ConfigError(f"backbone.dilations = {tuple(dilations)}: give one or two dilations")
        for i in (1, 2, 3):
            # Keeps the last row and column of an odd map: sizes are rounded up.
            cast(nn.AvgPool2d, children[f"features_transition{i}"].pool).ceil_mode = True
        first = 4 - len(dilations)
        for i, dilation in enumerate(dilations, first):
            children[f"features_transition{i}"].pool = nn.Identity()
            for module in children[f"features_denseblock{i + 1}"].modules():
                if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
                    module.dilation = module.padding = (dilation, dilation)
        self.encoder.features_norm5 = nn.Identity()
        self.strides = (2, *(2 ** min(i + 1, first + 1) for i in range(1, 5)))
        self._find_sizes(name, in_channels, None)
        del self._probe
