"""Is it worth choosing the images to label? CamVid, from 24 images on, five rounds of 24: chosen against random.

    python benchmarks/next.py --out work_dirs/next [--seeds 0 1 2] [--rounds 5] [--steps 150] [--size 180 240]

Both sides of a seed begin with the same 24 images at random. A round trains a new network from ImageNet weights on what
is labelled so far, with the same steps, rates and seed on both sides, scores the test images, and takes 24 more: one
side by `segkit next --rule both --measure margin`, the other at random. Semantic FPN on EfficientNet-Lite0, on images
made smaller once. Rows go to OUT/rows.json after each training; a run that was broken off goes on.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit import api
from segkit.config import load_config
from segkit.data.semantic.camvid import CamVid
from segkit.engine.setup import pick_device
from segkit.files import write_whole
from segkit.ops.self_training.choice import choose
from segkit.runners.labelling.features import PooledFeatures
from segkit.runners.labelling.judges import judge_of
from segkit.runners.labelling.looking import Question, look
from segkit.runners.self_training.rule import Rule
from segkit.viz import draw

CONFIG = Path(__file__).parents[1] / "configs/camvid_study/fpn.py"
FIRST = 24
"""Images of the start, and of each round."""

RULES = {"chosen": "both", "random": None, "uncertain": "uncertain", "diverse": "diverse"}
"""Sides and how they choose."""


def make_small(root: Path, size: tuple[int, int]) -> None:
    """Writes CamVid at a smaller size, so that reading takes no time from training."""
    for split in ("train", "test"):
        whole = CamVid(split=split)
        for index, name in enumerate(whole.ids):
            image, mask = root / f"{name}.png", root / f"{split}annot/{Path(name).name}.png"
            if not mask.is_file():
                shape = size[::-1]
                draw.save_png(image, cv2.resize(whole.image(index), shape, interpolation=cv2.INTER_AREA))
                draw.save_png(mask, cv2.resize(whole.mask(index), shape, interpolation=cv2.INTER_NEAREST))


def sections(names: Path, steps: int, size: tuple[int, int], seed: int) -> dict:
    """The config of a training on the images of a list."""
    cfg = load_config(CONFIG)
    root, train = str(names.parent / "data"), cfg["train"]
    train["dataset"] = dict(type="Listed", dataset=dict(type="CamVid", root=root), file=str(names))
    train["transforms"] = [
        dict(type="RandomScaleCrop", low=0.6, high=1.6, size=size),
        dict(type="Flip"),
        dict(type="Photometric"),
    ]
    train["workers"] = 0
    # scored once, at the end
    cfg["val"] = cfg["test"] = dict(dataset=dict(type="CamVid", root=root, split="test"), workers=0)
    cfg["loop"] = dict(steps=steps, log_every=50, eval_every=steps, save_every=steps, ema=0.97, seed=seed)
    cfg["loop"] |= dict(channels_last=True)
    return dict(cfg)


def more(model, dataset: CamVid, labelled: list[int], rule: str | None, rng: np.random.Generator) -> list[int]:
    """Numbers of the images that a side labels next."""
    left = sorted(set(range(len(dataset))) - set(labelled))
    if rule is None:
        return rng.choice(left, FIRST, replace=False).tolist()
    judge, question = judge_of([model], ["model"], Rule()), Question(FIRST, rule, "margin")
    features = PooledFeatures(model, "model")
    looks = {index: look(judge, features, dataset.image(index), question) for index in range(len(dataset))}
    features.close()
    picked = choose(
        np.array([looks[index].uncertainty for index in left]),
        np.stack([looks[index].features for index in left]),
        np.stack([looks[index].features for index in labelled]),
        FIRST,
        rule,
        factor=question.factor,
    )
    return [left[chosen.item] for chosen in picked]


def train_on(labelled: list[int], rows: list[dict], key: tuple[str, int, int], out: Path, args) -> None:
    """Trains and scores a round, and writes its row."""
    side, seed, number = key
    names, folder = out / f"{side}_{seed}_{number}.txt", folder_of(out, key)
    dataset = CamVid(str(out / "data"))
    write_whole(names, "".join(f"{dataset.ids[index]}\n" for index in labelled))
    start = time.perf_counter()
    result = api.train(
        sections(names, args.steps, tuple(args.size), seed), folder, device=args.device, overwrite=folder.is_dir()
    )
    row = dict(side=side, seed=seed, round=number, images=len(labelled), mIoU=result.best, steps=args.steps)
    rows.append(row | dict(seconds=round(time.perf_counter() - start), labelled=labelled))
    write_whole(out / "rows.json", json.dumps(rows) + "\n")
    print(f"{side:10} seed {seed} {len(labelled):4} images  mIoU {result.best:.2f}", flush=True)


def folder_of(out: Path, key: tuple[str, int, int]) -> Path:
    return out / "{}_{}_{}".format(*key)


def run(seed: int, rows: list[dict], out: Path, args: argparse.Namespace) -> None:
    """All rounds of all sides of a seed; what has a row is not done again."""
    dataset, done = (
        CamVid(str(out / "data")),
        {(row["side"], row["seed"], row["round"]): row["labelled"] for row in rows},
    )
    first = np.random.default_rng(seed).choice(len(dataset), FIRST, replace=False).tolist()
    if ("start", seed, 0) not in done:
        train_on(first, rows, ("start", seed, 0), out, args)
    labelled = dict.fromkeys(args.sides, (first, ("start", seed, 0)))
    for number in range(1, args.rounds + 1):
        for side in args.sides:
            names, before = labelled[side]
            key = (side, seed, number)
            if key not in done:
                model = api.load_model(folder_of(out, before) / "last.pt", device=pick_device(args.device), trust=True)
                names = names + more(model, dataset, names, RULES[side], np.random.default_rng([seed, number]))
                train_on(names, rows, key, out, args)
            labelled[side] = (done.get(key, names), key)


def table(rows: list[dict]) -> str:
    """Mean and spread of each side by the number of images, over the seeds that both have."""
    lines = ["| images | side | seeds | mIoU, mean (least to most) |", "|---|---|---|---|"]
    for images, side in sorted({(row["images"], row["side"]) for row in rows}):
        values = [row["mIoU"] for row in rows if (row["images"], row["side"]) == (images, side)]
        spread = f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        lines.append(f"| {images} | {side} | {len(values)} | {spread} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", default="work_dirs/next")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", nargs=2, type=int, default=[180, 240], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--sides", nargs="+", default=["chosen", "random"], choices=list(RULES))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    out = Path(args.out)
    rows = json.loads((out / "rows.json").read_text(encoding="utf-8")) if (out / "rows.json").is_file() else []
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.steps} steps a round at {args.size}")
    make_small(out / "data", tuple(args.size))
    for seed in args.seeds:
        run(seed, rows, out, args)
    print(table(rows))


if __name__ == "__main__":
    main()
