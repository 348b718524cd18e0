"""Whether the prediction of a whole image fits into memory, so that a user learns of sliding windows before it fails.

An estimate: the three largest maps that a module of the network gives, per pixel of a small image, and one map of K
scores at the image's size. Of a U-Net, a PSPNet, a Fast-SCNN and a small FCN on 1024x1024 pixels and a CPU the peak was
0.8 to 1.7 times as much; hence MARGIN.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from segkit import dist
from segkit.engine.notify import tell
from segkit.models.bases import Network
from segkit.settings import InferenceSettings, TTASettings

LEAST_PIXELS = 1 << 22
"""Smaller images are not asked about (2048 x 2048)."""

PROBE = 256
"""Side in pixels of the image that the network's maps are measured on."""

MARGIN = 1.5
"""Factor between the estimate and what shall be free."""

CGROUP = Path("/sys/fs/cgroup")
"""Limits of a container."""


class MemoryWatch:
    """Warns once for each larger image that may not fit into memory whole."""

    def __init__(self) -> None:
        self._largest = LEAST_PIXELS - 1
        self._per_pixel: float | None = None

    def look(self, model: Network, image: Tensor, settings: InferenceSettings) -> None:
        """Prints a warning where a batch may not fit.

        Args:
            model: in evaluation mode.
            image: [B,C,H,W], as the network sees it.
            settings: section inference.
        """
        pixels = len(image) * image.shape[-2] * image.shape[-1]
        if settings.mode != "whole" or pixels <= self._largest:
            return
        self._largest = pixels
        if self._per_pixel is None:
            self._per_pixel = bytes_per_pixel(model)
        need = bytes_needed(model, pixels, settings, self._per_pixel)
        free = free_bytes(image.device)
        if free is not None and need * MARGIN > free and dist.is_main():
            height, width = image.shape[-2:]
            tell(
                f"warning: {width}x{height} pixels at once need about {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                f"free on {image.device}; predict in windows: --slide, or inference.mode = 'slide' with inference.crop"
            )


def bytes_needed(model: Network, pixels: int, settings: InferenceSettings, per_pixel: float) -> float:
    """Estimates the memory that the prediction of a whole image takes.

    Args:
        model: in evaluation mode.
        pixels: of the image.
        settings: section inference. Of a sliding window only the maps of the image's size count.
        per_pixel: of bytes_per_pixel.
    """
    tta = TTASettings(**settings.tta) if settings.tta is not None else TTASettings(scales=(1.0,), flip=False)
    # kept areas add the views up: the sum, a view, and what is made of it
    maps = 3 if tta.keep_areas else len(tta.scales) * (1 + tta.flip)
    if settings.mode == "slide":  # the sum of the windows and their mean
        maps, per_pixel = maps + 1, 0.0
    scores = 4 * model.num_classes * maps
    return pixels * (per_pixel * max(tta.scales) ** 2 + scores)


def bytes_per_pixel(model: nn.Module) -> float:
    """Measures the three largest maps that modules of a network give, in bytes per pixel of the image.

    0 for a network that takes no image of PROBE pixels.

    Args:
        model: in evaluation mode.
    """
    sizes: list[int] = []

    def keep(module: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    handles = [module.register_forward_hook(keep) for module in leaves]
    mean = model.mean
    assert isinstance(mean, Tensor)
    try:
        with torch.inference_mode():
            model(mean.expand(1, -1, PROBE, PROBE))
    except (RuntimeError, ValueError):  # what is only said must not end what is done
        return 0.0
    finally:
        for handle in handles:
            handle.remove()
    return sum(sorted(sizes)[-3:]) / PROBE**2


def free_bytes(device: torch.device) -> int | None:
    """Returns the memory that is free on a device, None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="utf-8")) - int(
            (CGROUP / "memory.current").read_text(encoding="utf-8")
        )
    except (OSError, ValueError):  # no container, or "max"
        return free
    return min(free, limit)
