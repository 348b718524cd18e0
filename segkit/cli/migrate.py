"""Turns a config of another toolbox into one of segkit: segkit migrate mmseg CONFIG.py --out OUT.py.

The file is read as data and never run. What segkit has not is refused with its key; what differs is told.
"""

import argparse
import shlex
from pathlib import Path

from segkit.cli import common
from segkit.files import need_writable, write_whole
from segkit.registry import ConfigError

SOURCES = {"mmseg": "mmsegmentation 1.x"}
"""Toolboxes whose configs are read."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit migrate`; returns the exit code."""
    arguments = common.parser("migrate", __doc__ or "")
    arguments.add_argument("source", choices=SOURCES, help="whose config it is: mmseg, mmsegmentation 1.x")
    arguments.add_argument("file", metavar="CONFIG.py", help="the config; its bases lie in the folder of its `_base_`")
    arguments.add_argument("--out", metavar="OUT.py", help="the config to write; default: it is printed")
    arguments.add_argument("--force", action="store_true", help="replace a config that is there")
    arguments.add_argument("--model-only", action="store_true", help="leave out data and training")
    return common.run(_migrate, arguments.parse_args(argv))


def _migrate(args: argparse.Namespace) -> int:
    from segkit.migrate.mmseg import migrate
    from segkit.recipe.compose import loaded
    from segkit.schema import check

    out = None if args.out is None else Path(args.out).expanduser()
    if out is not None:
        if out.suffix != ".py":
            raise ConfigError(f"--out {args.out}: must end in .py, as Python configs do")
        if out.exists() and not args.force:
            raise ConfigError(f"{out}: is there already; replace it by --force, or write another by --out FILE.py")
        need_writable(out, "choose another --out")
    migrated = migrate(Path(args.file), model_only=args.model_only)
    cfg = loaded(migrated.text, "migrated.py")
    check(cfg, needed=("model",))
    if out is None:
        print(migrated.text, end="")
        return 0
    write_whole(out, migrated.text, "choose another --out")
    for note in migrated.notes:
        print(f"note: {note}")
    print(f"written: {out}\nnext:")
    name = shlex.quote(str(out))
    if not args.model_only:
        print(f"  segkit train {name} --check")
    print(f"  segkit convert CHECKPOINT.pth OUT.pt --config {name}    # a checkpoint of mmsegmentation")
    return 0
