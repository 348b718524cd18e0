"""Writes a config's data set as shards, tar files that are read from any disk or store: segkit shard CONFIG.

Images keep their bytes; label maps become PNG as the data set gives them, so that what it maps is mapped. A shard is
there whole or not at all, and the same for any number of processes.
"""

import argparse
import os
import re
from pathlib import Path

from segkit.cli import common
from segkit.registry import ConfigError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
SPLITS = ("train", "val", "test")
LEAST = 10**4
"""Bytes of a shard at least."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit shard`; returns the exit code."""
    arguments = common.parser("shard", __doc__ or "")
    arguments.add_argument("config", help=common.CONFIG_HELP + "; only its data section is needed")
    arguments.add_argument("--out", required=True, metavar="DIR", help="folder of the shards; it is new or empty")
    arguments.add_argument("--split", choices=SPLITS, default="train", help="section of the config")
    arguments.add_argument("--size", default="500MB", help="bytes of a shard, about: 500MB (default), 1GB, 64MiB")
    arguments.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="that write; all cores by default"
    )
    arguments.add_argument("--resume", action="store_true", help="go on with an unfinished run; whole shards stay")
    common.add_options(arguments)
    return common.run(_shard, arguments.parse_args(argv))


def size_of(text: str) -> int:
    """Returns the bytes that a text such as "500MB" means.

    Raises:
        ConfigError: it is none, or less than 10 KB.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-zA-Z]*)", text.strip())
    unit = UNITS.get(found[2].upper().removesuffix("YTES")) if found else None
    size = round(float(found[1]) * unit) if found and unit else 0
    if size < LEAST:
        raise ConfigError(
            f"--size {text}: must be a number with KB, MB, GB, KiB, MiB or GiB, such as 500MB, 10KB at least"
        )
    return size


def _shard(args: argparse.Namespace) -> int:
    from segkit.config import load_config
    from segkit.data.prepare.shards import write_shards
    from segkit.data.shards.content import TASKS
    from segkit.engine.setup import build_dataset
    from segkit.schema import check

    size = size_of(args.size)
    if args.processes < 1:
        raise ConfigError(f"--processes {args.processes}: must be 1 or more")
    cfg = load_config(args.config, args.cfg_options)
    check(cfg, needed=())
    section, at = common.data_section(cfg, args.split)
    dataset = build_dataset(section["dataset"], f"{at}.dataset")
    folder = Path(args.out).expanduser()
    content, packing = write_shards(
        dataset, folder, stem=args.split, size=size, processes=args.processes, resume=args.resume
    )
    total = sum(row["bytes"] for row in content["shards"])
    images = "the image files as they are" if packing.keeps_files else "images as PNG or .npy, which are no files here"
    print(
        f"{folder}: {len(content['shards']):,} shards, {content['samples']:,} samples, {total / 1e6:,.1f} MB; {images}"
    )
    print(f"read them by:\n    {args.split} = dict(dataset=dict(type={TASKS[packing.task]!r}, urls={str(folder)!r}))")
    return 0
