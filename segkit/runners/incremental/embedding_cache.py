"""What a frozen network makes of an image, kept on disk: runner.cache_gb.

Where a step trains the last classifier alone, the embedding that it reads is a function of the image. It is found by
the content of the augmented image and of the frozen weights, so that a training without random augmentation runs the
network once per image, in this step and in later ones, and one with it is as right and no faster.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.files import DataError, write_whole
from segkit.models.segmentor import Segmentor
from segkit.readers.arrays import read_npy
from segkit.registry import ConfigError
from segkit.types import Outputs

CLASSIFIER = r"^head\.classifier\."
"""Names of the parameters that may train."""

OUTPUTS = ("logits", "embedding")
"""Outputs that rows of losses may name."""


def check_cached(model: nn.Module, names: Sequence[str]) -> None:
    """Checks that a step can train on what is cached.

    Args:
        model: of the step; only its `head.classifier` may train.
        names: outputs that the rows of losses name.

    Raises:
        ConfigError: something else trains, or a row names an output that a cached pass does not have.
    """
    others = [n for n, p in model.named_parameters() if p.requires_grad and not re.search(CLASSIFIER, n)]
    if others:
        raise ConfigError(
            f"runner.cache_gb: '{others[0]}' trains, and what is cached would be of older weights; set "
            r"runner.train_only = [r'head\.classifier\.'] or leave runner.cache_gb out"
        )
    for name in names:
        if name not in OUTPUTS:
            raise ConfigError(
                f"runner.losses: '{name}': with runner.cache_gb the network does not run, and there are the outputs "
                f"{' and '.join(OUTPUTS)} alone; remove the row, or leave runner.cache_gb out"
            )


class EmbeddingCache:
    """Runs the network on images whose embedding is not on disk, and the classifier on all.

    Args:
        folder: takes a folder for these weights, and in it a file for each image.
        model: the bare module; only its `head.classifier` trains.
        gigabytes: that the folder of these weights may hold; afterwards nothing more is written.

    Raises:
        ConfigError: there are several processes.
    """

    def __init__(self, folder: Path, model: Segmentor, gigabytes: float):
        if dist.world_size() > 1:
            raise ConfigError(
                "runner.cache_gb: a cached training runs in one process; leave it out, or train in one process"
            )
        self.folder = folder / _digest_of_weights(model)
        self.room = int(gigabytes * 1e9) - sum(file.stat().st_size for file in self.folder.glob("*.npy"))
        self._is_checked = False

    def outputs(self, model: Segmentor, image: Tensor) -> Outputs:
        """Returns "logits" and "embedding" of images [B,C,H,W], the embedding without a gradient."""
        files = [self.folder / f"{_digest(one)}.npy" for one in image]
        found = [self._read(file, image.device) for file in files]
        missing = [i for i, embedding in enumerate(found) if embedding is None]
        if missing:
            with torch.no_grad():
                outputs = model(image[missing])
            if not self._is_checked:
                self._check(model.head, outputs)
            for i, embedding in zip(missing, outputs["embedding"].float()):
                self._write(files[i], embedding)
                found[i] = embedding
        embedding = torch.stack([one for one in found if one is not None])
        return {"logits": cast(nn.Module, model.head.classifier)(embedding), "embedding": embedding}

    @torch.no_grad()
    def _check(self, head: nn.Module, outputs: Outputs) -> None:
        """Raises ConfigError where the classifier of the embedding does not give the head's logits."""
        embedding = outputs.get("embedding")
        logits: Tensor | None = None if embedding is None else cast(nn.Module, head.classifier)(embedding).float()
        wanted = outputs["logits"].float()
        tolerance = 1e-2 * float(wanted.abs().max())
        is_same = logits is not None and logits.shape == wanted.shape
        if logits is None or not is_same or not torch.allclose(logits, wanted, rtol=1e-2, atol=tolerance):
            raise ConfigError(
                f"runner.cache_gb: the logits of {type(head).__name__} are not its classifier's of its output "
                "'embedding'; leave runner.cache_gb out, or choose another head"
            )
        self._is_checked = True

    def _read(self, file: Path, device: torch.device) -> Tensor | None:
        if not file.is_file():
            return None
        try:
            return torch.from_numpy(read_npy(file)).to(device)
        except DataError:  # a damaged file is made again
            return None

    def _write(self, file: Path, embedding: Tensor) -> None:
        stream = io.BytesIO()
        np.save(stream, embedding.cpu().numpy())
        if self.room >= stream.tell():
            write_whole(file, stream.getvalue(), "make room, or leave runner.cache_gb out")
            self.room -= stream.tell()


def _digest(image: Tensor) -> str:
    array = np.ascontiguousarray(image.cpu().numpy())
    return hashlib.blake2b(repr((array.shape, array.dtype.str)).encode() + array.tobytes(), digest_size=16).hexdigest()


def _digest_of_weights(model: nn.Module) -> str:
    """Of all weights but the classifier's, and of the pixels' mean and deviation."""
    digest = hashlib.blake2b(digest_size=8)
    frozen = {n: value for n, value in model.state_dict().items() if not re.search(CLASSIFIER, n)}
    for name, value in sorted({**frozen, **dict(model.named_buffers())}.items()):
        if not re.search(CLASSIFIER, name):
            digest.update(name.encode() + value.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
