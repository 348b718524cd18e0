"""An encoder of timm to which clicks are added behind its first level, as in FocalClick on SegFormer."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from segkit.backbones.timm import Timm
from segkit.backbones.timm_create import feature_info
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class TimmLate(Timm):
    """Timm whose `stem_add` is added to the first map on its way into the second stage.

    The first map that it returns knows nothing of what is added. Chen et al., CVPR 2022,
    https://arxiv.org/abs/2204.02574, and their published code.

    Args:
        name, in_channels, pretrained, frozen_stages, norm_eval, drop_path_rate, norm_eps, mean, std: as in Timm.

    Raises:
        ConfigError: the encoder's second level is not a module of its own.
    """

    def __init__(
        self,
        name: str,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        drop_path_rate: Decay = 0.0,
        norm_eps: PositiveFloat | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__(
            name,
            in_channels=in_channels,
            pretrained=pretrained,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            drop_path_rate=drop_path_rate,
            norm_eps=norm_eps,
            mean=mean,
            std=std,
        )
        second = feature_info(self.encoder).module_name()[1].replace(".", "_")
        modules = dict(self.encoder.named_children())
        if second not in modules:
            raise ConfigError(
                f"backbone.name = '{name}': its second level is no stage of its own, to which clicks could be added; "
                "take one of mit_b0 to mit_b5, or type='Timm'"
            )
        self.stem_channels, self.stem_stride = self.channels[0], self.strides[0]
        modules[second].register_forward_pre_hook(self._add_late)

    def _hook(self, _module: nn.Module, _inputs: tuple, output: Tensor | tuple) -> Tensor | tuple | None:
        """Adds nothing at the stem."""
        return None

    def _add_late(self, _module: nn.Module, inputs: tuple) -> tuple | None:
        if self._stem_add is None:
            return None
        x = inputs[0]
        added = self._stem_add[..., : x.shape[-2], : x.shape[-1]]
        return (x + added, *inputs[1:])
