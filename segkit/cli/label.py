"""Draws masks in the boxes of a COCO file: segkit label BOXES.json IMAGES --model NAME --out FILE.json.

NAME is a checkpoint of a MaskLabeler that was trained on boxes (runner MaskLabelling), or a SAM, SAM 2 or HQ-SAM of the
package transformers: a folder, or OWNER/NAME of the Hugging Face hub. Every object stays: one whose mask does not pass
the filters keeps its box alone. Training reads the file with boxes_only="mixed".
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.registry import ConfigError

if TYPE_CHECKING:
    import torch

    from segkit.ops.instances.prompted_masks import MaskFilter
    from segkit.runners.instances.labelling import Draws

CHECKPOINTS = (".pt", ".pth", ".safetensors")
"""Suffixes of trained networks; other names are those of transformers' networks."""

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
    arguments.add_argument(
        "--model", required=True, metavar="NAME", help="best.pt of a training, or such as facebook/sam2.1-hiera-small"
    )
    arguments.add_argument(
        "--out", required=True, metavar="FILE.json", help="the same file with masks and mask_quality"
    )
    for name, text in FILTERS.items():
        value = vars(MaskFilter())[name]
        arguments.add_argument(
            f"--least-{name}",
            type=float,
            metavar="X",
            help=f"least {text}, 0 to 1; default {value}, and 0 for a checkpoint",
        )
    arguments.add_argument("--only-largest", action="store_true", help="cut masks to their largest connected component")
    arguments.add_argument(
        "--outside", action="store_true", help="file names may be absolute or lead out of IMAGES (a file of your own)"
    )
    common.add_device(arguments)
    return common.run(_label, arguments.parse_args(argv))


def _label(args: argparse.Namespace) -> int:
    from segkit.engine.setup import pick_device
    from segkit.files import digest, need_writable
    from segkit.ops.instances.prompted_masks import MaskFilter
    from segkit.runners.instances.labelling import Labelling, label

    given = {name: vars(args)[f"least_{name}"] for name in FILTERS if vars(args)[f"least_{name}"] is not None}
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"--least-{name} {value}: must lie between 0 and 1")
    boxes, out = Path(args.boxes), Path(args.out)
    if out.resolve() == boxes.resolve():
        raise ConfigError(f"--out {out}: is the file of the boxes; choose another name, so that it stays")
    need_writable(out, "choose another --out")
    is_file = Path(args.model).suffix in CHECKPOINTS or Path(args.model).is_file()
    network, standard = (_trained if is_file else _promptable)(args.model, pick_device(args.device))
    least = MaskFilter(**{**vars(standard), **given})
    # another checkpoint of the same name does not go on with the labels of this one
    name = f"{args.model}, sha256 {digest(args.model)[:16]}" if is_file else args.model
    task = Labelling(boxes, Path(args.images), out, name, least, args.only_largest, outside=args.outside)
    counts = label(task, network)
    print(
        f"{counts['drawn']} masks drawn, {counts['stopped']} stopped by the filters (their boxes stay), "
        f"{counts['kept']} objects as they were\n{out}"
    )
    return 0


def _promptable(name: str, device: "torch.device") -> "tuple[Draws, MaskFilter]":
    """A network of transformers, and the filter that holds where no other is asked for."""
    from segkit.ops.instances.prompted_masks import MaskFilter
    from segkit.runners.instances.box_prompted import BoxPrompted

    return BoxPrompted(name, device), MaskFilter()


def _trained(name: str, device: "torch.device") -> "tuple[Draws, MaskFilter]":
    """The network of a checkpoint, and the filter that holds where no other is asked for."""
    from segkit.models.mask_labeler import MaskLabeler
    from segkit.runners.base import build_runner
    from segkit.runners.instances.box_labels import NO_FILTER, BoxLabeler
    from segkit.runners.instances.mask_labelling import MaskLabelling
    from segkit.runners.loading import load_model

    model = load_model(name, device=device, predict_only=True)
    runner = build_runner(model.config)
    if not isinstance(model, MaskLabeler) or not isinstance(runner, MaskLabelling):
        raise ConfigError(
            f"--model {name}: is a {type(model).__name__} trained by the runner {type(runner).__name__}, and draws no "
            "masks in boxes; give a checkpoint of a MaskLabeler (configs/box_supervised/mal), or a SAM or SAM 2"
        )
    return BoxLabeler(model, runner.side), NO_FILTER
