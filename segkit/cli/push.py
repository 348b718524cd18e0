"""Publishes a checkpoint on the Hugging Face hub: segkit push CHECKPOINT hf:OWNER/NAME --license LICENCE.

A folder with the weights (safetensors), the config (JSON) and a model card written from the run. load_model("hf:OWNER/
NAME") reads it. --dry-run writes the folder and uploads nothing.
"""

import argparse
import tempfile
from pathlib import Path

from segkit.cli import common
from segkit.files import need_writable
from segkit.registry import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit push`; returns the exit code."""
    arguments = common.parser("push", __doc__ or "")
    arguments.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    arguments.add_argument("name", metavar="hf:OWNER/NAME")
    arguments.add_argument(
        "--license", default="", help="of the weights, as the hub names it: apache-2.0, mit, cc-by-nc-4.0, other ..."
    )
    arguments.add_argument("--dry-run", action="store_true", help="write the folder alone")
    arguments.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder; default: NAME with --dry-run, else a temporary one"
    )
    arguments.add_argument("--private", action="store_true", help="seen by you alone")
    arguments.add_argument("--update", action="store_true", help="a new version of a repository that exists")
    arguments.add_argument("--dataset", default="", metavar="NAME", help="the data set's name on the card")
    arguments.add_argument(
        "--scores",
        type=Path,
        metavar="JSON",
        help="of segkit test; default metrics.json beside the checkpoint, or the log",
    )
    arguments.add_argument(
        "--per-image", type=Path, metavar="CSV", help="of segkit test --per-image; default metrics_per_image.csv there"
    )
    arguments.add_argument("--graph", type=Path, metavar="FILE", help="an exported graph to put beside (.onnx, .xml)")
    arguments.add_argument("--no-picture", action="store_true", help="no image of the validation set on the card")
    return common.run(_push, arguments.parse_args(argv))


def _push(args: argparse.Namespace) -> int:
    from segkit.hub.push import Publication, repository_of, write_folder

    repository = repository_of(args.name)
    given = Publication(
        checkpoint=args.checkpoint,
        name=args.name,
        licence=args.license,
        dataset=args.dataset,
        scores=args.scores,
        per_image=args.per_image,
        graph=args.graph,
        has_picture=not args.no_picture,
    )
    if args.dry_run or args.out is not None:
        folder = args.out or Path(repository.partition("/")[2])
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file():
            raise ConfigError(f"--out {folder}: holds other files; choose an empty folder")
        need_writable(folder / "README.md", "choose another --out")
        write_folder(given, folder)
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
        return 0 if args.dry_run else _upload(args, folder)
    with tempfile.TemporaryDirectory() as temporary:
        write_folder(given, Path(temporary))
        return _upload(args, Path(temporary))


def _upload(args: argparse.Namespace, folder: Path) -> int:
    from segkit.hub.push import upload

    address = upload(folder, args.name, private=args.private, update=args.update)
    print(f'{address}\nload it by segkit.load_model("{args.name}")')
    return 0
