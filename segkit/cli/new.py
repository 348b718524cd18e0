"""Writes a config for data in any form: segkit new DATA [--task semantic|instances|clicks].

DATA is a folder, a file of labels or an archive (.zip, .tar), which is unpacked into the current folder. Format, split,
classes, how the images are read and a recipe are chosen and told. Without labels: segkit new --images DIR.
"""

import argparse
import re
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.files import DataError, need_writable, write_whole
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.recipe.layout import Data

TASKS = ("semantic", "instances", "clicks")

VOLUMES = ("nifti", "dicom", "dicom_masks")
"""Formats whose images are slices, which predict reads as arrays."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit new`; returns the exit code."""
    from segkit.data.formats.known import READERS

    arguments = common.parser("new", __doc__ or "")
    arguments.add_argument("data", nargs="?", metavar="DATA", help="folder, file or archive (.zip, .tar) of the labels")
    arguments.add_argument("--task", choices=TASKS, help="what is learned; default: what the labels can teach")
    arguments.add_argument(
        "--format", choices=[reader.format for reader in READERS], help="of the labels; default: found out"
    )
    arguments.add_argument("--images", metavar="DIR", help="images without labels: prepares to label them")
    arguments.add_argument("--classes", metavar="A,B", help="with --images: names of the classes to label")
    arguments.add_argument("--out", metavar="FILE", help="the config; default NAME_OF_DATA.py in the current folder")
    arguments.add_argument("--force", action="store_true", help="replace a config that is there")
    arguments.add_argument(
        "--dry-run", "--check", action="store_true", dest="dry_run", help="print the choices, write nothing"
    )
    arguments.add_argument("--budget", metavar="TIME", help="of the training: 90s, 10m, 2h; default 4m, on a GPU 10m")
    arguments.add_argument(
        "--no-trial", action="store_true", help="estimate batch and steps; default: some steps are trained to measure"
    )
    arguments.add_argument("--find-lr", action="store_true", help="a range test for the learning rate, 60 steps more")
    common.add_device(arguments)
    return common.run(_new, arguments.parse_args(argv))


def _new(args: argparse.Namespace) -> int:
    if args.images is not None:
        from segkit.cli.new_images import prepare

        if args.data is not None:
            raise ConfigError(f"--images {args.images}: is for images without labels; give it or {args.data}, not both")
        return prepare(args)
    if args.find_lr and args.no_trial:
        raise ConfigError("--find-lr and --no-trial: a range test trains some steps; give one of them")
    if args.data is None:
        raise ConfigError("segkit new: name the folder or archive of your data, or --images DIR for images alone")
    from segkit.readers.archives import archive_stem
    from segkit.recipe.layout import data_of

    given = Path(args.data).expanduser()
    if not given.exists():
        raise DataError(f"{args.data}: no such folder or file; check the path")
    stem = archive_stem(given) if given.is_file() else None
    out = _target(args, stem or given.resolve().stem)
    with _folder(given, stem, is_kept=not args.dry_run) as folder:
        data = data_of(folder, task=args.task, format=args.format)
        # a dry run unpacks elsewhere, and tells where the archive would lie
        hidden = f"{folder.parent.as_posix()}/" if stem is not None and args.dry_run else ""
        _write(args, out, data, hidden)
    return 0


def _target(args: argparse.Namespace, name: str) -> Path:
    """The config to write, which is new unless --force."""
    if args.out is None:
        name = re.sub(r"[^\w-]+", "_", name).strip("_") or "data"
        out = Path(f"{name}_config.py" if _is_module(name) else f"{name}.py")
    else:
        out = Path(args.out).expanduser()
        if out.suffix != ".py":
            raise ConfigError(f"--out {args.out}: must end in .py, as Python configs do")
    if not args.dry_run:
        if out.exists() and not args.force:
            raise ConfigError(f"{out}: is there already; replace it by --force, or write another by --out FILE.py")
        need_writable(out, "choose another --out")
    return out


def _is_module(name: str) -> bool:
    """Whether an installed module is called so, which a config in the current folder would hide from `python -m`."""
    if name == "segkit" or name in sys.stdlib_module_names:
        return True
    folders = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    return any((folder / end).exists() for folder in folders for end in (f"{name}/__init__.py", f"{name}.py"))


@contextmanager
def _folder(given: Path, stem: str | None, *, is_kept: bool) -> Iterator[Path]:
    """The folder or file of the labels; an archive is unpacked beside the config, or for a dry run elsewhere."""
    from segkit.readers.archives import unpack

    if stem is None:
        yield given
    elif is_kept:
        found = unpack(given, Path(stem))
        print(f"{'unpacked before' if found.is_old else 'unpacked'}: {given} to {found.folder}/, {found.files} files")
        yield found.folder
    else:
        with tempfile.TemporaryDirectory(prefix="segkit-") as folder:
            yield unpack(given, Path(folder) / stem).folder


def _write(args: argparse.Namespace, out: Path, data: "Data", hidden: str) -> None:
    """Chooses the recipe, writes the config, and prints what was chosen; `hidden` is left out of paths."""
    from segkit.engine.setup import pick_device
    from segkit.recipe.choices import table
    from segkit.recipe.compose import compose
    from segkit.recipe.machine import budget_of, machine_of

    budget = budget_of(args.budget, machine_of(pick_device(args.device)))
    print("\n".join(data.found), flush=True)
    found = compose(data, budget, out.name, tries=not args.no_trial, find_lr=args.find_lr)
    text = table(found.choices)
    print(f"chosen:\n{text.replace(hidden, '') if hidden else text}")
    for note in [*data.notes, *found.notes]:
        print(f"note: {note}")
    if args.dry_run:
        print(f"--dry-run: {out} is not written")
        return
    write_whole(out, found.text, "choose another --out")
    print(f"written: {out} ({len(found.text.splitlines())} lines)\nnext:")
    print("\n".join(f"  {line}" for line in next_commands(out, data)))


def next_commands(out: Path, data: "Data") -> list[str]:
    """Returns the commands that train the config and use what it learned, each with a few words."""
    config, best = shlex.quote(str(out)), shlex.quote(f"work_dirs/{out.stem}/best.pt")
    lines = [f"segkit train {config}"]
    if data.task == "clicks":
        lines.append(f"segkit test {best} --show pictures    # click by click; from Python: segkit.click_predictor")
        return lines
    values = {choice.key: choice.value for choice in data.choices}
    if values["format"] in VOLUMES:
        lines.append(f"segkit convert-labels {shlex.quote(str(values['root']))} slices --to masks    # as arrays")
        return [*lines, f"segkit predict {best} slices/images --out labelled"]
    return [*lines, f"segkit predict {best} NEW_IMAGES --out labelled"]
