"""Writes sharded tensors by torch.distributed.checkpoint, and tells where each part lies."""

from collections.abc import Callable
from pathlib import Path

from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.storage import WriteResult

from segkit.readers.shard_folder import Part, Stored


class ShardWriter(FileSystemWriter):
    """Writes the parts of this process into one file of a folder.

    Args:
        folder: of the checkpoint.
        complete: called on the main process when all have written, with the tensors by name.
    """

    def __init__(self, folder: Path, complete: Callable[[dict[str, Stored]], None]):
        super().__init__(folder)
        self._complete = complete

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Writes torch's index, and hands on segkit's."""
        super().finish(metadata, results)
        parts: dict[str, dict[tuple[int, ...], Part]] = {}
        sizes = {
            (name, tuple(chunk.offsets)): tuple(chunk.sizes)
            for name, stored in metadata.state_dict_metadata.items()
            if isinstance(stored, TensorStorageMetadata)
            for chunk in stored.chunks
        }
        for result in (result for of_process in results for result in of_process):
            name, offsets = result.index.fqn, tuple(result.index.offset or ())
            where = result.storage_data
            parts.setdefault(name, {})[offsets] = Part(
                offsets, sizes[name, offsets], where.relative_path, where.offset, where.length
            )
        index = {
            name: Stored(stored.properties.dtype, tuple(stored.size), list(parts[name].values()))
            for name, stored in metadata.state_dict_metadata.items()
            if isinstance(stored, TensorStorageMetadata)
        }
        self._complete(index)
