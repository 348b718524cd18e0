"""What a loop stands on: device, data, model and its wrappers, built from the sections of a config."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.data.loader import EvalItems, TrainItems, eval_loader
from segkit.data.samplers import Sampler
from segkit.engine import checkpoint
from segkit.registry import DATASETS, METRICS, SAMPLERS, TRANSFORMS, ConfigError, build
from segkit.settings import InitSettings, LoopSettings, ScoredSettings, TrainSettings

AMP_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str | None = None) -> torch.device:
    """name: "cpu", "cuda", "cuda:1" or None = the GPU of this process where there is one."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"--device {name}: this machine has no CUDA GPU that torch can use; try --device cpu")
        device = torch.device("cuda", dist.local_rank() if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise ConfigError(f"--device {device}: there are {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(device)
    return device


def build_dataset(cfg: dict, at: str = "train.dataset") -> Dataset:
    """A section's `dataset`; an empty one is an error."""
    dataset = build(cfg, DATASETS, at)
    if len(dataset) == 0:
        raise ConfigError(f"{at}: {type(dataset).__name__} holds no image; check its root and split")
    return dataset


def build_transforms(rows: list[dict], at: str) -> list:
    return [build(row, TRANSFORMS, f"{at}.{i}") for i, row in enumerate(rows)]


def build_training(cfg: dict, seed: int) -> tuple[TrainItems, Sampler, TrainSettings]:
    """Section `train` -> its items, its sampler and its settings."""
    settings = TrainSettings(**cfg)
    dataset = build_dataset(settings.dataset, "train.dataset")
    sampler = build(settings.sampler, SAMPLERS, "train.sampler", dataset=dataset, seed=seed)
    items = TrainItems(dataset, build_transforms(settings.transforms, "train.transforms"), seed, sampler)
    return items, sampler, settings


def build_evaluation(cfg: dict, at: str, device: torch.device) -> tuple[Dataset, Any]:
    """Section `val` or one of `test` -> its data set and the loader of this process's share."""
    settings = ScoredSettings(**cfg)
    dataset = build_dataset(settings.dataset, f"{at}.dataset")
    items = EvalItems(dataset, build_transforms(settings.transforms, f"{at}.transforms"))
    loader = eval_loader(
        items,
        batch_size=settings.batch_size,
        workers=settings.workers,
        rank=dist.rank(),
        world_size=dist.world_size(),
        pin=device.type == "cuda",
    )
    return dataset, loader


def build_metrics(rows: list[dict], at: str = "metrics") -> list:
    """Section `metrics`, the mean IoU where it is not given."""
    return [build(row, METRICS, f"{at}.{i}") for i, row in enumerate(rows or [{"type": "Confusion"}])]


def initialise(model: nn.Module, cfg: dict | None) -> str:
    """Section `init`: starts the model from a checkpoint of segkit or a published one, whose key map is found where
    init.map does not name it. -> what was loaded, a line; "" without the section."""
    if not cfg:
        return ""
    settings = InitSettings(**cfg)
    weights, drop = checkpoint.read_any(settings.path)["model"], tuple(settings.drop)
    if settings.map is None:
        return checkpoint.load_fitting(model, weights, settings.path, drop)
    from segkit.convert.keymap import load_map

    return checkpoint.load_weights(model, load_map(settings.map).apply(weights), settings.path, drop)


def amp_dtype(name: str, device: torch.device) -> torch.dtype:
    """loop.amp -> the dtype of autocast, float32 = off."""
    if name not in AMP_DTYPES:
        raise ConfigError(f"loop.amp = {name!r}: it is one of {', '.join(AMP_DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("loop.amp = 'fp16': needs a GPU; on the CPU use 'bf16' or 'off'")
    return AMP_DTYPES[name]


def wrap(model: nn.Module, settings: LoopSettings, device: torch.device) -> nn.Module:
    """The module training calls: compiled and distributed as the settings say. The raw module keeps the weights."""
    wrapped: nn.Module = torch.compile(model) if settings.compile else model
    if dist.is_distributed():
        ids = [device.index] if device.type == "cuda" else None
        wrapped = DistributedDataParallel(wrapped, device_ids=ids)
    return wrapped


@contextlib.contextmanager
def explaining(settings: TrainSettings) -> Iterator[None]:
    """Turns torch's complaint about a batch norm with a single value per channel into what to change."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"train.batch_size = {settings.batch_size}: a batch norm of this model sees one value per channel "
            "(a pooled map of 1x1 pixels); train with 2 images or more per process, or loop.sync_bn on several GPUs"
        ) from error


def convert_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """BatchNorm layers shared over all processes; SyncBatchNorm runs on GPUs only."""
    if device.type != "cuda":
        raise ConfigError("loop.sync_bn = True: synchronised batch norm runs on GPUs only; set it to False")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
