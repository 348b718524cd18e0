"""Processes of one run: rank, world size, sums over all of them; every function works on a single process too."""

import gc
import os
from datetime import timedelta

import torch
import torch.distributed as torch_dist
from torch import Tensor


def is_distributed() -> bool:
    return torch_dist.is_available() and torch_dist.is_initialized()


def rank() -> int:
    return torch_dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    return torch_dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    return rank() == 0


def is_main_process() -> bool:
    """Returns whether torchrun calls this process the first, also outside of the process group's life."""
    return int(os.environ.get("RANK", 0)) == 0


def local_rank() -> int:
    """Index of this process on its machine, as torchrun sets it."""
    return int(os.environ.get("LOCAL_RANK", 0))


def start(device: torch.device, minutes: int = 60) -> bool:
    """Joins the process group that torchrun describes (nccl on GPUs, gloo on CPUs); -> False outside torchrun."""
    if is_distributed() or int(os.environ.get("WORLD_SIZE", 1)) < 2:
        return is_distributed()
    # Its functions keep the group that exists at their import as a default argument, beyond the end of the group.
    import torch.distributed.nn.functional  # noqa: F401

    backend = "nccl" if device.type == "cuda" else "gloo"
    torch_dist.init_process_group(backend, timeout=timedelta(minutes=minutes))
    return True


def stop() -> None:
    """Leaves the process group and ends its threads.

    A wrapped model holds the group as well, and lies in a cycle with its loop: unless that is collected, gloo's threads
    outlive this call, and one that drops a tensor while the interpreter goes down aborts the process.
    """
    if is_distributed():
        gc.collect()
        torch_dist.destroy_process_group()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of the tensor over all processes, a new tensor; integers stay exact. CPU tensors travel by the GPU under
    nccl."""
    if not is_distributed():
        return tensor
    on_gpu = torch_dist.get_backend() == "nccl"
    total = tensor.to("cuda", copy=True) if on_gpu else tensor.clone()
    torch_dist.all_reduce(total)
    return total.to(tensor.device)


def gather_objects(value: object) -> list:
    """-> the plain values of all processes in the order of their ranks, on every process."""
    if not is_distributed():
        return [value]
    values: list = [None] * world_size()
    torch_dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    if is_distributed():
        torch_dist.barrier()
