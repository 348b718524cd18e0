"""What a published network of queries was trained for: label maps, instances or panoptic segments.

Its config.json does not say it; the names of the published repositories do, such as
facebook/mask2former-swin-tiny-coco-instance and tue-mps/coco_panoptic_eomt_large_640.
"""

import re
from collections.abc import Sequence
from typing import Any

THINGS = {133: range(80), 19: range(11, 19)}
"""Number of classes -> labels of the things, of COCO's and Cityscapes' panoptic classes."""


def task_of(name: str, classes: Sequence[str], processor: dict[str, Any]) -> dict[str, Any]:
    """Returns the sections of a config that a task and the way its images are shown need.

    Args:
        name: of the repository; the task is one of its words, label maps without one.
        classes: names of the classes. Of other panoptic data than COCO's and Cityscapes' it is not known which of them
            are things: these are predicted as label maps.
        processor: the content of preprocessor_config.json. EoMT's says that images are padded to a square, or seen in
            windows.
    """
    sections: dict[str, Any] = {}
    words = re.split(r"[^a-z0-9]+", name.partition("@")[0].lower())
    if "instance" in words:
        sections = {
            "runner": {"type": "Instances"},
            "losses": [{"type": "Mask2FormerMasks"}],
            "metrics": [{"type": "CocoAP"}],
        }
    elif "panoptic" in words and len(classes) in THINGS:
        runner = {"type": "Panoptic", "things": tuple(THINGS[len(classes)])}
        sections = {"runner": runner, "losses": [{"type": "Mask2FormerMasks"}], "metrics": [{"type": "PQ"}]}
    size = processor.get("size")
    side = size.get("shortest_edge") if isinstance(size, dict) else None
    if isinstance(side, int) and processor.get("do_split_image"):
        sections["inference"] = {"mode": "slide", "crop": (side, side), "stride": "even"}
    if isinstance(side, int) and processor.get("do_pad") and "runner" in sections:
        sections["runner"] |= {"divisor": side, "padding": 0}
    return sections
