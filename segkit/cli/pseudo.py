"""Labels images for self-training: segkit pseudo CHECKPOINT... IMAGES --out DIR.

The mean of the checkpoints' probabilities labels each pixel, and 255 marks those that are not sure. The data set
PseudoLabels, and Folder, read the result.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.registry import ConfigError

if TYPE_CHECKING:
    import torch

    from segkit.models.bases import Network


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit pseudo`; returns the exit code."""
    arguments = common.parser("pseudo", __doc__ or "")
    arguments.usage = "segkit pseudo CHECKPOINT... PATH... --out DIR [options]"
    add_models(arguments)
    arguments.add_argument(
        "--out", required=True, metavar="DIR", help="labels/NAME.png, pseudo.json and, with --scores, scores/NAME.png"
    )
    add_sure(arguments)
    arguments.add_argument(
        "--share",
        type=float,
        metavar="S",
        help="keeps the surest share of each class's pixels in all images, which then are read twice",
    )
    arguments.add_argument(
        "--unseen", action="store_true", help="label each image by the checkpoints alone that were not trained on it"
    )
    arguments.add_argument(
        "--shard", metavar="I/N", help="label the I-th of N shares of the images; under torchrun each process takes one"
    )
    arguments.add_argument(
        "--overwrite", action="store_true", help="replace pseudo labels of other checkpoints or settings"
    )
    return common.run(_pseudo, arguments.parse_intermixed_args(argv))


def add_models(arguments: argparse.ArgumentParser) -> None:
    """Adds checkpoints and images, and how the models see the images."""
    arguments.add_argument(
        "words",
        nargs="+",
        metavar="CHECKPOINT... PATH...",
        help="checkpoints (.pt, .pth, .safetensors), then images, folders and globs",
    )
    arguments.add_argument("--config", help="a config file; default: the config inside each checkpoint")
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    common.add_reading(arguments)
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)


def add_sure(arguments: argparse.ArgumentParser) -> None:
    """Adds which pixels are sure enough, and whether their confidences are written."""
    arguments.add_argument(
        "--threshold",
        nargs="+",
        type=float,
        default=[0.0],
        metavar="T",
        help="least probability of a label that is kept: one number, or one for each class; default 0 keeps all",
    )
    arguments.add_argument("--agree", action="store_true", help="keep a label only where all checkpoints agree")
    arguments.add_argument(
        "--scores", action="store_true", help="write confidences too: grey PNG of 8 bits, floor(255 p)"
    )


def threshold_of(args: argparse.Namespace) -> float | tuple[float, ...]:
    """Returns --threshold: one number for all classes, or one for each."""
    return args.threshold[0] if len(args.threshold) == 1 else tuple(args.threshold)


def split_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Returns the checkpoints and the paths after them; ConfigError where the first word is no checkpoint."""
    if not words[0].lower().endswith(common.CHECKPOINTS):
        raise ConfigError(f"{words[0]}: give one checkpoint or more first ({', '.join(common.CHECKPOINTS)})")
    checkpoints, paths = common.split_checkpoints(words)
    return [Path(word) for word in checkpoints], paths


def _shard_of(text: str | None) -> tuple[int, int]:
    """The number of this process's share, from 0, and of all shares."""
    from segkit import dist

    if text is None:
        return dist.rank(), dist.world_size()
    first, _, second = text.partition("/")
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise ConfigError(f"--shard {text}: must be I/N with I from 1 to N, such as 2/4")
    if dist.is_distributed():
        raise ConfigError(f"--shard {text}: under torchrun each process takes a share by itself; give one of them")
    return int(first) - 1, int(second)


def _pseudo(args: argparse.Namespace) -> int:
    from segkit import dist
    from segkit.cli.predict import find_images, names_of, of_images
    from segkit.cli.seen import seen_by
    from segkit.data.files.pseudo_manifest import MANIFEST, maker_of
    from segkit.engine.setup import pick_device
    from segkit.engine.world import joined
    from segkit.files import need_writable
    from segkit.runners.inputs import inputs_of
    from segkit.runners.self_training.labelling import Labeller
    from segkit.runners.self_training.rule import Images, Rule, reading_of
    from segkit.runners.self_training.summary import table
    from segkit.settings import LoopSettings

    checkpoints, paths = split_words(args.words)
    images = find_images(paths, args.out)
    names = names_of(images)
    out, device = Path(args.out), pick_device(args.device)
    if dist.is_main_process():
        need_writable(out / MANIFEST, "choose another --out")
    rule = Rule(threshold_of(args), args.share, args.agree, args.unseen, args.scores)
    models = [load(path, args, device) for path in checkpoints]
    with joined(device, LoopSettings(**(models[0].config.get("loop") or {})).process_timeout, about=of_images(names)):
        part, parts = _shard_of(args.shard)
        makers = [maker_of(path, out, seen_by(path, _say, trust=args.trust)) for path in checkpoints]
        inputs = inputs_of(models[0], **common.reading_given(args))
        files = list(images)
        reading = reading_of(inputs.channels, inputs.reading)
        pictures = Images(
            [names[file] for file in files], list(map(str, files)), lambda index: inputs.read(files[index]), reading
        )
        manifest = Labeller(models, makers, pictures, out, rule, _say).run(part, parts, overwrite=args.overwrite)
        if manifest is not None:
            _say(f"{table(manifest.summary)}\n{out / MANIFEST}")
        return 0


def _say(text: str) -> None:
    from segkit import dist

    if dist.is_main_process():
        print(text, flush=True)


def load(path: Path, args: argparse.Namespace, device: "torch.device") -> "Network":
    """Loads a checkpoint that predicts as the arguments of `add_models` say."""
    from segkit import api
    from segkit.runners.scoring import with_switches

    model = api.load_model(args.config, path, device, args.cfg_options, trust=args.trust, predict_only=True)
    model.config["inference"] = with_switches(model.config, tta=args.tta, slide=args.slide, say=_say)
    return model
