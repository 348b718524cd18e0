"""The kinds of devices that a run can use, whether they are here, and what each of them cannot do."""

import torch

from segkit.registry import ConfigError

KINDS = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices, as --device names them; "auto" is a CUDA GPU where there is one, else the CPU."""

WORDS = {
    "cuda": "CUDA GPU that torch can use",
    "mps": "GPU of Apple that torch can use",
    "xpu": "GPU of Intel that torch can use",
}


def count_of(kind: str) -> int:
    """Returns how many devices of a kind torch can use here."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "xpu":
        return torch.xpu.device_count() if torch.xpu.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return 1


def parsed(name: str) -> torch.device:
    """Returns the device of a name: auto, cpu, cuda, cuda:1, mps, xpu.

    Raises:
        ConfigError: there is no such kind of device, or none of it on this machine.
    """
    if name.lower() == "auto":
        name = "cuda" if count_of("cuda") else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: no such device; use auto, cpu, cuda, cuda:0, mps or xpu") from error
    if device.type not in KINDS:
        raise ConfigError(f"--device {name}: segkit runs on {', '.join(KINDS)}; use one of them, or auto")
    count = count_of(device.type)
    if not count:
        raise ConfigError(f"--device {name}: this machine has no {WORDS[device.type]}; try --device cpu")
    if device.index is not None and device.index >= count:
        what = "GPUs" if device.type == "cuda" else f"devices of the kind {device.type}"
        raise ConfigError(f"--device {name}: this machine has {count} {what}")
    return device


def limits_of(device: torch.device) -> list[str]:
    """Returns what a device cannot do, in sentences for the start of a command; [] where nothing is known.

    Args:
        device: of `parsed`.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        return [f"{name} has no bfloat16: loop.amp='auto' computes in float32 there, 'fp16' is faster"]
    if device.type == "mps":
        return [
            "no float64: parts that compute in it (losses RMI and BoxLevelSet, refiner DenseCRF, routed networks) end "
            "with torch's error; use --device cpu for them",
            "operations that it lacks end with torch's error, unless PYTORCH_ENABLE_MPS_FALLBACK=1 is set before the "
            "command: then they run on the CPU, slowly",
            "loop.amp='auto' computes in float32; one process alone; a resumed run draws other random numbers in the "
            "network (dropout)",
        ]
    if device.type == "xpu":
        return ["one process alone; a resumed run draws other random numbers in the network (dropout)"]
    return []
