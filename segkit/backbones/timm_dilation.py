"""Dilations of encoders: of whole modules, and of every convolution whose output lost a stride."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call


def dilate(module: nn.Module, dilation: int, only: str = "") -> None:
    """Dilates the convolutions inside a module that are wider than 1x1, their padding with them.

    Args:
        module: a stage or a block.
        dilation: along both axes.
        only: dilates convolutions of this name alone, as in `named_modules`; "" dilates all.
    """
    for name, inner in module.named_modules():
        if isinstance(inner, nn.Conv2d) and max(inner.kernel_size) > 1 and only in ("", name):
            set_dilation(inner, dilation)


def set_dilation(conv: nn.Conv2d, dilation: int) -> None:
    """Sets the dilation of a convolution, and the padding that keeps its output's size; in place.

    Args:
        conv: of stride 1. A convolution that computes its padding itself (TensorFlow's "same") keeps doing so.
        dilation: along both axes.
    """
    conv.dilation = (dilation, dilation)
    conv.padding = tuple(side // 2 * dilation for side in conv.kernel_size)


def dilate_fully(encoder: nn.Module, with_strides: nn.Module, in_channels: int) -> None:
    """Gives every convolution the dilation that makes up for all strides lost up to its output.

    The convolutions of the stages between two feature maps are found by running both encoders on the meta device, not
    by the names of the feature maps: in MobileNets and EfficientNets a feature map closes several stages.

    Args:
        encoder: with an output stride below 32, changed in place.
        with_strides: the same encoder at output stride 32.
        in_channels: channels of the image.
    """
    side = 1024  # a multiple of every stride
    image = torch.empty(1, in_channels, side, side, device="meta")
    full, reduced = _output_sides(with_strides, image), _output_sides(encoder, image)
    for name, conv in encoder.named_modules():
        if isinstance(conv, nn.Conv2d) and max(conv.kernel_size) > 1 and name in full and name in reduced:
            lost = reduced[name] // full[name]
            if lost > 1:
                set_dilation(conv, lost)


def _output_sides(encoder: nn.Module, image: Tensor) -> dict[str, int]:
    """Height of every convolution's output, by the convolution's name."""
    sides: dict[str, int] = {}

    def record(name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        return lambda _module, _inputs, output: sides.__setitem__(name, output.shape[-2])

    handles = [
        module.register_forward_hook(record(name))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    tensors = {**dict(encoder.named_parameters()), **dict(encoder.named_buffers())}
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            functional_call(encoder, {name: value.to("meta") for name, value in tensors.items()}, (image,))
    finally:
        for handle in handles:
            handle.remove()
        encoder.train(was_training)
    return sides
