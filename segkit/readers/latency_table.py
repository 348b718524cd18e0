"""Latency tables: milliseconds that operations take on one machine, measured by `segkit benchmark --operations`."""

import json
import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.files import CONFIG_BYTES, brief, parse_json, read_bytes, read_text, write_whole
from segkit.registry import ConfigError

COMMAND = "measure them with: segkit benchmark CONFIG --operations --out FILE"


@dataclass(frozen=True)
class LatencyTable:
    """Measured operations.

    Attributes:
        milliseconds: by the operation's name.
        machine: "device", "torch" and "threads" that they were measured with.
        source: the file, for messages.
    """

    milliseconds: dict[str, float]
    machine: dict[str, Any]
    source: str

    def __getitem__(self, name: str) -> float:
        """Returns the milliseconds of an operation.

        Raises:
            ConfigError: it was not measured.
        """
        if name not in self.milliseconds:
            raise ConfigError(
                f"{self.source}: this latency table has no operation '{name}'; it is of another search or image size: "
                f"{COMMAND}"
            )
        return self.milliseconds[name]


def machine_of(device: str) -> dict[str, Any]:
    """Returns what times depend on, beside the operations.

    Args:
        device: "cpu", "cuda", "cuda:1", ...
    """
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}


def _processor() -> str:
    """Name of the processor."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in read_bytes(path).decode(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def read_latency_table(path: str | Path, *, any_machine: bool = False) -> LatencyTable:
    """Reads a latency table.

    Args:
        path: of the JSON file.
        any_machine: whether it may be of another machine.

    Raises:
        ConfigError: the file is missing, is no latency table, or is of another machine.
    """
    content = parse_json(read_text(path, CONFIG_BYTES, ConfigError), path, ConfigError)
    is_table = isinstance(content, dict) and all(isinstance(content.get(k), dict) for k in ("machine", "milliseconds"))
    if not is_table:
        raise ConfigError(f"{path}: is {brief(content)}, no latency table; {COMMAND}")
    for name, value in content["milliseconds"].items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"{path}: milliseconds.{name} = {brief(value)}: must be a number of 0 or more; {COMMAND}")
    table = LatencyTable(content["milliseconds"], content["machine"], str(path))
    if not any_machine:
        _check_machine(table)
    return table


def _check_machine(table: LatencyTable) -> None:
    """Raises a ConfigError where the table is of no device of this machine, as torch and threads are now."""
    import torch

    here = [machine_of(device) for device in ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())))]
    if table.machine not in here:
        raise ConfigError(
            f"{table.source}: this latency table was measured on {_words(table.machine)}, and this machine is "
            f"{' or '.join(map(_words, here))}; {COMMAND}, or search for "
            "that machine with runner.any_machine=True"
        )


def _words(machine: dict[str, Any]) -> str:
    device, torch, threads = (brief(machine.get(key)).strip("'") for key in ("device", "torch", "threads"))
    return f"{device} (torch {torch}, threads {threads})"


def write_latency_table(path: str | Path, milliseconds: dict[str, float], device: str) -> Path:
    """Writes what was measured on a device of this machine, whole or not at all.

    Args:
        path: of the JSON file.
        milliseconds: by the operation's name.
        device: that it was measured on.
    """
    content = {"machine": machine_of(device), "milliseconds": milliseconds}
    return write_whole(path, json.dumps(content, indent=1) + "\n", "choose another --out")
