"""What segkit makes of one small encoder of every family of timm: python benchmarks/encoders.py [FAMILY ...]

Prints per family a row: the encoder, its strides, the multiple that images are padded to, and the sizes of the maps of
an image of 97 x 131 pixels; or the sentence by which it is refused. Nothing is fetched and no weights are made.
"""

import sys
import time

import torch
from timm.models import list_models, list_modules

from segkit.backbones.timm import Timm
from segkit.registry import ConfigError

SIZE = (97, 131)


def smallest(family: str) -> str | None:
    """Returns the encoder with the fewest parameters among those of the four shortest names; None without any."""
    import timm

    counts = {}
    for name in sorted(list_models(module=family), key=len)[:4]:
        with torch.device("meta"):
            counts[name] = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
    return min(counts, key=lambda name: counts[name]) if counts else None


def describe(name: str) -> str:
    """Returns what a row says of an encoder."""
    try:
        with torch.device("meta"):
            encoder = Timm(name).eval()
            image = torch.empty(1, 3, *SIZE)
            maps = [tuple(feature.shape[-2:]) for feature in encoder(image)]
            if encoder.stem_channels:
                rows, columns = (-(-side // encoder.stem_stride) for side in SIZE)
                encoder(image, torch.empty(1, encoder.stem_channels, rows, columns))
    except ConfigError as error:
        return f"refused: {error}"
    limit = f", at most {encoder.sizes.largest}" if encoder.sizes.largest else ""
    return f"strides {encoder.strides}, pads to {encoder.sizes.divisor}{limit}, maps {maps}"


if __name__ == "__main__":
    for family in sys.argv[1:] or list_modules():
        name = smallest(family)
        if name:
            start = time.perf_counter()
            print(f"{family:26} {name:32} {describe(name)} ({time.perf_counter() - start:.1f} s)", flush=True)
