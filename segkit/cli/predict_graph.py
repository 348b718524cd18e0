"""What `segkit predict FILE.onnx PATH... --out DIR` does: an exported graph in place of a checkpoint, without torch."""

import argparse
from pathlib import Path

from segkit.cli import common
from segkit.cli.large import check_large, find_pieces, large_of_graph
from segkit.files import DataError, need_writable
from segkit.registry import ConfigError

NOT_OF_GRAPHS = ("config", "tta", "slide", "cfg_options", "trust")
"""Options of checkpoints: a graph's way to predict was decided when it was exported."""


def predict(args: argparse.Namespace) -> int:
    """Predicts with a graph; the files are those of a checkpoint's predictions."""
    from segkit.cli.predict import find_images, names_of
    from segkit.runners.input_images import chosen_inputs
    from segkit.runners.writers import WithProbabilities
    from segkit.runtime.model import load_exported

    graph, *paths = args.words
    if not paths:
        raise ConfigError(f"{graph}: give images, folders or globs after the graph")
    for option in NOT_OF_GRAPHS:
        if getattr(args, option):
            raise ConfigError(
                f"--{option.replace('_', '-')}: is for checkpoints; how a graph predicts was decided by `segkit export`"
            )
    check_large(args)
    images = find_pieces(paths) if args.pieces else find_images(paths, args.out)
    names = names_of(images)
    out = Path(args.out)
    need_writable(out / "overlays" / "picture.png", "choose another --out")
    device = "cpu" if args.device in (None, "auto") else args.device
    model = load_exported(graph, device, args.threads)
    read = model.inputs
    inputs = chosen_inputs(read.channels, read.takes_255, read.reading._asdict(), common.reading_given(args))
    writer = model.writer(out, annotations=args.annotations, score=args.score)
    if args.probabilities:
        if model.info.task == "instances":
            raise ConfigError("--probabilities: instances have none of classes at each pixel; leave it out")
        writer = WithProbabilities(writer, out, model.classes)
    large = large_of_graph(args, model, inputs, print)
    failures: dict[Path, str] = {}
    for file in images:
        try:
            if large.takes(file):
                large.add(file, names[file])
                continue
            image = inputs.read(file)
            writer.add(file, names[file], image, model.predict_batch([image], args.probabilities)[0])
        except (DataError, OSError) as error:
            failures[file] = str(error)
    result = writer.close()
    print(f"{len(images) - len(failures)} images: {result}, {out}/overlays")
    if large.results:
        print("\n".join(large.results))
    if failures:
        common.print_failures(failures, len(images), "images")
    return 1 if failures else 0
