"""Models that processes share out among them: torch's fully_shard, and what a training must do in step for it.

Zhao et al., PyTorch FSDP, VLDB 2023, https://arxiv.org/abs/2304.11277. Each process holds a part of every weight,
gradient and state of the optimizer; the weights of one block at a time are gathered to compute with it. Every pass of
the model is thus one of all processes: InStep keeps those together that have different numbers of passes to make.
"""

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from segkit import dist
from segkit.criterion import Criterion
from segkit.engine.lora import merged
from segkit.engine.state import whole
from segkit.models.bases import Backbone, Head, InstanceHead, Network
from segkit.models.blocks import recompute
from segkit.registry import ConfigError, build_model, without_start_weights
from segkit.settings import LoopSettings

if TYPE_CHECKING:
    from segkit.engine.loop import Loop
    from segkit.runners.base import Runner

SHARD = "loop.shard = 'fsdp'"


def encoder_blocks(network: nn.Module) -> list[nn.Module]:
    """Returns the blocks of all encoders of a network, in their order."""
    return [block for part in network.modules() if isinstance(part, Backbone) for block in part.blocks().values()]


def save_activations(network: nn.Module, settings: LoopSettings) -> None:
    """Makes the encoder's blocks compute their activations again, where loop.checkpoint_activations says so.

    Raises:
        ConfigError: the blocks of the encoder are not known.
    """
    if not settings.checkpoint_activations:
        return
    blocks = encoder_blocks(network)
    if not blocks:
        names = {type(part).__name__ for part in network.modules() if isinstance(part, Backbone)}
        raise ConfigError(
            f"loop.checkpoint_activations = True: the blocks of {', '.join(sorted(names)) or 'this model'} are not "
            "known by their names; set it to False, or give them in its method blocks()"
        )
    recompute(blocks)


def check_sharding(settings: LoopSettings, runner: "Runner", network: nn.Module, criterion: Criterion) -> None:
    """Raises ConfigError where a training cannot share its model out among processes; the message says why."""
    if settings.shard == "off":
        return
    if not torch_dist.is_available():
        raise ConfigError(f"{SHARD}: this build of torch has no torch.distributed; set it to 'off'")
    if not dist.is_distributed():
        raise ConfigError(
            f"{SHARD}: this run has one process, which holds the whole model anyway; start several with "
            "torchrun --nproc-per-node=N, or set it to 'off'"
        )
    if reason := _obstacle(settings, runner, network, criterion):
        raise ConfigError(f"{SHARD}: {reason}")


def _obstacle(settings: LoopSettings, runner: "Runner", network: nn.Module, criterion: Criterion) -> str:
    """Why a training cannot be sharded, with the way out; "" where it can."""
    if reason := runner.holds_whole_models():
        return f"the runner {type(runner).__name__} cannot, {reason}; set it to 'off'"
    if isinstance(network, Network) and not network.is_same_for_all:
        return f"the layers of {type(network).__name__} that run depend on the image; set it to 'off'"
    heads = [part for part in network.modules() if isinstance(part, Head) and part.fit_images]
    if heads:
        return f"model.head.fit_images = {heads[0].fit_images} fits a whole head to labels; set it to 0"
    scalars = [name for name, parameter in network.named_parameters() if parameter.dim() == 0]
    if scalars:
        return f"model.{scalars[0]} is a weight of one number, which torch's fully_shard does not take; set it to 'off'"
    if any(parameter.requires_grad for parameter in criterion.parameters()):
        return "losses or section `weighting` with weights of their own train on whole models alone; leave them out"
    if settings.compile:
        return "loop.compile = True was not tried with it; set one of them to its default"
    if settings.channels_last:
        return "torch shards weights in their usual memory layout alone; set loop.channels_last = False"
    return ""


def shard(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Shares the weights of a model out among the processes, each unit gathered on its own.

    The units are the encoder's blocks, the rest of each encoder, each head, and the rest of the model. Names and types
    of modules stay; parameters become tensors of parts.

    Args:
        network: the same on every process, on any device; its weights move to the device unit by unit.
        device: of the training.
        dtype: of autocast: blocks without batch normalizations are gathered in it, gradients are summed in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (dist.world_size(),))
    # autocast casts inputs where an operation wants it, and pixels in 0..255 are not exact in bfloat16
    half = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    full = MixedPrecisionPolicy()
    for block in encoder_blocks(network):
        has_norms = any(isinstance(module, _BatchNorm) for module in block.modules())
        fully_shard(block, mesh=mesh, mp_policy=full if dtype == torch.float32 or has_norms else half)
    for part in network.called_parts() if isinstance(network, Network) else ():
        part.register_forward_hook(_own_memory)
        is_completed = isinstance(part, InstanceHead) and type(part).complete is not InstanceHead.complete
        fully_shard(part, mesh=mesh, mp_policy=full)
        if is_completed:
            register_fsdp_forward_method(part, "complete")
    fully_shard(network, mesh=mesh, mp_policy=full)
    network.to(device)  # buffers of modules without weights


def _own_memory(module: nn.Module, arguments: tuple, output: Any) -> Any:
    """Copies views: one that is changed in place would lose what gathers the weights for its gradient."""
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) and x._is_view() else x, output)


@torch.no_grad()
def share_buffers(network: nn.Module) -> None:
    """Gives all processes the buffers of the main one, such as batch statistics, as DistributedDataParallel does."""
    names = network.state_dict().keys()
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for name, buffer in network.named_buffers():
        if name in names:
            by_dtype.setdefault(buffer.dtype, []).append(buffer)
    for buffers in by_dtype.values():
        flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
        torch_dist.broadcast(flat, 0)
        for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers])):
            buffer.copy_(values.view_as(buffer))


def gathered_model(loop: "Loop") -> Network:
    """Returns a whole copy of the model that is scored, on every process; all call it."""
    network = build_model(without_start_weights(loop.stage_cfg["model"]))
    weights = merged(whole(loop.eval_model.state_dict(), everywhere=True))
    network.load_state_dict(weights)
    return cast(Network, network.to(loop.device).eval())


class InStep:
    """Context manager in which processes make passes of a sharded model without gradients, each as many as it needs.

    A pass of one process needs the weights that the others hold. Before each pass all processes tell whether they make
    one; who has made all of its own makes passes on zeros until the last one is done. The model is in evaluation mode.

    Args:
        model: the sharded model itself, which is run by calling it.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._arguments: tuple[tuple, dict] | None = None
        self._knows_shapes = self._is_helping = False

    def __enter__(self) -> Self:
        self._handle = self.model.register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._help()
        finally:
            self._handle.remove()
            self._arguments = None

    def _before(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if not self._is_helping:
            self._arguments = args, kwargs
            self._ask(True)

    def _ask(self, makes_pass: bool) -> bool:
        """Whether any process makes a pass."""
        if not self._knows_shapes:
            # a process without any image learns from the others what a pass is given
            shapes = dist.gather_objects(None if self._arguments is None else tree_map(_shape, self._arguments))
            known = next((shape for shape in shapes if shape is not None), None)
            if self._arguments is None and known is not None:
                device = next(self.model.parameters()).device
                self._arguments = tree_map(lambda x: x.zeros(device) if isinstance(x, _Shape) else x, known)
            self._knows_shapes = True
        return bool(dist.all_reduce_sum(torch.tensor(int(makes_pass))))

    @torch.no_grad()
    def _help(self) -> None:
        self._is_helping, was_training = True, self.model.training
        self.model.eval()
        while self._ask(False):
            assert self._arguments is not None, "some process makes a pass, and has told its shapes"
            args, kwargs = self._arguments
            self.model(*args, **kwargs)
        self.model.train(was_training)
        torch.clear_autocast_cache()  # weights cast for these passes carry no graph


class _Shape:
    """What is sent of a tensor: shape and dtype."""

    def __init__(self, tensor: Tensor):
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype

    def zeros(self, device: torch.device) -> Tensor:
        """Returns a tensor of zeros like it."""
        return torch.zeros(self.shape, dtype=self.dtype, device=device)


def _shape(value: object) -> object:
    return _Shape(value) if isinstance(value, Tensor) else value


def without_gradients(model: nn.Module) -> torch.no_grad | torch.inference_mode:
    """Returns a context for evaluations of a model: torch.inference_mode, or torch.no_grad of a sharded one.

    Weights that are gathered in inference mode could not be trained afterwards.
    """
    return torch.no_grad() if dist.is_sharded_model(model) else torch.inference_mode()


def in_step(model: nn.Module) -> contextlib.AbstractContextManager:
    """Returns InStep of a sharded model, and nothing of another."""
    return InStep(model) if dist.is_sharded_model(model) else contextlib.nullcontext()
