"""Labels images, or finds the instances in them: segkit predict CHECKPOINT... PATH... --out DIR.

Several checkpoints predict the mean of their probabilities. An exported graph (.onnx, .xml) stands in for a checkpoint.
PATH is an image, a folder or a glob. Results keep the tree below the folder that is named. Under torchrun each process
predicts a share of the images.
"""

import argparse
import glob
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.cli.large import add_large, check_large, find_pieces, large_of_checkpoint
from segkit.files import DataError, need_writable
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.models.bases import Network
    from segkit.runners.inputs import Inputs


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit predict`; returns the exit code."""
    arguments = common.parser("predict", __doc__ or "")
    arguments.usage = "segkit predict CHECKPOINT... PATH... --out DIR [options]"
    arguments.add_argument(
        "words",
        nargs="+",
        metavar="CHECKPOINT... PATH...",
        help="the checkpoint, or several that predict together, then images, folders and globs",
    )
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument(
        "--out",
        default="predictions",
        metavar="DIR",
        help="overlays/NAME.png, and labels/NAME.png or, of instances, results.json, or, of panoptic segments, "
        "panoptic.json and panoptic/NAME.png; NAME keeps the folder's tree; "
        "default predictions",
    )
    arguments.add_argument(
        "--annotations",
        metavar="JSON",
        help="of instances and segments: the COCO file that gives the results their ids",
    )
    arguments.add_argument("--score", type=float, default=0.3, help="of instances: least score of those drawn")
    arguments.add_argument(
        "--probabilities", action="store_true", help="also probabilities/NAME.npz, float16 [K,H,W] with the classes"
    )
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    common.add_reading(arguments)
    add_large(arguments)
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    arguments.add_argument("--threads", type=int, metavar="N", help="of exported graphs: threads; default all cores")
    args = arguments.parse_intermixed_args(argv)
    if args.words[0].lower().endswith((".onnx", ".xml")):
        from segkit.cli import predict_graph  # without torch

        return common.run(predict_graph.predict, args)
    return common.run(_predict, args)


def find_images(paths: Sequence[str], out: str | Path | None = None) -> dict[Path, Path]:
    """Finds images.

    Hidden files and those in hidden folders are passed over, unless they are named themselves.

    Args:
        paths: images, folders (with everything below them) and globs.
        out: folder of the results; where it lies below a folder that is named, what an earlier command has written to
            it is no image.

    Returns:
        Each file once, in the order named, with its path below the folder that was named, or below the fixed part of
        the glob; of a single image its name.

    Raises:
        ConfigError: a path holds no image.
    """
    from segkit.data.files.images import IMAGE_SUFFIXES
    from segkit.data.large.open_large import LARGE_SUFFIXES

    found: dict[Path, Path] = {}
    results = None if out is None else Path(out).resolve()
    for path in paths:
        root, candidates = _below(path)
        if results is not None and root.resolve() in results.parents:
            candidates = [file for file in candidates if file == Path(path) or results not in file.resolve().parents]
        images = {}
        for file in candidates:
            below = file.relative_to(root)
            is_hidden = file != Path(path) and any(part.startswith(".") for part in below.parts)
            known = LARGE_SUFFIXES if file == Path(path) else IMAGE_SUFFIXES  # a VRT lies beside its own parts
            if file.suffix.lower() in known and not is_hidden and file.is_file():
                images[file] = below
        if not images:
            raise ConfigError(f"{path}: holds no image; images end in {', '.join(IMAGE_SUFFIXES)}")
        found |= {file: below for file, below in images.items() if file not in found}
    return found


def _below(path: str) -> tuple[Path, list[Path]]:
    """A folder, and the files below it that a path of the command line names."""
    from segkit.data.files.images import IMAGE_SUFFIXES
    from segkit.data.files.pairs import walk_files

    file = Path(path)
    if file.is_dir():
        return file, [Path(found) for found in walk_files(file, IMAGE_SUFFIXES)]
    if file.exists():
        return file.parent, [file]
    # folders whose names hold [ ] are no patterns where they exist
    fixed = Path()
    for number, part in enumerate(file.parts[:-1]):
        if glob.has_magic(part) and not (fixed / part).is_dir():
            break
        fixed = Path(*file.parts[: number + 1])
    pattern = Path(*file.parts[len(fixed.parts) :]).as_posix()
    root = "" if fixed == Path() else glob.escape(str(fixed))
    return fixed, [Path(match) for match in sorted(glob.glob(os.path.join(root, pattern), recursive=True))]


def _predict(args: argparse.Namespace) -> int:
    from segkit import api
    from segkit.engine.setup import pick_device
    from segkit.engine.world import joined
    from segkit.runners.ensemble import networks_of
    from segkit.runners.inputs import inputs_of
    from segkit.runners.scoring import with_switches
    from segkit.settings import LoopSettings

    if args.threads is not None:
        raise ConfigError(f"--threads {args.threads}: is for exported graphs; checkpoints take OMP_NUM_THREADS")
    config, words = common.split_config(args.words, args.config)
    checkpoints, paths = common.split_checkpoints(words)
    check_large(args)
    images = find_pieces(paths) if args.pieces else find_images(paths, args.out)
    names = names_of(images)
    need_writable(Path(args.out) / "overlays" / "picture.png", "choose another --out")
    device, options = pick_device(args.device), args.cfg_options
    model = api.load_ensemble(checkpoints, config, device, options, trust=args.trust, predict_only=True)
    inputs = inputs_of(model, **common.reading_given(args))
    for network in networks_of(model):
        network.config["inference"] = with_switches(network.config, tta=args.tta, slide=args.slide, say=_say)
    with joined(device, LoopSettings(**(model.config.get("loop") or {})).process_timeout, about=of_images(names)):
        return _predict_share(args, model, inputs, names)


def _predict_share(args: argparse.Namespace, model: "Network", inputs: "Inputs", names: Mapping[Path, str]) -> int:
    """Predicts this process's share of the images, and says on the main process what became of all."""
    from tqdm import tqdm

    from segkit import api, dist
    from segkit.data.samplers import shard
    from segkit.engine.world import is_shared
    from segkit.runners.ensemble import runner_of
    from segkit.runners.writers import WithProbabilities

    runner = runner_of(model)
    palette = tuple((int(r), int(g), int(b)) for r, g, b in model.palette or ())
    out = Path(args.out)
    writer = runner.writer(out, tuple(model.classes or ()), palette, annotations=args.annotations, score=args.score)
    if args.probabilities:
        runner.keep_probabilities()
        writer = WithProbabilities(writer, out, model.classes or ())
    large = large_of_checkpoint(args, model, runner, inputs, tqdm.write)
    files, failures = list(names), dict[Path, str]()
    share = shard(len(files), dist.rank(), dist.world_size())
    for number in tqdm(share, unit="image", disable=None if dist.is_main() else True):
        file = files[number]
        try:
            if large.takes(file):
                large.add(file, names[file])
                continue
            image = inputs.read(file)
            writer.add(file, names[file], image, api.predict_array(model, image, runner))
        except (DataError, OSError) as error:
            failures[file] = str(error)
    result = writer.close([names[file] for file in files])
    is_one_folder = is_shared(out)
    told = dist.gather_objects((failures, large.results))
    failures = {file: reason for failed, _ in told for file, reason in failed.items()}
    failures = {file: failures[file] for file in files if file in failures}
    if dist.is_main():
        print(f"{len(files) - len(failures)} images: {result}, {out}/overlays")
        if not is_one_folder:
            print(f"{out}: is a folder of its own on each node, with the results of the images of that node")
        if lines := [line for _, results in told for line in results]:
            print("\n".join(lines))
        if failures:
            common.print_failures(failures, len(files), "images")
    return 1 if failures else 0


def _say(text: str) -> None:
    from segkit import dist

    if dist.is_main_process():
        print(text, flush=True)


def of_images(names: Mapping[Path, str]) -> dict[str, str]:
    """Returns what processes compare before they share the images out: a hash of their names."""
    text = "\n".join(names.values())
    return {"images": f"{len(names):,} images, {hashlib.sha256(text.encode()).hexdigest()[:12]}"}


def names_of(images: Mapping[Path, Path]) -> dict[Path, str]:
    """Returns the name of each image's results: its path below the folder that was named, without suffix.

    Args:
        images: files with their paths below the folder, as of find_images.

    Raises:
        ConfigError: two images would get one name.
    """
    names: dict[Path, str] = {}
    first: dict[str, Path] = {}
    doubles: list[tuple[Path, Path]] = []
    for file, below in images.items():
        names[file] = name = below.with_suffix("").as_posix()
        if name in first:
            doubles.append((first[name], file))
        first.setdefault(name, file)
    if doubles:
        a, b = doubles[0]
        more = f" ({len(doubles) - 1} more pairs are alike)" if len(doubles) > 1 else ""
        raise ConfigError(
            f"{a} and {b}: both results would be written to {names[b]}.png{more}; name the folder that holds them "
            "both, rename one of them, or predict them with an --out of their own"
        )
    return names
