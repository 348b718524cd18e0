"""Does what a recipe chooses keep up with a hand-tuned config? Both train for the same measured time on one data set.

    python benchmarks/recipe.py camvid --minutes 8 [--device cpu] [--seeds 0 1 2] [--steps 3] [--out work_dirs/recipe]

Cases: camvid, camvid_fastfcn, trash (a stand-in on CamVid), penn (Penn-Fudan, background and pedestrian) and coco (the
five most frequent classes of coco_mini), below $SEGKIT_DATA. A step of each side is timed on this machine first, and
each gets as many as the minutes hold; --steps replaces both numbers, to try the script. Nothing is scored on the way,
and the last weights are. A run that was broken off goes on where it stopped; what is finished is not trained again.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit import api
from segkit.config import Config, load_config
from segkit.data.dataset import resolve_root
from segkit.engine.setup import DataSets, pick_device
from segkit.readers.python_config import dump
from segkit.recipe.choices import choose, table
from segkit.recipe.configured import configured
from segkit.recipe.facts import measure
from segkit.recipe.machine import Budget, machine_of
from segkit.recipe.timing import steps_for
from segkit.recipe.trial import try_out

CONFIGS = Path(__file__).parents[1] / "configs"
UNET = "unet/unet_efficientnet-lite0_camvid.py"
COCO = ["person", "chair", "car", "dining table", "bottle"]


class Case(NamedTuple):
    """A data set and the hand-tuned config that it is compared with.

    Attributes:
        config: below configs/.
        options: values that the config needs for this data set.
        datasets: by section, "train", "val" and perhaps "test", which is then scored.
    """

    config: str
    options: tuple[str, ...]
    datasets: dict[str, dict]


def camvid(config: str) -> Case:
    root = str(resolve_root(None, "camvid"))
    return Case(config, (), {split: dict(type="CamVid", root=root, split=split) for split in ("train", "val", "test")})


def penn() -> Case:
    """170 images, divided by name; a value of a mask is a pedestrian."""
    masks = dict(
        type="Folder",
        root=str(resolve_root(None, "PennFudanPed")),
        classes=("background", "pedestrian"),
        images="PNGImages",
        masks="PedMasks",
        mask_suffix="_mask",
        label_map=dict.fromkeys(range(1, 21), 1),
    )
    parts = {
        part: dict(type="Split", dataset=masks, part=part, ratios=(0.7, 0.3), stratify=False)
        for part in ("train", "val")
    }
    return Case(UNET, ("num_classes=2", "crop_size=(320, 384)"), parts)


def coco() -> Case:
    root = str(resolve_root(None, "coco_mini"))
    parts = {part: dict(type="Labelled", root=root, split=part, classes=COCO) for part in ("train", "val")}
    return Case(UNET, (f"num_classes={len(COCO) + 1}", "crop_size=(352, 480)"), parts)


CASES = {
    "camvid": lambda: camvid(UNET),
    "camvid_fastfcn": lambda: camvid("camvid_study/fastfcn.py"),
    "trash": lambda: camvid("trash_study/base.py"),
    "penn": penn,
    "coco": coco,
}


def hand_tuned(case: Case, budget: Budget) -> tuple[Config, int]:
    """-> the config on the case's data, and the steps that the time holds."""
    cfg = load_config(CONFIGS / case.config, case.options)
    for section, dataset in case.datasets.items():
        cfg[section] = {**(cfg.get(section) or {}), "dataset": dataset}
    if "test" not in case.datasets:
        cfg.pop("test", None)
    measured = try_out(copy.deepcopy(cfg), budget)
    print(f"hand-tuned: {measured.step_seconds:.2f} s a step of {measured.batch} images", flush=True)
    return cfg, steps_for(budget.seconds, measured.step_seconds, 0.0)[0]


def recipe(case: Case, budget: Budget) -> tuple[Config, int]:
    """-> the config of the recipe's choices, and the steps that the time holds."""
    built = DataSets()
    sections = {name: dataset for name, dataset in case.datasets.items() if name != "test"}
    facts = measure("semantic", {name: built.get(dataset, name) for name, dataset in sections.items()})
    first = configured(choose(facts, budget), case.datasets)
    measured = try_out(first, budget, datasets=built)
    choices = choose(facts, budget, measured)
    print(table(choices), flush=True)
    cfg = configured(choices, case.datasets)
    # the batch that is chosen for a short time may be half of the one that was timed
    seconds = measured.step_seconds * cfg["train"]["batch_size"] / measured.batch
    return cfg, steps_for(budget.seconds, seconds, 0.0)[0]


SIDES = {"hand-tuned": hand_tuned, "recipe": recipe}


def prepared(side: str, case: Case, budget: Budget, folder: Path, steps: int) -> Config:
    """The config of a side with its number of steps, as it was when the runs began."""
    file = folder / f"{side.replace('-', '_')}.py"
    if not file.is_file():
        cfg, number = SIDES[side](case, budget)
        cfg["loop"] = {**cfg["loop"], "steps": steps or number, "eval_every": 0}
        file.write_text(dump(cfg), encoding="utf-8")
    return load_config(file)


def score(cfg: Config, folder: Path, device: str, seed: int) -> tuple[float, float]:
    """Trains, or goes on, and scores the last weights -> mIoU and seconds."""
    done = folder / "done.json"
    if not done.is_file():
        start = time.perf_counter()
        cfg["loop"]["seed"] = seed
        result = api.train(cfg, folder, resume=(folder / "last.pt").is_file() or None, device=device)
        if not result.is_finished:
            raise SystemExit(f"{folder}: stopped at step {result.step}; the same command goes on")
        scores = api.evaluate(result.last_checkpoint, device=device)
        done.write_text(json.dumps(dict(mIoU=scores["mIoU"], seconds=time.perf_counter() - start)))
    found = json.loads(done.read_text(encoding="utf-8"))
    return found["mIoU"], found["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=0, help="of both sides, in place of what the time holds")
    parser.add_argument("--out", default="work_dirs/recipe")
    args = parser.parse_args()
    case = CASES[args.case]()
    budget = Budget(60 * args.minutes, machine_of(pick_device(args.device)))
    folder = Path(args.out) / f"{args.case}_{args.minutes:g}m"
    folder.mkdir(parents=True, exist_ok=True)
    configs = {side: prepared(side, case, budget, folder, args.steps) for side in SIDES}
    print("| seed | side | steps | batch | mIoU | seconds |\n" + "|---" * 6 + "|")
    for seed in args.seeds:
        found = {}
        for side, cfg in configs.items():
            found[side], seconds = score(cfg, folder / f"{side}_{seed}", args.device, seed)
            steps, batch = cfg["loop"]["steps"], cfg["train"]["batch_size"]
            print(f"| {seed} | {side} | {steps} | {batch} | {found[side]:.2f} | {seconds:.0f} |", flush=True)
        print(f"seed {seed}: recipe {found['recipe'] - found['hand-tuned']:+.2f} points", flush=True)


if __name__ == "__main__":
    main()
