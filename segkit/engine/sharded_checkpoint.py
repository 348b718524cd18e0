"""Checkpoints of sharded trainings: a folder for each, to which every process writes its part while the run goes on.

torch.distributed.checkpoint writes and reads the tensors (segkit/readers/shard_folder.py says how they are found
without unpickling), `state.pt` holds all else that last.pt holds. A folder gets its name when all processes have
written, so that one with this name is whole whenever the run is killed.
"""

import os
import shutil
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as torch_dist
from torch import Tensor

from segkit import dist
from segkit.engine import checkpoint
from segkit.engine.checkpoint import REMEDY, CheckpointError
from segkit.engine.checksum import with_checksums
from segkit.engine.shard_state import SHARDS, STATE, joined, read_rest, remove_old, split
from segkit.engine.state import state_of
from segkit.files import DataError
from segkit.readers.shard_folder import INDEX, Stored, fill, index_text, is_shard_folder, read_index

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class ShardedCheckpoints:
    """Writes the checkpoints of one training, one at a time, while it goes on.

    Args:
        timeout: seconds that the processes wait for each other.
    """

    def __init__(self, timeout: float):
        # messages of their own: those of the training are sent meanwhile
        self._group = torch_dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
        self._writing: Future | None = None
        self._target = Path()

    def save(self, loop: "Loop") -> None:
        """Begins to write the state of a training; returns when it is copied, and the training may go on.

        A step that is written already gets its state anew, without the tensors.

        Raises:
            CheckpointError: the folder cannot be written, or the one before could not be.
        """
        state = state_of(loop)
        tensors, rest = split(state)
        target = loop.folder / SHARDS / f"step_{loop.step}"
        self.wait()
        if loop.saved_step == loop.step and is_shard_folder(target):
            if dist.is_main():
                checkpoint.save(target / STATE, rest)
            dist.barrier()
            return
        draft = target.with_name(f".{target.name}.part")
        if dist.is_main():
            shutil.rmtree(draft, ignore_errors=True)
            checkpoint.save(draft / STATE, rest)
        dist.barrier()
        self._target = target
        self._writing = _begin(tensors, draft, target, max(loop.settings.keep, 1), self._group)
        loop.saved_step = loop.step

    def wait(self, *, alone: bool = False) -> None:
        """Waits until the last checkpoint is written.

        Args:
            alone: whether this process calls it without the others, which may be dead.

        Raises:
            CheckpointError: it could not be.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except Exception as error:  # of the file system, or of another process that has died
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise CheckpointError(f"{self._target}: cannot be written ({reason}); {REMEDY}") from error
        if not alone:
            dist.barrier()

    def finish(self, place: Path, keep: int) -> None:
        """Waits for the last checkpoint and removes all but `keep`: last.pt holds the end of the stage."""
        self.wait()
        if dist.is_main():
            remove_old(place / SHARDS, keep)
        dist.barrier()


def _begin(tensors: dict[str, Tensor], draft: Path, target: Path, keep: int, group: Any) -> Future:
    import torch.distributed.checkpoint as dcp

    from segkit.engine.shard_writing import ShardWriter

    with_checksums()
    begun = dcp.async_save(
        tensors,
        storage_writer=ShardWriter(draft, lambda index: _complete(index, draft, target, keep)),
        process_group=group,
    )
    assert isinstance(begun, Future), "a stager of its own would give another answer"
    return begun


def _complete(index: dict[str, Stored], draft: Path, target: Path, keep: int) -> None:
    """Gives a folder that all processes have written its index and its name; called on the main process."""
    with open(draft / INDEX, "w", encoding="utf-8") as file:
        file.write(index_text(index))
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)  # of a run that a resumed one has gone back behind
    os.replace(draft, target)
    remove_old(target.parent, keep)


def read_state(folder: Path) -> dict[str, Any]:
    """Reads a checkpoint's state without its tensors, as a resumed run compares it; see filled.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        return {**checkpoint.checked(read_rest(folder), folder / STATE), "model": {}}
    except DataError as error:
        raise CheckpointError(str(error)) from error


def filled(loop: "Loop", rest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the state of a checkpoint with its tensors, shared out as those of a training are.

    Args:
        loop: takes the state; of any number of processes, sharded or not. Each reads what it holds.
        rest: of read_state.
        folder: of the checkpoint.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    try:
        index = read_index(folder)
        own = {f"model/{name}": value for name, value in loop.raw_model.state_dict().items()}
        if loop.ema is not None:
            own |= {f"ema/{name}": value for name, value in loop.ema.module.state_dict().items()}
        parameters = [parameter for group in loop.optimizer.param_groups for parameter in group["params"]]
        numbers = [number for group in rest["optimizer"].get("param_groups", []) for number in group["params"]]
        by_number = dict(zip(numbers, parameters))
        targets = {name: _target(name, stored, own, by_number) for name, stored in index.items()}
        if loop.ema is None:
            targets = {name: value for name, value in targets.items() if not name.startswith("ema/")}
        fill(folder, index, targets)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    return joined(rest, targets)


def _target(name: str, stored: Stored, own: dict[str, Tensor], parameters: dict[int, Tensor]) -> Tensor:
    """An empty tensor to read one of the checkpoint into: shared out as its counterpart, whole where it has none."""
    kind, _, inner = name.partition("/")
    number = inner.partition("/")[0]
    like = own.get(name) if kind != "optimizer" else parameters.get(int(number)) if number.isdecimal() else None
    if like is not None and dist.is_sharded(like) and tuple(like.shape) == stored.size:
        return torch.zeros_like(like, dtype=stored.dtype, requires_grad=False)
    return torch.zeros(stored.size, dtype=stored.dtype)
