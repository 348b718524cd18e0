"""The console command `segkit`: train, test, predict, config and the other commands by name."""

import importlib
import io
import os
import sys

COMMANDS = {
    "new": "write a config for data in any form: folder, zip, COCO, YOLO, masks ...",
    "train": "train a model from a config",
    "launch": "submit a training to a Slurm cluster",
    "test": "score a checkpoint, write a table, JSON and pictures",
    "compare": "compare two models on the same images: differences, intervals, p",
    "robustness": "score a checkpoint on corrupted images: noise, blur, weather, scale ...",
    "predict": "label images, folders and globs",
    "annotate": "label images in the browser: clicks on a model, brush, polygon; review drafts",
    "serve": "answer predictions over HTTP, of an exported graph or a checkpoint",
    "push": "publish a checkpoint on the Hugging Face hub, with a model card",
    "sweep": "train a config with several values, compare the trials",
    "pseudo": "label images for self-training, by one or several checkpoints",
    "autolabel": "draft labels for people to correct, the least certain images first",
    "next": "choose the images to label next: unsure ones, different ones, or both",
    "label": "draw masks in the boxes of a COCO file by SAM or SAM 2",
    "thresholds": "search thresholds and least areas of overlapping classes",
    "submit": "write the table of run lengths that a competition takes",
    "refine": "refine masks of any program, or a checkpoint's predictions",
    "config": "print a config with the origin of each value; list a registry",
    "browse": "draw samples before and after augmentation",
    "benchmark": "measure parameters, MACs, steps per second and memory of a config",
    "average": "average the weights of checkpoints (model soups, SWA)",
    "convert": "turn a published checkpoint into one of segkit",
    "migrate": "turn a config of mmsegmentation into one of segkit",
    "export": "write a checkpoint for ONNX Runtime, OpenVINO, C++ and others, and prove it",
    "convert-labels": "convert labels and their images: COCO, YOLO, Pascal VOC, masks and others",
    "analyze": "statistics of classes and image values, copies across splits, comparison of interactive runs",
    "audit": "rank labels by the evidence against them; find copies and leaks",
    "shard": "write a data set as shards, tar files that are read from any disk or store",
    "prepare": "convert a data set to the format that training with clicks or boxes reads; split one",
}
"""Commands and their help; each is a module of segkit.cli, with _ for -."""


def main(argv: list[str] | None = None) -> int:
    """Runs a command of segkit.

    Args:
        argv: the command and its arguments, sys.argv by default.

    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        # names that a terminal's encoding lacks are shown as \\u escapes, in place of a UnicodeEncodeError
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: segkit COMMAND ...\n\n" + "\n".join(f"  {name:14} {text}" for name, text in COMMANDS.items()))
        return 0
    if argv[0] in ("-V", "--version"):
        from segkit import __version__

        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        from segkit.registry import did_you_mean

        hint = did_you_mean(argv[0], COMMANDS) or f"; available: {', '.join(COMMANDS)}"
        print(f"segkit {argv[0]}: no such command{hint}", file=sys.stderr)
        return 2
    try:
        code = importlib.import_module(f"segkit.cli.{argv[0].replace('-', '_')}").main(argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # the reader, such as `head`, has what it wants; without this Python complains again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
