"""Exports a checkpoint for another runtime, and proves it: segkit export CHECKPOINT --to onnx [--out FILE].

The graph takes images as they are stored, [B,C,H,W], and normalizes, pads and resizes by itself. FILE.proof.json beside
the file says how its outputs differ from the network's.
"""

import argparse
import shlex
import sys
from pathlib import Path

from segkit.cli import common
from segkit.files import digest
from segkit.registry import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit export`; returns the exit code."""
    arguments = common.parser("export", __doc__ or "")
    arguments.add_argument("checkpoint", help="a checkpoint of segkit, or of another project with --config")
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="onnx, pt2 (AOTInductor), openvino, torchscript, executorch, coreml or tensorrt",
    )
    arguments.add_argument("--out", metavar="FILE", help="default: the checkpoint's name with the format's ending")
    arguments.add_argument("--half", action="store_true", help="weights and computation in float16")
    arguments.add_argument("--int8", metavar="DATA", help="8-bit graph, calibrated with the images of this folder")
    arguments.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="the only size of image that the graph takes"
    )
    arguments.add_argument("--dynamic", action="store_true", help="any size of image, the default")
    arguments.add_argument(
        "--with",
        dest="words",
        default="resize",
        metavar="WORDS",
        help="resize (maps at the image's size), probabilities, argmax (labels), by commas; or none; default resize",
    )
    arguments.add_argument("--images", metavar="DIR", help="images for the proof; default: section val of the config")
    arguments.add_argument(
        "--force", action="store_true", help="keep the file where labels differ, and replace an older one"
    )
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_export, arguments.parse_args(argv))


def _export(args: argparse.Namespace) -> int:
    from segkit import api
    from segkit.export.parts import Precision, Request
    from segkit.export.run import Job, check_format, export_model
    from segkit.export.writers import FORMATS

    if args.half and args.int8:
        raise ConfigError("--half and --int8: a graph has one precision; give one of them")
    if args.size and args.dynamic:
        raise ConfigError("--size and --dynamic: a graph takes one size or any; give one of them")
    if args.size and min(args.size) < 1:
        raise ConfigError(f"--size {args.size[0]} {args.size[1]}: must be height and width in pixels, 1 or more")
    precision: Precision = "float16" if args.half else "int8" if args.int8 else "float32"
    check_format(args.to, precision)
    words = [] if args.words.lower() == "none" else [word for word in args.words.split(",") if word]
    suffix = FORMATS[args.to].suffix
    out = Path(args.out) if args.out else Path(args.checkpoint).with_suffix(suffix)
    if out.suffix != suffix:
        raise ConfigError(f"--out {out}: files of --to {args.to} end in {suffix}")
    model = api.load_model(args.config, args.checkpoint, "cpu", args.cfg_options, trust=args.trust)
    made = f"segkit export {shlex.join(sys.argv[2:])}" if sys.argv[1:2] == ["export"] else "segkit export"
    size: tuple[int, int] | None = (args.size[0], args.size[1]) if args.size else None
    request = Request(precision, size, words, made, digest(args.checkpoint))
    job = Job(args.to, out, request, args.int8, args.images, args.force, args.checkpoint)
    files, proof = export_model(model, job)
    print(f"written: {', '.join(map(str, files))}")
    print(f"proof: {proof.sentence()}")
    return 0
