"""Communication between the processes of a run; every function also works in a single process."""

import gc
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn


class Peer(NamedTuple):
    """A process of the run.

    Attributes:
        world_size: processes of the run, as this process was told.
        host: name of its machine.
        node: number of the torchrun that started it, "0", "1", ...; "" where it was started otherwise.
        about: what processes compare before they work together.
    """

    world_size: int
    host: str
    node: str
    about: dict[str, str]


class _State:
    """What this process knows of the run that it takes part in.

    Attributes:
        peers: all processes in the order of their ranks, () before they have met.
        phase: how many points this process has passed that all pass in the same order.
        place: the last of them that has a name.
    """

    peers: tuple[Peer, ...] = ()
    phase: int = 0
    place: str = "start"


def is_distributed() -> bool:
    """Returns whether this process has joined a process group."""
    return torch_dist.is_available() and torch_dist.is_initialized()


def rank() -> int:
    """Returns the index of this process in the run, 0 in a single process."""
    return torch_dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Returns the number of processes of the run."""
    return torch_dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Returns whether this is the process of rank 0, which writes files and logs."""
    return rank() == 0


def is_main_process() -> bool:
    """Returns whether torchrun calls this process the first, also outside of the process group's life."""
    return launched_rank() == 0


def launched_rank() -> int:
    """Returns the index that torchrun gave this process, also outside of the process group's life."""
    return int(os.environ.get("RANK", 0))


def is_launched() -> bool:
    """Returns whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def local_rank() -> int:
    """Returns the index of this process on its machine, as torchrun sets it; 0 outside of torchrun."""
    return int(os.environ.get("LOCAL_RANK", 0))


def is_restarted_after_errors() -> bool:
    """Returns whether torchrun starts all processes again when one of them fails (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def peers() -> tuple[Peer, ...]:
    """Returns the processes of the run in the order of their ranks, () in a single process."""
    return _State.peers if is_distributed() else ()


def nodes() -> dict[tuple[str, str], list[int]]:
    """Returns the ranks of each machine, or of each torchrun where several run on one, in the order of the ranks."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, peer in enumerate(peers()):
        found.setdefault((peer.host, peer.node), []).append(number)
    return found


def name_of(number: int) -> str:
    """Returns the name of a process for messages: "process 3 on HOST"."""
    known = _State.peers
    return named(number, known[number].host if number < len(known) else "")


def named(number: int, host: str) -> str:
    """Returns the name of a process on a machine for messages."""
    return f"process {number} on {host}" if host else f"process {number}"


def at(place: str) -> None:
    """Says that this process has come to a point that all processes pass in the same order.

    Args:
        place: "training", "evaluation", "saving".
    """
    _State.phase += 1
    _State.place = place


def progress() -> tuple[int, str]:
    """Returns how many such points this process has passed, and the name of the last one."""
    return _State.phase, _State.place


def start(
    device: torch.device,
    timeout: float = 3600.0,
    store: torch_dist.Store | None = None,
    met: Sequence[Peer] = (),
) -> bool:
    """Joins the process group that torchrun describes.

    Args:
        device: decides the backend: nccl on GPUs, gloo on CPUs.
        timeout: seconds that a process waits for the others before it fails.
        store: of this group alone; None for that of torchrun.
        met: the processes in the order of their ranks, where they have met before.

    Returns:
        Whether the process is in a group; False outside of torchrun.
    """
    if is_distributed() or not is_launched():
        return is_distributed()
    # The functions of this module keep the group that exists at their import as a default argument, beyond its end:
    # it is imported before there is a group.
    import torch.distributed.nn.functional  # noqa: F401

    backend, limit = "nccl" if device.type == "cuda" else "gloo", timedelta(seconds=timeout)
    if store is None:
        torch_dist.init_process_group(backend, timeout=limit)
        return True
    _State.peers = tuple(met)
    number, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch_dist.init_process_group(backend, timeout=limit, store=store, rank=number, world_size=size)
    return True


def stop() -> None:
    """Leaves the process group and ends its threads.

    A model wrapped by DistributedDataParallel also holds the group, and is in a reference cycle with its loop. Unless
    that cycle is collected, threads of gloo outlive this call, and one that drops a tensor while the interpreter shuts
    down aborts the process.
    """
    _State.phase, _State.place = 0, "start"
    if is_distributed():
        gc.collect()
        torch_dist.destroy_process_group()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sums a tensor over all processes.

    Args:
        tensor: of any shape and dtype; integers stay exact. Under nccl, tensors on the CPU travel via the GPU.

    Returns:
        A new tensor on the same device; in a single process the tensor itself.
    """
    if not is_distributed():
        return tensor
    _State.phase += 1
    on_gpu = torch_dist.get_backend() == "nccl"
    total = tensor.to("cuda", copy=True) if on_gpu else tensor.clone()
    torch_dist.all_reduce(total)
    return total.to(tensor.device)


def gather_objects(value: object) -> list:
    """Gathers a plain value from every process on every process.

    Args:
        value: any object that can be pickled.

    Returns:
        The values of all processes in the order of their ranks.
    """
    if not is_distributed():
        return [value]
    _State.phase += 1
    values: list = [None] * world_size()
    torch_dist.all_gather_object(values, value)
    return values


def broadcast_object(value: object, source: int = 0) -> object:
    """Returns one process's plain value on every process.

    Args:
        value: any object that can be pickled; of the others it is not used.
        source: rank of the process that gives it.
    """
    if not is_distributed():
        return value
    _State.phase += 1
    values = [value]
    torch_dist.broadcast_object_list(values, source)
    return values[0]


def barrier() -> None:
    """Waits until all processes have reached this call."""
    if is_distributed():
        _State.phase += 1
        torch_dist.barrier()


def is_sharded(tensor: Tensor) -> bool:
    """Returns whether processes share a tensor out among them, and this one holds a part of it (loop.shard)."""
    if type(tensor) in (Tensor, nn.Parameter):
        return False  # nearly always, and the import below takes a second
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def is_sharded_model(model: nn.Module) -> bool:
    """Returns whether processes share the weights of a model out among them."""
    return is_distributed() and any(map(is_sharded, model.parameters()))


def own_part(tensor: Tensor) -> Tensor:
    """Returns the part of a tensor that this process holds: all of one that is not shared out."""
    if not is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import DTensor

    assert isinstance(tensor, DTensor)
    return tensor.to_local()


def gathered(tensor: Tensor) -> Tensor:
    """Returns a whole tensor from the parts of all processes, which call it together; others as they are."""
    if not is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import DTensor

    assert isinstance(tensor, DTensor)
    return tensor.full_tensor()


def shared_out_like(whole: Tensor, wanted: Tensor) -> Tensor:
    """Returns this process's part of a whole tensor, shared out as `wanted` is; nothing is sent.

    Args:
        whole: the same on every process. A part of a shared out tensor, and one for `wanted` that is whole, stay.
        wanted: of the same shape.
    """
    if is_sharded(whole) or not is_sharded(wanted):
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(wanted, DTensor)
    on_device = whole.detach().to(wanted.device)
    return distribute_tensor(on_device, wanted.device_mesh, wanted.placements, src_data_rank=None)
