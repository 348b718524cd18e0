"""Batch normalizations of a trained network as part of the convolutions before them: the same answers in fewer passes.

Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, https://arxiv.org/abs/1712.05877, section 3.2.
"""

import copy
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TOLERANCE = 1e-2
_COPIES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def folded(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of the model in which every convolution that feeds a batch normalization does the work of both, kept for
    the next call until a tensor of the model changes.

    model: in evaluation mode; run: one forward pass of the model it is given -> its output. Where a convolution's
    output has other readers than the normalization the copy's output differs by more than a hundredth of its deviation:
    then the model itself is returned. In exact arithmetic both outputs are equal.
    """
    version = _version(model)
    kept = _COPIES.get(model)
    if kept is None or kept[0] != version:
        kept = (version, _checked(model, run))
        _COPIES[model] = kept
    # the model itself is not stored: it would keep its own entry alive
    return model if kept[1] is None else kept[1]


def _version(model: nn.Module) -> tuple[int, int, int]:
    """Changes with every change in place and every new tensor."""
    tensors = [*model.parameters(), *model.buffers()]
    changes = sum(0 if t.is_inference() else t._version for t in tensors)
    return changes, sum(t.data_ptr() for t in tensors), len(tensors)


@torch.inference_mode(False)  # the copy serves outside of it as well
@torch.no_grad()
def _checked(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module | None:
    twin = copy.deepcopy(model)
    pairs, expected = _pairs(twin, lambda: run(twin))
    if not pairs:
        return None
    for conv, norm in pairs:
        _fold(conv, norm)
    norms = {id(norm) for _, norm in pairs}
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if id(child) in norms:
                setattr(parent, name, _rest(child))
    found = run(twin)
    is_equal = (found - expected).abs().max() <= TOLERANCE * expected.std()
    return twin if is_equal else None


def _pairs(model: nn.Module, run: Callable[[], Tensor]) -> tuple[list[tuple[nn.Conv2d, _BatchNorm]], Tensor]:
    """-> (convolution, the normalization its output goes to) of all that were called once, and the run's output."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []
    calls: dict[int, int] = {}

    def after_conv(conv: nn.Module, _given: tuple, output: Tensor) -> None:
        outputs[id(output)] = (conv, output)  # holding the tensor keeps its id from being given away
        calls[id(conv)] = calls.get(id(conv), 0) + 1

    def before_norm(norm: nn.Module, given: tuple) -> None:
        calls[id(norm)] = calls.get(id(norm), 0) + 1
        conv = outputs.get(id(given[0]), (None,))[0]
        if conv is not None and norm.running_mean is not None and not norm.training:
            pairs.append((conv, norm))

    handles = [m.register_forward_hook(after_conv) for m in model.modules() if isinstance(m, nn.Conv2d)]
    handles += [m.register_forward_pre_hook(before_norm) for m in model.modules() if isinstance(m, _BatchNorm)]
    try:
        output = run()
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls[id(m)] == 1 for m in pair)], output


def _rest(norm: _BatchNorm) -> nn.Module:
    """What a normalization does besides: timm's have an activation in them."""
    parts = [getattr(norm, name, None) for name in ("drop", "act")]
    parts = [part for part in parts if isinstance(part, nn.Module) and not isinstance(part, nn.Identity)]
    return nn.Sequential(*parts) if parts else nn.Identity()


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    """Scales the convolution's outputs and moves its bias as the normalization does."""
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias
    weight = conv.weight * scale.to(conv.weight.dtype).view(-1, 1, 1, 1)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
