"""Draws masks in the boxes of a COCO file: segkit label BOXES.json IMAGES --model NAME --out FILE.json.

NAME is a SAM, SAM 2 or HQ-SAM of the package transformers: a folder, or OWNER/NAME of the Hugging Face hub. Every
object stays: one whose mask does not pass the filters keeps its box alone. Training reads the
file with boxes_only="mixed".
"""

import argparse
from pathlib import Path

from segkit.cli import common
from segkit.registry import ConfigError

FILTERS = {
    "iou": "the IoU that the network predicts",
    "stability": "the IoU of the masks at thresholds +1 and -1",
    "box": "IoU of the mask's tight box with the given box",
    "filled": "share of the box that the mask covers",
    "component": "share of the mask in its largest connected component",
}


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit label`; returns the exit code."""
    from segkit.ops.instances.prompted_masks import MaskFilter

    arguments = common.parser("label", __doc__ or "")
    arguments.add_argument("boxes", metavar="BOXES.json", help="a COCO file whose objects have boxes")
    arguments.add_argument("images", metavar="IMAGES", help="folder of the images that the file names")
    arguments.add_argument("--model", required=True, metavar="NAME", help="such as facebook/sam2.1-hiera-small")
    arguments.add_argument(
        "--out", required=True, metavar="FILE.json", help="the same file with masks and mask_quality"
    )
    for name, text in FILTERS.items():
        value = vars(MaskFilter())[name]
        arguments.add_argument(
            f"--least-{name}", type=float, default=value, metavar="X", help=f"least {text}, 0 to 1; default {value}"
        )
    arguments.add_argument("--only-largest", action="store_true", help="cut masks to their largest connected component")
    arguments.add_argument(
        "--outside", action="store_true", help="file names may be absolute or lead out of IMAGES (a file of your own)"
    )
    common.add_device(arguments)
    return common.run(_label, arguments.parse_args(argv))


def _label(args: argparse.Namespace) -> int:
    from segkit.engine.setup import pick_device
    from segkit.files import need_writable
    from segkit.ops.instances.prompted_masks import MaskFilter
    from segkit.runners.instances.box_prompted import BoxPrompted
    from segkit.runners.instances.labelling import Labelling, label

    values = {name: vars(args)[f"least_{name}"] for name in FILTERS}
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"--least-{name} {value}: must lie between 0 and 1")
    boxes, out = Path(args.boxes), Path(args.out)
    if out.resolve() == boxes.resolve():
        raise ConfigError(f"--out {out}: is the file of the boxes; choose another name, so that it stays")
    need_writable(out, "choose another --out")
    task = Labelling(
        boxes, Path(args.images), out, args.model, MaskFilter(**values), args.only_largest, outside=args.outside
    )
    counts = label(task, BoxPrompted(args.model, pick_device(args.device)))
    print(
        f"{counts['drawn']} masks drawn, {counts['stopped']} stopped by the filters (their boxes stay), "
        f"{counts['kept']} objects as they were\n{out}"
    )
    return 0
