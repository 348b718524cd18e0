"""Builds what a loop needs from the sections of a config: device, data, metrics, start weights, wrapped model."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.data.loader import EvalItems, TrainItems, eval_loader
from segkit.data.samplers import Sampler
from segkit.data.transforms.way_back import check_way_back
from segkit.engine import checkpoint
from segkit.engine.devices import count_of, limits_of, parsed
from segkit.models.bases import Network
from segkit.models.depthwise import depthwise_in_float32
from segkit.models.memory_layout import is_channels_last
from segkit.readers.state_dict import plain_names
from segkit.registry import (
    DATASETS,
    METRICS,
    SAMPLERS,
    TRANSFORMS,
    ConfigError,
    build,
    build_model,
    each_object,
    without_start_weights,
)
from segkit.settings import InitSettings, LoopSettings, ScoredSettings, TrainSettings
from segkit.types import IGNORE

AMP_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Evaluation(NamedTuple):
    """Data to score.

    Attributes:
        dataset: the data set.
        loader: of this process's share of it.
        at: config path of its section.
    """

    dataset: Dataset
    loader: DataLoader
    at: str = "val"


class DataSets:
    """The data sets of a run: each is built once, and handed from the check of the data to the training.

    Data sets inside data sets (ClassSteps, Concat) are shared as well.
    """

    def __init__(self) -> None:
        self._built: dict[str, Dataset] = {}
        self._used: set[str] = set()

    def get(self, cfg: dict, at: str) -> Dataset:
        """Builds a data set, or returns the one of an equal config.

        Args:
            cfg: dict(type=..., arguments).
            at: config path for errors.

        Raises:
            ConfigError: the data set cannot be built or holds no image.
        """
        key = repr(cfg)
        self._used.add(key)
        if key not in self._built:
            self._built[key] = self._build(cfg, at)
        return self._built[key]

    def _build(self, cfg: dict, at: str) -> Dataset:
        kwargs = dict(cfg)
        cls = DATASETS.get(cfg.get("type", ""), f"{at}.type")
        for name, registry in getattr(cls, "parts", {}).items():
            if registry is DATASETS:
                kwargs[name] = self._inner(kwargs.get(name), f"{at}.{name}")
        return build_dataset(kwargs, at)

    def _inner(self, value: Any, at: str) -> Any:
        if isinstance(value, list | tuple):
            return [self._inner(item, f"{at}.{i}") for i, item in enumerate(value)]
        return self.get(value, at) if isinstance(value, dict) else value

    def forget_unused(self) -> None:
        """Drops the data sets that nobody asked for since the last call, so that finished stages free their memory."""
        self._built = {key: dataset for key, dataset in self._built.items() if key in self._used}
        self._used = set()


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """Returns the device to run on.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", "xpu", or None and "auto" for the CUDA GPU of this process where there is
            one, else the CPU. What the device cannot do is printed.

    Raises:
        ConfigError: there is no such device.
    """
    device = parsed("auto" if name is None else str(name))
    if device.type == "cuda":
        count = count_of("cuda")
        device = torch.device("cuda", dist.local_rank() if device.index is None else device.index)
        if device.index >= count:
            raise ConfigError(f"--device {device}: this machine has {count} GPUs")
        torch.cuda.set_device(device)
    if dist.is_main_process():
        for line in limits_of(device):
            print(f"--device {device}: {line}", file=sys.stderr, flush=True)
    return device


def build_dataset(cfg: dict, at: str = "train.dataset") -> Dataset:
    """Builds the data set of a section; ConfigError where it holds no image."""
    dataset: Dataset = build(cfg, DATASETS, at)
    if len(dataset) == 0:
        raise ConfigError(f"{at}: {type(dataset).__name__} holds no image; check its root and split")
    return dataset


def build_transforms(rows: list[dict], at: str, ignore: int = IGNORE) -> list:
    """Builds the transforms of a section in their order.

    Args:
        rows: the section's transforms.
        at: config path for errors.
        ignore: the data set's ignore value, with which transforms mark what they add unless their config says
            otherwise.
    """

    def change(row: dict, arguments: frozenset[str], place: str) -> dict:
        is_open = "ignore" in arguments and row.get("ignore") is None
        return {**row, "ignore": ignore} if is_open else row

    return [
        build(each_object(row, TRANSFORMS, change, f"{at}.{i}"), TRANSFORMS, f"{at}.{i}") for i, row in enumerate(rows)
    ]


def build_training(cfg: dict, seed: int, datasets: DataSets | None = None) -> tuple[TrainItems, Sampler, TrainSettings]:
    """Builds the training data.

    Args:
        cfg: section `train`.
        seed: of augmentation and sampling.
        datasets: those that are built already.

    Returns:
        The augmented items, their sampler, and the section with its defaults.
    """
    settings = TrainSettings(**cfg)
    dataset = (datasets or DataSets()).get(settings.dataset, "train.dataset")
    sampler = build(settings.sampler, SAMPLERS, "train.sampler", dataset=dataset, seed=seed)
    items = TrainItems(
        dataset, build_transforms(settings.transforms, "train.transforms", dataset.ignore), seed, sampler
    )
    return items, sampler, settings


def build_eval_transforms(rows: list[dict], at: str, *, needs_stored: bool = False) -> list:
    """Builds the transforms of section `val` or of a test set.

    Args:
        rows: of the section.
        at: config path of the rows.
        needs_stored: whether pixels must stay where they are stored.

    Raises:
        ConfigError: a transform cannot be built, or leaves predictions no way back to the stored image.
    """
    transforms = build_transforms(rows, at)
    check_way_back(transforms, at, needs_stored=needs_stored)
    return transforms


def build_evaluation(
    cfg: dict,
    at: str,
    device: torch.device,
    datasets: DataSets | None = None,
    *,
    needs_stored: bool = False,
    keep_stored: bool = False,
) -> Evaluation:
    """Builds the data of section `val`, or of one test set.

    Args:
        cfg: the section.
        at: its config path.
        device: batches are pinned for a GPU.
        datasets: those that are built already.
        needs_stored: of the runner, see Runner.needs_stored.
        keep_stored: whether batches also hold the images as they are stored, see Runner.keep_stored.
    """
    settings = ScoredSettings(**cfg)
    transforms = build_eval_transforms(settings.transforms, f"{at}.transforms", needs_stored=needs_stored)
    dataset = (datasets or DataSets()).get(settings.dataset, f"{at}.dataset")
    items = EvalItems(dataset, transforms, keep_stored=keep_stored)
    loader = eval_loader(
        items,
        batch_size=settings.batch_size,
        workers=settings.workers,
        timeout=settings.timeout,
        rank=dist.rank(),
        world_size=dist.world_size(),
        pin=device.type == "cuda",
    )
    return Evaluation(dataset, loader, at)


def build_metrics(
    rows: Sequence[dict] | None, at: str = "metrics", *, default: Sequence[dict] = ({"type": "Confusion"},)
) -> list:
    """Builds section `metrics`; `default` where the section is empty."""
    return [build(row, METRICS, f"{at}.{i}") for i, row in enumerate(rows or default)]


def start_model(section: dict, *, resumes: bool) -> Network:
    """Builds the model that a training starts with.

    Where it starts from published weights, the first process of each machine builds it before the others do, so that
    they find the download there.

    Args:
        section: `model`.
        resumes: whether a checkpoint's weights follow: published ones are then not needed, and need not exist.
    """
    bare = without_start_weights(section)
    if resumes:
        return build_model(bare)
    if not dist.is_distributed() or bare == section:
        return build_model(section)
    first = build_model(section) if dist.local_rank() == 0 else None
    dist.barrier()
    return cast(Network, build_model(section) if first is None else first)


def initialise(model: nn.Module, cfg: dict | None) -> str:
    """Starts a model from a checkpoint.

    Args:
        model: takes the weights.
        cfg: section `init`. The file is a checkpoint of segkit or a published one, whose key map is found by its names
            where init.map does not name it. Of a moving average in the file the average is taken, as everywhere.

    Returns:
        One line that says what was loaded; "" without the section.
    """
    if not cfg:
        return ""
    settings = InitSettings(**cfg)
    content, drop = checkpoint.read_any(settings.path), tuple(settings.drop)
    weights, of_what = checkpoint.scored_weights(content), "; its moving average" if "ema" in content else ""
    if settings.map is None:
        return checkpoint.load_fitting(model, weights, settings.path, drop) + of_what
    from segkit.convert.keymap import load_map

    keymap = load_map(settings.map)
    try:
        mapped = keymap.apply(plain_names(weights))
    except (RuntimeError, IndexError) as error:
        raise ConfigError(f"init.map = '{settings.map}': does not fit {settings.path} ({error})") from error
    report, caution = checkpoint.load_weights(model, mapped, settings.path, drop), keymap.caution(model)
    return f"{report}{of_what}; {caution}" if caution else report + of_what


def total_steps(settings: LoopSettings, images: int, images_per_step: int) -> int:
    """Returns the number of optimizer steps of a run; ConfigError where not just one of steps and epochs says it."""
    if bool(settings.steps) == bool(settings.epochs):
        raise ConfigError(f"loop: {settings.steps} steps, {settings.epochs} epochs; give one, set the other to 0")
    return settings.steps or -(-settings.epochs * images // images_per_step)


def check_classes(model: nn.Module, dataset: Dataset) -> None:
    """Raises ConfigError where a model has another number of classes than the training data."""
    # a model from outside may have no number of classes
    classes, width = len(dataset.classes), getattr(model, "num_classes", None)
    if classes and width is not None and width != classes and not (width == 1 and classes == 2):
        raise ConfigError(f"model.num_classes = {width}: {type(dataset).__name__} has {classes} classes")


def check_patience(settings: LoopSettings, *, has_val: bool) -> None:
    """Raises ConfigError where loop.patience could never end a training, since nothing is scored on the way."""
    if settings.patience and not (has_val and settings.eval_every):
        missing = "loop.eval_every is 0, scores are those of the end alone" if has_val else "there is no section `val`"
        raise ConfigError(f"loop.patience = {settings.patience}: {missing}; add it, or leave loop.patience out")


def amp_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the dtype of autocast for loop.amp; float32 means off.

    Args:
        name: "off", "bf16", "fp16", or "auto": bfloat16 where the device computes with it, else off.
        device: that trains.

    Raises:
        ConfigError: an unknown name, or float16 on the CPU.
    """
    if name == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    if name not in AMP_DTYPES:
        raise ConfigError(f"loop.amp = {name!r}: must be one of 'auto', {', '.join(map(repr, AMP_DTYPES))}")
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("loop.amp = 'fp16': needs a GPU; on the CPU use 'auto', 'bf16' or 'off'")
    return AMP_DTYPES[name]


def has_bf16(device: torch.device) -> bool:
    """Returns whether the device computes with bfloat16; others imitate it, which takes many times as long."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "xpu":
        return torch.xpu.is_bf16_supported(including_emulation=False)
    has_mkldnn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision(name: str, device: torch.device) -> str:
    """Returns loop.amp in words for the head of the log: what "auto" means here, and that bfloat16 is slow."""
    if name == "auto":
        return "amp auto (bf16)" if has_bf16(device) else f"amp auto (off: this {device.type} has no bfloat16)"
    if name == "bf16" and not has_bf16(device):
        return f"amp bf16, which this {device.type} only imitates: loop.amp='auto' is many times as fast"
    return f"amp {name}"


def be_deterministic() -> None:
    """Makes torch choose deterministic algorithms for the rest of the process, and warn where it has none.

    cuBLAS needs CUBLAS_WORKSPACE_CONFIG before its first use; it is set here where the environment does not.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def suited(model: nn.Module, settings: LoopSettings, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Returns the model with its weights in the memory layout that suits the device, and what suits its bfloat16.

    Args:
        model: whole, on the CPU.
        settings: channels_last "auto" becomes what is chosen.
        device: that trains.
        dtype: of autocast; float32 means off.
    """
    if settings.shard != "off" and settings.channels_last == "auto":
        settings.channels_last = False  # torch shards weights in their usual layout alone
    settings.channels_last = is_channels_last(settings.channels_last, model, device, dtype)
    if dtype == torch.bfloat16 and device.type == "cpu":
        depthwise_in_float32(model)
    return model.to(memory_format=torch.channels_last) if settings.channels_last else model


def wrap(model: nn.Module, settings: LoopSettings, device: torch.device) -> nn.Module:
    """Returns the module that training calls: compiled and distributed as section `loop` says.

    The raw module keeps the weights.
    """
    wrapped: nn.Module = torch.compile(model) if settings.compile else model  # type: ignore[assignment]
    if dist.is_distributed() and settings.shard == "off":
        ids = [device.index] if device.type == "cuda" else None
        wrapped = DistributedDataParallel(wrapped, device_ids=ids)
    return wrapped


@contextlib.contextmanager
def explaining(settings: TrainSettings) -> Iterator[None]:
    """Turns torch's error on a batch norm with one value per channel into a ConfigError that says what to change."""
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
    """Replaces BatchNorm layers by SyncBatchNorm, which shares statistics over all processes and needs GPUs."""
    if device.type != "cuda":
        raise ConfigError("loop.sync_bn = True: synchronized batch norm runs on GPUs only; set it to False")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
