"""Communication between the processes of a run; every function also works in a single process."""

import gc
import os
from datetime import timedelta

import torch
import torch.distributed as torch_dist
from torch import Tensor


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
    return int(os.environ.get("RANK", 0)) == 0


def local_rank() -> int:
    """Returns the index of this process on its machine, as torchrun sets it; 0 outside of torchrun."""
    return int(os.environ.get("LOCAL_RANK", 0))


def start(device: torch.device, timeout: float = 3600.0) -> bool:
    """Joins the process group that torchrun describes.

    Args:
        device: decides the backend: nccl on GPUs, gloo on CPUs.
        timeout: seconds that a process waits for the others before it fails.

    Returns:
        Whether the process is in a group; False outside of torchrun.
    """
    if is_distributed() or int(os.environ.get("WORLD_SIZE", 1)) < 2:
        return is_distributed()
    # The functions of this module keep the group that exists at their import as a default argument, beyond its end:
    # it is imported before there is a group.
    import torch.distributed.nn.functional  # noqa: F401

    backend = "nccl" if device.type == "cuda" else "gloo"
    torch_dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    return True


def stop() -> None:
    """Leaves the process group and ends its threads.

    A model wrapped by DistributedDataParallel also holds the group, and is in a reference cycle with its loop. Unless
    that cycle is collected, threads of gloo outlive this call, and one that drops a tensor while the interpreter shuts
    down aborts the process.
    """
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
    values: list = [None] * world_size()
    torch_dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Waits until all processes have reached this call."""
    if is_distributed():
        torch_dist.barrier()
