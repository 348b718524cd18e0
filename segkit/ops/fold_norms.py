"""Folds the batch normalizations of a trained network into the convolutions before them, for faster inference.

Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, https://arxiv.org/abs/1712.05877, section 3.2.
"""

import copy
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit import dist

TOLERANCE = 1e-2
"""Largest difference between the two outputs, in standard deviations of the output."""

_Version = tuple[int, int, int]
_COPIES: weakref.WeakKeyDictionary[nn.Module, tuple[_Version, nn.Module | None]] = weakref.WeakKeyDictionary()


def folded(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module:
    """Returns a copy of a model in which each convolution also does the work of the batch normalization after it.

    In exact arithmetic the copy and the model give equal outputs. The copy is checked by one forward pass, and kept
    for later calls until a parameter or buffer of the model changes.

    Args:
        model: the network in evaluation mode.
        run: does one forward pass of the network it is given and returns the output, float of any shape.

    Returns:
        The folded copy, or the model itself where nothing can be folded or where the copy's output differs from the
        model's by more than a hundredth of the output's standard deviation. It differs where a convolution's output is
        read by other modules beside the normalization. A model that processes share out among them is never folded.
    """
    if dist.is_sharded_model(model):
        return model  # a copy would hold it whole
    version = _version(model)
    cached = _COPIES.get(model)
    if cached is None or cached[0] != version:
        cached = (version, _folded_copy(model, run))
        _COPIES[model] = cached
    # the model itself is not stored: it would keep its own entry alive
    return model if cached[1] is None else cached[1]


def _version(model: nn.Module) -> _Version:
    """Changes with every change in place and with every new tensor."""
    tensors = [*model.parameters(), *model.buffers()]
    changes = sum(0 if t.is_inference() else t._version for t in tensors)
    return changes, sum(t.data_ptr() for t in tensors), len(tensors)


@torch.inference_mode(False)  # the copy is also used outside of inference mode
@torch.no_grad()
def _folded_copy(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module | None:
    """Returns None where nothing can be folded or the outputs differ."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return None  # neither a copy nor a pass tells more
    network = copy.deepcopy(model)
    pairs, expected = _pairs(network, lambda: run(network))
    if not pairs:
        return None
    for conv, norm in pairs:
        _fold(conv, norm)
    norms = {id(norm): norm for _, norm in pairs}
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if id(child) in norms:
                setattr(parent, name, _without_norm(norms[id(child)]))
    output = run(network)
    is_equal = (output - expected).abs().max() <= TOLERANCE * expected.std()
    return network if is_equal else None


def _pairs(model: nn.Module, run: Callable[[], Tensor]) -> tuple[list[tuple[nn.Conv2d, _BatchNorm]], Tensor]:
    """Returns pairs of a convolution and the normalization that reads its output, and the output of the run.

    Modules that are called more than once are left out.
    """
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []
    calls: dict[int, int] = {}

    def after_conv(conv: nn.Conv2d, _inputs: tuple, output: Tensor) -> None:
        outputs[id(output)] = (conv, output)  # holding the tensor keeps its id from being given away
        calls[id(conv)] = calls.get(id(conv), 0) + 1

    def before_norm(norm: _BatchNorm, inputs: tuple) -> None:
        calls[id(norm)] = calls.get(id(norm), 0) + 1
        source = outputs.get(id(inputs[0]))
        if source is not None and norm.running_mean is not None and not norm.training:
            pairs.append((source[0], norm))

    handles = [m.register_forward_hook(after_conv) for m in model.modules() if isinstance(m, nn.Conv2d)]
    handles += [m.register_forward_pre_hook(before_norm) for m in model.modules() if isinstance(m, _BatchNorm)]
    try:
        output = run()
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls[id(m)] == 1 for m in pair)], output


def _without_norm(norm: _BatchNorm) -> nn.Module:
    """Returns what is left of a normalization: those of timm also hold an activation and a dropout."""
    modules = [getattr(norm, name, None) for name in ("drop", "act")]
    kept = [m for m in modules if isinstance(m, nn.Module) and not isinstance(m, nn.Identity)]
    return nn.Sequential(*kept) if kept else nn.Identity()


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    """Scales the kernels of the convolution and moves its bias as the normalization does."""
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None and var is not None
    scale = (var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = -mean if conv.bias is None else conv.bias - mean
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias
    weight = conv.weight * scale.to(conv.weight.dtype).view(-1, 1, 1, 1)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
