"""How data sets too large for a folder start, and what a shard costs to read.

    python benchmarks/streaming.py index   [--samples 10000000]   an index of many samples over shards that are empty
    python benchmarks/streaming.py folder  [--files 1000000]      a folder of empty files: first start, next start
    python benchmarks/streaming.py read    [--images 2000]        images per second from files and from shards

Each line is a ratio or a time of this run; what is made lies in a temporary folder (--at) and is removed.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

START = """
import sys, time, json, resource
from segkit.data.semantic.{module} import {name}
def memory():
    rows = dict(line.split()[:2] for line in open("/proc/self/smaps_rollup") if ":" in line and "kB" in line)
    return int(rows["Pss:"]) / 1e3
def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)
before, begin, begin_cpu = memory(), time.perf_counter(), cpu()
data = {call}
seconds, cpu_seconds = time.perf_counter() - begin, cpu() - begin_cpu
started = memory() - before
{after}
print(json.dumps([seconds, started, memory() - before, len(data), cpu_seconds]))
sys.stdout.flush()
sys.stdin.readline()
"""
"""A start in a process of its own, which stays until all have measured, so that shared pages are counted once."""


def starts(module: str, name: str, call: str, after: str, processes: int, env: dict[str, str]) -> list[list[float]]:
    """Starts a data set in several processes: seconds, MB after the start and after use, items, CPU seconds of each."""
    import json

    code = START.format(module=module, name=name, call=call, after=after)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        for _ in range(processes)
    ]
    rows = [json.loads(process.stdout.readline()) for process in running]
    for process in running:
        process.communicate("\n")
    return rows


def environment(at: Path) -> dict[str, str]:
    return {**os.environ, "SEGKIT_CACHE": str(at / "cache"), "OMP_NUM_THREADS": "1"}


def fake_shards(at: Path, samples: int, shards: int) -> None:
    """Indices of shards whose files have their size and no content."""
    from segkit.data.shards.index import ShardIndex

    each = samples // shards
    for number in range(shards):
        table = np.zeros((each, 2, 2), np.uint32)
        table[:, 0, 0] = 1 + 220 * np.arange(each)
        table[:, 1, 0] = table[:, 0, 0] + 212
        table[..., 1] = (108_000, 3_500)
        keys = b"".join(b"%010d" % (number * each + row) for row in range(each))
        ends = 10 * (1 + np.arange(each, dtype=np.uint32))
        size = 512 * (220 * each + 3)
        path = at / f"train-{number:06d}.tar"
        with open(path, "wb") as file:
            file.truncate(size)
        index = ShardIndex(("jpg", "png"), table, ends, np.frombuffer(keys, np.uint8), size)
        Path(f"{path}.index").write_bytes(index.packed())


def index(at: Path, samples: int) -> None:
    fake_shards(at, samples, 1000)
    call = f"Shards({f'{at}/train-{{000000..000999}}.tar'!r}, ['a', 'b'])"
    after = "names = [data.path(i) + data.ids[i] for i in range(0, len(data), len(data) // 1000)]"
    for title, processes in (
        ("first start, 1 process", 1),
        ("next start, 1 process", 1),
        ("next start, 8 processes", 8),
    ):
        rows = starts("shards", "Shards", call, after, processes, environment(at))
        seconds = max(row[0] for row in rows)
        memory, used = (sum(row[column] for row in rows) for column in (1, 2))
        print(
            f"{rows[0][3]:,} samples, 1,000 shards, {title}: {seconds:.2f} s ({max(row[4] for row in rows):.2f} "
            f"CPU s each), {memory:.0f} MB a machine, "
            f"{used:.0f} MB after 1,000 items of each"
        )


def folder(at: Path, files: int) -> None:
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        for number in range(files // 2):
            if number % 1000 == 0:
                inner = at / kind / f"{number // 1000:04d}"
                inner.mkdir(parents=True)
            os.close(os.open(f"{inner}/{number:07d}.{suffix}", os.O_CREAT | os.O_WRONLY))
    time.sleep(3)
    call = f"Folder({str(at)!r}, ['a', 'b'])"
    for title, processes in (("first start", 1), ("next start", 1), ("next start", 1), ("next start, 4 processes", 4)):
        rows = starts("folder", "Folder", call, "", processes, environment(at))
        print(
            f"{files:,} empty files, {title}: {max(row[0] for row in rows):.2f} s ({rows[0][4]:.2f} CPU s), "
            f"{rows[0][1]:.0f} MB"
        )


def read(at: Path, images: int) -> None:
    from segkit.data.prepare.shards import write_shards
    from segkit.data.semantic.folder import Folder
    from segkit.data.semantic.shards import Shards
    from segkit.files import read_bytes

    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (at / kind).mkdir()
    for number in range(images):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (512, 384), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(at / "images" / f"{number:06d}.jpg"), image + rng.integers(0, 16, image.shape, dtype=np.uint8))
        cv2.imwrite(str(at / "masks" / f"{number:06d}.png"), (image[:, :, 0] > 128).astype(np.uint8))
    os.environ["SEGKIT_CACHE"] = str(at / "cache")
    files = Folder(str(at), ["a", "b"])
    write_shards(files, at / "shards", stem="train", size=20_000_000, processes=1, resume=False)
    shards = Shards(str(at / "shards"))
    order = rng.permutation(images)
    sides = {
        "bytes": (lambda i: (read_bytes(files.path(i)), read_bytes(files.mask_path(i))),
                  lambda i: (shards.content(i), shards.shards.need(i, ("mask.png",)))),
        "decoded samples": (lambda i: files.sample(i, rng), lambda i: shards.sample(i, rng)),
    }  # fmt: skip
    for what, pair in sides.items():
        wall: tuple[list[float], list[float]] = ([], [])
        cpu: tuple[list[float], list[float]] = ([], [])
        for _ in range(5):
            for side, work in enumerate(pair):
                begin, begin_cpu = time.perf_counter(), time.process_time()
                for number in order.tolist():
                    work(number)
                wall[side].append(time.perf_counter() - begin)
                cpu[side].append(time.process_time() - begin_cpu)
        rates = [images / statistics.median(times) for times in wall]
        ratio, of_cpu = (min(times[0]) / min(times[1]) for times in (wall, cpu))
        print(
            f"{what}, {images} images, {len(shards.shards.names)} shards: files {rates[0]:.0f}/s, shards "
            f"{rates[1]:.0f}/s, {ratio:.2f} times as fast (best of 5 each, alternating; by CPU seconds {of_cpu:.2f})"
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=["index", "folder", "read"])
    arguments.add_argument("--samples", type=int, default=10_000_000)
    arguments.add_argument("--files", type=int, default=1_000_000)
    arguments.add_argument("--images", type=int, default=2000)
    arguments.add_argument("--at", help="folder for what is made; default: the system's for temporary files")
    args = arguments.parse_args()
    at = Path(tempfile.mkdtemp(dir=args.at))
    try:
        if args.what == "index":
            index(at, args.samples)
        elif args.what == "folder":
            folder(at, args.files)
        else:
            read(at, args.images)
    finally:
        shutil.rmtree(at, ignore_errors=True)


if __name__ == "__main__":
    main()
