"""What torch.distributed.checkpoint asks of a storage that it reads from, answered by segkit's own readers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import LoadPlan, LoadPlanner, StorageReader
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType
from torch.futures import Future

from segkit.files import DataError
from segkit.readers.shard_folder import Part, Stored, read_part


class ShardReader(StorageReader):
    """Reads tensors alone, by the index of read_index; torch's own reader unpickles its index and values.

    Args:
        folder: of the checkpoint.
        index: its tensors by name.
    """

    def __init__(self, folder: str | Path, index: Mapping[str, Stored]):
        super().__init__()
        self.folder, self.index = Path(folder), index

    def reset(self, checkpoint_id: Any = None) -> None:
        """Does nothing: a reader is of one folder."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        """Returns whether the folder can be read by such a reader."""
        return True

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Returns the index in torch's form."""
        return Metadata(
            {
                name: TensorStorageMetadata(
                    TensorProperties(dtype=stored.dtype),
                    torch.Size(stored.size),
                    [ChunkStorageMetadata(torch.Size(part.offsets), torch.Size(part.sizes)) for part in stored.parts],
                )
                for name, stored in self.index.items()
            }
        )

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the index is known."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Returns the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Returns the plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Reads the parts that a plan names into the planner's tensors."""
        for item in plan.items:
            if item.type != LoadItemType.TENSOR:
                raise DataError(f"{self.folder}: {item.storage_index.fqn} is no tensor; copy the folder again")
            stored = self.index[item.storage_index.fqn]
            value = read_part(self.folder, stored, self._part(stored, item.storage_index))
            for axis, (offset, length) in enumerate(zip(item.storage_offsets, item.lengths)):
                value = value.narrow(axis, offset, length)
            target = planner.resolve_tensor(item).detach()
            target.copy_(value)
            planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @staticmethod
    def _part(stored: Stored, index: MetadataIndex) -> Part:
        offsets = tuple(index.offset or ())
        return next(part for part in stored.parts if part.offsets == offsets)
