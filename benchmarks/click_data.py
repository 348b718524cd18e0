"""Samples for interactive training in the COCO+LVIS format: memory of the index, samples per CPU second.

    python benchmarks/click_data.py memory [--images 100000] [--workers 8]
    SEGKIT_DATA=... python benchmarks/click_data.py speed [--rounds 5]

memory: annotations of 16 instances an image are made up. For 1 and for all workers, forked as training forks them, the
proportional set sizes of all processes are added up (what the machine really holds) and the private part of the
workers, after each has read samples all over the set; beside it the same with a set of 100 images, and the same for the
published way to hold the annotations, a dict of dicts.
speed: photographs and instances of $SEGKIT_DATA/coco_mini with made-up parts and stuff, about 16 masks an image. Peers
decode all layers and remove stuff object by object, as the published reader does; the pipeline is scaling by .75 to
1.4, flip, crop of 320x480, color, points; one thread, process time, peers take turns, the best round counts.
"""

import argparse
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np

from segkit.data.interactive.coco import COCOClicks
from segkit.data.interactive.coco_lvis import COCOLVISClicks
from segkit.data.interactive.packing import hierarchy, pack_masks
from segkit.data.interactive.sampling import SampleClicks
from segkit.data.interactive.until_object import UntilObject
from segkit.data.transforms.color import BrightnessContrast, ChannelShift
from segkit.data.transforms.crops import RandomCrop, RandomScaleCrop
from segkit.data.transforms.sizes import Flip, Pad, RandomScale, apply
from segkit.types import ClickObject, Sample

INSTANCES, FILES, READS = 16, 40, 100
MIB = 1024


def write_image(place: Path, name: str, photograph: np.ndarray, masks: list[np.ndarray], stuff: int) -> None:
    """masks: bool [H,W] each, the last `stuff` of them stuff -> images/ and masks/ in the published format."""
    for folder in ("images", "masks"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    layers, places = pack_masks(masks)
    content = ([cv2.imencode(".png", layer)[1] for layer in layers], places)
    (place / "masks" / f"{name}.pickle").write_bytes(pickle.dumps(content))
    cv2.imwrite(str(place / "images" / f"{name}.jpg"), photograph[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


# memory


class Many(COCOLVISClicks):
    """A large index over a few files."""

    def path(self, index: int) -> str:
        return str(self._root / "images" / f"{index % FILES}.jpg")

    def mask_path(self, index: int) -> str:
        return str(self._root / "masks" / f"{index % FILES}.pickle")


class Dicts(Many):
    """The same held as the published reader holds it."""

    def __init__(self, root: str):
        super().__init__(root)
        self.samples = sorted(pickle.loads((self._root / "hannotation.pickle").read_bytes()).items())

    def packed(self, index: int, rng: np.random.Generator):
        deepcopy(self.samples[index])
        return super().packed(index, rng)


def make_large(root: Path, images: int) -> None:
    """root/train: annotations of `images` images, a third of the objects in a hierarchy."""
    rng, place = np.random.default_rng(0), root / "train"
    for number in range(FILES):
        masks = []
        for _ in range(INSTANCES):
            mask = np.zeros((480, 640), np.uint8)
            centre, axes = rng.integers((640, 480)), rng.integers(15, 120, 2)
            cv2.ellipse(mask, centre.tolist(), axes.tolist(), float(rng.integers(180)), 0, 360, 1, -1)
            masks.append(mask.astype(bool))
        write_image(place, str(number), rng.integers(0, 255, (480, 640, 3)).astype(np.uint8), masks, 0)

    def nodes() -> dict:
        family = {n: {"children": [], "parent": 0, "node_level": 1} for n in range(1, 6)}
        root = {0: {"children": list(range(1, 6)), "parent": None, "node_level": 0}}
        return root | family | dict.fromkeys(range(6, INSTANCES))

    entries = {f"{number:012d}": {"num_instance_masks": INSTANCES, "hierarchy": nodes()} for number in range(images)}
    (place / "hannotation.pickle").write_bytes(pickle.dumps(entries, protocol=4))


def held(pid: int) -> tuple[float, float]:
    """-> (proportional, private) MiB of a process."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    sizes = {line[0]: int(line[1]) for line in lines if line[-1] == "kB"}
    return sizes["Pss:"] / MIB, (sizes["Private_Clean:"] + sizes["Private_Dirty:"]) / MIB


def work(dataset: Many, seed: int, ready: int, stop: int) -> None:
    """Reads all records and some samples, says so, and waits."""
    rng = np.random.default_rng(seed)
    cv2.setNumThreads(0)
    for index in range(len(dataset)):
        _ = dataset.ids[index] if not isinstance(dataset, Dicts) else dataset.samples[index][1]["hierarchy"][0]
    for _ in range(READS):
        dataset.sample(int(rng.integers(len(dataset))), rng)
    os.write(ready, b".")
    os.read(stop, 1)
    os._exit(0)


def measure(make: Callable[[], Many], workers: int) -> tuple[float, float, float]:
    """-> MiB: of the machine, private part of all workers, of the main process. It runs in a process of its own, so
    that nothing of another measurement counts."""
    read, write = os.pipe()
    if os.fork() == 0:
        dataset = make()
        (ready, say), (stop, let) = os.pipe(), os.pipe()
        pids = []
        for seed in range(workers):
            pid = os.fork()
            if pid == 0:
                work(dataset, seed, say, stop)
            pids.append(pid)
        while workers:
            workers -= len(os.read(ready, 64))
        own = held(os.getpid())
        children = [held(pid) for pid in pids]
        os.write(let, b"." * len(pids))
        values = own[0] + sum(c[0] for c in children), sum(c[1] for c in children), own[0]
        os.write(write, pickle.dumps(values))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        return pickle.loads(pipe.read())


def memory(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGKIT_CACHE"] = f"{folder}/cache"
        for name, images in (("small", 100), ("large", args.images)):
            make_large(Path(folder) / name, images)
        start = time.time()
        Many(f"{folder}/large")
        size = sum(path.stat().st_size for path in Path(folder, "cache").rglob("*.index"))
        count = args.images * INSTANCES
        seconds = time.time() - start
        print(f"{count:,} masks of {args.images:,} images: index of {size / 2**20:.1f} MiB made in {seconds:.1f} s")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MIB
        print(f"the process that made it held {peak:.0f} MiB at most")
        rows = {
            "100 images": lambda: Many(f"{folder}/small"),
            f"{args.images:,} images": lambda: Many(f"{folder}/large"),
            f"{args.images:,} images, dicts": lambda: Dicts(f"{folder}/large"),
        }
        print("MiB: all processes, private to the workers")
        for name, make in rows.items():
            for workers in dict.fromkeys((1, args.workers)):
                total, private, _ = measure(make, workers)
                print(f"  {name:26} {workers} workers  {total:7.0f} {private:7.0f}")


# speed


class Plain(COCOLVISClicks):
    """Decodes every layer and removes stuff object by object, as the published reader does."""

    def __init__(self, root: str, stuff_prob: float):
        super().__init__(root, stuff_prob=stuff_prob)
        self.samples = sorted(pickle.loads((self._root / "hannotation.pickle").read_bytes()).items())

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        name, entry = self.samples[index]
        image = cv2.cvtColor(cv2.imread(self.path(index)), cv2.COLOR_BGR2RGB)
        with open(self.mask_path(index), "rb") as file:
            pictures, places = pickle.load(file)
        layers = np.stack([cv2.imdecode(one, cv2.IMREAD_UNCHANGED) for one in pictures], axis=2)
        nodes = {n: node or {"children": [], "parent": None} for n, node in deepcopy(entry["hierarchy"]).items()}
        objects = {n: ClickObject(*places[n], one["parent"], tuple(one["children"])) for n, one in nodes.items()}
        stuff = range(entry["num_instance_masks"], len(places))
        if rng.random() < self.stuff_prob:
            objects |= {n: ClickObject(*places[n]) for n in stuff}
        else:
            for n in stuff:
                layer, value = places[n]
                layers[:, :, layer][layers[:, :, layer] == value] = 0
        meta = dict(id=name, path=self.path(index), size=image.shape[:2])
        return Sample(image=image, layers=layers, objects=objects, ignored=[], meta=meta)


def make_small(root: Path) -> int:
    """root/train from coco_mini: its instances of 80 pixels or more, a part of every large one, three bands of stuff;
    -> masks an image."""
    source, rng, entries, masks_made = COCOClicks(os.path.join(os.environ["SEGKIT_DATA"], "coco_mini")), None, {}, 0
    rng = np.random.default_rng(0)
    for index in range(len(source)):
        packed = source.packed(index, rng)
        masks = [packed.layers[..., one.layer] == one.value for one in packed.objects.values()]
        masks = [mask for mask in masks if mask.sum() >= 80]
        if not masks:
            continue
        for mask in list(masks):
            row = int(np.argmax(np.cumsum(mask.sum(1)) > mask.sum() * 0.4))
            if mask[:row].sum() > 1500:
                masks.append(mask & (np.arange(len(mask)) < row)[:, None])
        count, nodes, free = len(masks), hierarchy(masks), ~np.any(masks, axis=0)
        bands = np.array_split(np.arange(len(free)), 3)
        regions = [free & np.isin(np.arange(len(free)), band)[:, None] for band in bands]
        masks += [region for region in regions if region.sum() > 500]
        write_image(root / "train", f"{index:012d}", source.image(index), masks, len(masks) - count)
        entries[f"{index:012d}"] = {"num_instance_masks": count, "hierarchy": nodes}
        masks_made += len(masks)
    (root / "train" / "hannotation.pickle").write_bytes(pickle.dumps(entries))
    return masks_made // len(entries)


def speed(args: argparse.Namespace) -> None:
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        masks = make_small(Path(folder))
        ours, plain = COCOLVISClicks(folder, stuff_prob=0.3), Plain(folder, stuff_prob=0.3)
        color = [BrightnessContrast((-0.25, 0.25), (-0.15, 0.4), p=0.75), ChannelShift(10, p=0.75)]
        fused = [RandomScaleCrop((320, 480), 0.75, 1.4, centred=True), Flip(), *color]
        apart = [RandomScale(0.75, 1.4), Flip(), Pad((320, 480), centred=True), RandomCrop((320, 480)), *color]
        ends = [UntilObject(fused), SampleClicks()], [UntilObject(apart), SampleClicks()]
        runs = {
            "reader": lambda i, rng: ours.sample(i, rng),
            "reader, plain": lambda i, rng: plain.sample(i, rng),
            "all": lambda i, rng: apply(ends[0], ours.sample(i, rng), rng),
            "all, plain reader and steps one by one": lambda i, rng: apply(ends[1], plain.sample(i, rng), rng),
        }
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(args.rounds):
            for name, run in runs.items():
                rng, start = np.random.default_rng(1), time.process_time()
                for index in range(len(ours)):
                    run(index, rng)
                best[name] = min(best[name], (time.process_time() - start) / len(ours))
        print(f"{len(ours)} images, {masks} masks an image")
        for name, seconds in best.items():
            print(f"  {name:40} {1 / seconds:6.0f} samples per CPU second")
        names = list(runs)
        for first, second in (names[:2], names[2:]):
            print(f"  {first}: {best[second] / best[first]:.2f} times the plain rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "speed"])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    {"memory": memory, "speed": speed}[args.what](args)


if __name__ == "__main__":
    main()
