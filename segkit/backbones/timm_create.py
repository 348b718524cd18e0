"""Builds encoders of timm, with errors that name what they cannot be built with."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.weights import LITE_NORMALIZATION, LITE_PACKAGES
from segkit.models.layers import per_channel
from segkit.registry import ConfigError, did_you_mean

if TYPE_CHECKING:
    from timm.models import FeatureInfo

FREE_SIZE: tuple[dict[str, Any], ...] = ({"strict_img_size": False}, {"dynamic_img_size": True}, {})
"""Arguments by which encoders built for one image size take others; the first that an encoder accepts counts."""

ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    f"mit_b{i}": (f"pvt_v2_b{i}", {"mlp_ratios": (4, 4, 4, 4)}) for i in range(6)
}
"""Published encoders that timm has under another name, with the arguments that make the difference.

The Mix Transformers of SegFormer (Xie et al., NeurIPS 2021, https://arxiv.org/abs/2105.15203) are the second version of
the Pyramid Vision Transformer with hidden layers four times as wide in all stages.
"""

SET_BY = {
    "pretrained": "backbone.pretrained",
    "in_chans": "backbone.in_channels",
    "output_stride": "backbone.output_stride",
    "out_indices": "backbone.out_indices",
    "drop_path_rate": "backbone.drop_path_rate",
    "img_size": "backbone.img_size",
    "num_classes": "model.num_classes",
}
"""timm's arguments that a config gives elsewhere, and where."""

SET_HERE = ("features_only", "feature_cfg", "feature_cls", "strict_img_size", "dynamic_img_size")
"""timm's arguments that the adapter alone decides."""

LINEAR_ATTENTION_EPS = 1e-15
"""Added to the divisor of EfficientViT's attention, as the published weights were trained; timm has 1e-5."""

BUILD_ERRORS = (
    TypeError,
    ValueError,
    AssertionError,
    RuntimeError,
    NotImplementedError,
    AttributeError,
    LookupError,
)
"""What timm raises for arguments that an encoder does not have, and encoders for images that they do not take."""


@dataclass(frozen=True)
class Tokens:
    """What the maps of a Vision Transformer hold.

    Args:
        final_norm: whether they are normalized by the encoder's last layer.
        class_token: whether each position's channels are followed by those of the class token.
    """

    final_norm: bool = False
    class_token: bool = False


def feature_info(encoder: nn.Module) -> "FeatureInfo":
    """Returns timm's description of an encoder's feature maps: channels, strides and names of the stages."""
    return cast("FeatureInfo", encoder.feature_info)


def check_options(name: str, options: Mapping[str, Any], used: Mapping[str, Any]) -> None:
    """Checks arguments that a config hands on to an encoder of timm.

    Args:
        name: as in timm.list_models(), or one of ALIASES.
        options: the arguments.
        used: arguments that the adapter gives already.

    Raises:
        ConfigError: the encoder has no such argument, or a config gives it elsewhere.
    """
    import timm

    known, fixed = ALIASES.get(name, (name, {}))
    for key in options:
        at = f"backbone.options.{key}"
        if key in SET_BY:
            raise ConfigError(f"{at}: is set by {SET_BY[key]}; give it there")
        if key in SET_HERE:
            raise ConfigError(f"{at}: is set by segkit itself; leave it out")
        if key in used:
            raise ConfigError(f"{at}: is set by backbone.deep_stem; give one of the two")
        if key in fixed:
            raise ConfigError(f"{at}: is what makes {known} {name}; name {known} to set it")
    if not options or not timm.is_model(known):
        return
    with torch.device("meta"):
        cls = type(timm.create_model(known))
    parameters = inspect.signature(cls).parameters
    names = [key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    free = sorted(set(names) - SET_BY.keys() - set(SET_HERE))
    for key in options:
        if key not in names and len(names) == len(parameters):
            raise ConfigError(
                f"backbone.options.{key}: {cls.__name__} of timm has no such argument{did_you_mean(key, free)}; it "
                f"has {', '.join(free)}"
            )


def create_encoder(name: str, kwargs: dict[str, Any], is_pretrained: bool, tokens: Tokens = Tokens()) -> nn.Module:
    """Builds an encoder of timm that returns feature maps.

    Args:
        name: as in timm.list_models().
        kwargs: of timm's constructor.
        is_pretrained: fetches timm's weights.
        tokens: what a Vision Transformer's maps hold beside what timm gives.

    Returns:
        The encoder; its forward returns a list of maps.

    Raises:
        ConfigError: there is no such encoder, it gives no feature maps, it cannot be built with an argument, or the
            weights cannot be fetched.
    """
    import timm
    from timm.models import efficientvit_mit, twins

    known, name = name, ALIASES.get(name, (name, {}))[0]
    kwargs = {**ALIASES.get(known, ("", {}))[1], **kwargs}
    if not timm.is_model(name):
        raise ConfigError(f"backbone.name = '{name}': timm has no such model{did_you_mean(name, timm.list_models())}")
    config = timm.models.get_pretrained_cfg(name)
    has_fixed_size = config is not None and config.fixed_input_size
    problem: Exception | None = None
    for extra in FREE_SIZE if has_fixed_size else ({},):
        try:
            if tokens.final_norm or tokens.class_token:
                return _token_maps(name, {**kwargs, **extra}, is_pretrained, tokens)
            encoder = timm.create_model(name, pretrained=is_pretrained, features_only=True, **kwargs, **extra)
            for module in encoder.modules():
                if isinstance(module, twins.PatchEmbed):
                    module.register_forward_pre_hook(_whole_patches)
                if isinstance(module, efficientvit_mit.LiteMLA):
                    module.eps = LINEAR_ATTENTION_EPS
            return encoder
        except ConfigError:
            raise
        except BUILD_ERRORS as error:
            problem = error
        except OSError as error:
            raise ConfigError(
                f"backbone.pretrained: the weights of {name} cannot be fetched ({type(error).__name__}); give a file, "
                "or None for random weights"
            ) from error
    asked = {key: value for key, value in kwargs.items() if (key, value) != ("in_chans", 3)}
    reason = f"timm: {str(problem) or type(problem).__name__}"
    if not asked:
        raise ConfigError(
            f"backbone.name = '{name}': timm builds no feature maps of this encoder ({reason}); take another, such as "
            "resnet50, convnext_tiny or pvt_v2_b2"
        )
    raise ConfigError(f"backbone: {name} cannot be built with {asked} ({reason})")


def _token_maps(name: str, kwargs: dict[str, Any], is_pretrained: bool, tokens: Tokens) -> nn.Module:
    """A Vision Transformer as features_only gives it, but for `tokens`."""
    import timm

    from segkit.backbones.timm_tokens import TokenMaps

    others = {key: value for key, value in kwargs.items() if key != "out_indices"}
    model = timm.create_model(name, pretrained=is_pretrained, num_classes=0, **others)
    width, norm = getattr(model, "embed_dim", None), getattr(model, "norm", None)
    has_tokens = hasattr(model, "forward_intermediates") and isinstance(width, int)
    if tokens.final_norm and not (has_tokens and list(getattr(norm, "normalized_shape", ())) == [width]):
        raise ConfigError(
            f"backbone.final_norm = True: {name} has no final normalization of one width for all of its maps; set "
            "backbone.norm_levels instead, which adds new ones"
        )
    if tokens.class_token and not (has_tokens and isinstance(getattr(model, "cls_token", None), nn.Parameter)):
        raise ConfigError(
            f"backbone.append_class_token = True: {name} has no class token; set it to False, and class_token = False "
            "in a neck that reads it"
        )
    return TokenMaps(model, kwargs.get("out_indices", 3), tokens.final_norm, tokens.class_token)


def set_norm_eps(encoder: nn.Module, eps: float) -> None:
    """Sets the epsilon of all layer normalizations of an encoder, in place."""
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


def set_norm_momentum(encoder: nn.Module, momentum: float) -> None:
    """Sets the momentum of all batch normalizations of an encoder, in place."""
    for module in encoder.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = momentum


def built_for(name: str, encoder: nn.Module) -> tuple[int, int]:
    """Returns (H, W) of the images that an encoder is built for, where it is not asked for another size."""
    from timm.models import get_pretrained_cfg

    sizes = [getattr(module, "img_size", None) for module in encoder.modules()]
    known = next((size for size in sizes if size), None)
    if known is None:
        config = get_pretrained_cfg(ALIASES.get(name, (name, {}))[0])
        known = tuple(config.input_size[1:]) if config else 224
    return (known[0], known[1]) if isinstance(known, tuple | list) else (known, known)


def _whole_patches(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    """Pads a map to whole patches at the right and bottom, as mmsegmentation's Twins; timm's cuts off the rest."""
    rows, columns = cast(tuple[int, int], module.patch_size)
    height, width = inputs[0].shape[-2:]
    return (nn.functional.pad(inputs[0], (0, -width % columns, 0, -height % rows)),)


def normalization(
    name: str, in_channels: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation in 0..255 per channel.

    They depend on the encoder's name and not on the source of its weights: a trained model is loaded without naming its
    pretrained weights again.

    Args:
        name: as in timm.list_models().
        in_channels: channels of the image.
        mean, std: given values; None for those that timm states for the encoder.
    """
    from timm.models import PretrainedCfg, get_pretrained_cfg

    name = ALIASES.get(name, (name, {}))[0]
    known_mean: tuple[float, ...]
    known_std: tuple[float, ...]
    if name in LITE_PACKAGES.values():
        known_mean, known_std = LITE_NORMALIZATION
    else:
        config = get_pretrained_cfg(name) or PretrainedCfg()
        known_mean = tuple(255 * value for value in config.mean)
        known_std = tuple(255 * value for value in config.std)
    return per_channel(mean or known_mean, in_channels), per_channel(std or known_std, in_channels)
