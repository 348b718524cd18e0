"""Interactive training and evaluation against the published structure: HRNet-18s with OCR, in one process, as ratios.

    python benchmarks/interactive.py train [--batch 4] [--size 320 480] [--repeats 5] [--device cpu]
    python benchmarks/interactive.py evaluate [--images 8] [--clicks 6] [--size 400] [--batch 1] [--repeats 3]

train: a step with three rounds of clicks and the graded pass, forward, losses, backward, Adam. evaluate: clicks on
images of random textures, as the predictor of each side runs them, mirrored copy and zoom-in included; with --batch
many images at once against one at a time. Both sides in turns; best of the repeats after one to warm up. Weights are
random: the time of a network does not depend on them.
"""

import argparse
import copy
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import interactive_peers as peer  # noqa: E402

from segkit.config import load_config  # noqa: E402
from segkit.criterion import build_criterion  # noqa: E402
from segkit.engine.optim import build_optimizer  # noqa: E402
from segkit.registry import build_model, without_start_weights  # noqa: E402
from segkit.runners.interactive.runner import Interactive  # noqa: E402
from segkit.runners.interactive.simulate import simulate  # noqa: E402
from segkit.settings import ClickInference  # noqa: E402

CONFIG = Path(__file__).parents[1] / "configs/_base_/models/ritm_hrnet18s.py"
ROUNDS = 3


class Rounds:
    """Always as many rounds of clicks as there can be."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def integers(self, high: int) -> int:
        return high - 1 if high <= ROUNDS + 1 else int(self.rng.integers(high))


def best(call: Callable, repeats: int, device: str) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def batch_of(size: tuple[int, int], batch: int, device: str) -> dict:
    rng = torch.Generator().manual_seed(0)
    clicks = torch.full((batch, 48, 3), -1.0)
    clicks[:, 0], clicks[:, 24] = torch.tensor([150.0, 200, 100]), torch.tensor([20.0, 30, 100])
    mask = torch.zeros(batch, *size)
    mask[:, size[0] // 4 : size[0] * 3 // 4, size[1] // 4 : size[1] * 3 // 4] = 1
    image = torch.randint(0, 256, (batch, 3, *size), generator=rng, dtype=torch.uint8)
    return {key: value.to(device) for key, value in dict(image=image, clicks=clicks, mask=mask).items()}


def train(args: argparse.Namespace) -> None:
    cfg = load_config(CONFIG, ["num_classes=1"])
    batch = batch_of(tuple(args.size), args.batch, args.device)
    steps = {}
    for name in ("segkit", "segkit, not channels last", "published structure"):
        model = build_model(without_start_weights(cfg["model"])).to(args.device).train()
        if name == "segkit" and cfg["loop"]["channels_last"]:
            model = model.to(memory_format=torch.channels_last)
        optimizer, criterion = build_optimizer(cfg["optimizer"], model), build_criterion(cfg["losses"], True)
        steps[name] = (plain_step if "published" in name else own_step)(model, batch, optimizer, criterion)
    times = {name: best(step, args.repeats, args.device) for name, step in steps.items()}
    report(times, f"training step, {ROUNDS} rounds, batch {args.batch}, {args.size[0]}x{args.size[1]}, {args.device}")


def own_step(model, batch, optimizer, criterion) -> Callable:
    runner, rounds = Interactive(iterations=ROUNDS), Rounds()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        own = dict(batch)
        if next(model.parameters()).is_contiguous(memory_format=torch.channels_last):
            own["image"] = own["image"].contiguous(memory_format=torch.channels_last)
        outputs = runner.forward(model, own, rounds)
        sum(criterion(outputs, own, 0).values()).backward()
        optimizer.step()

    return step


def plain_step(model, batch, optimizer, criterion) -> Callable:
    rng = np.random.default_rng(0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        image, clicks = batch["image"].float() / 255, batch["clicks"]
        previous = torch.zeros(len(image), 1, *image.shape[-2:], device=image.device)
        with torch.no_grad():
            model.eval()
            for order in range(1, ROUNDS + 1):
                previous = peer.run(model, image, clicks, previous)[0].sigmoid()
                clicks = peer.next_clicks(previous, batch["mask"], clicks, order, rng)
            model.train()
        logits, coarse = peer.run(model, image, clicks, previous)
        sum(criterion({"logits": logits, "coarse.logits": coarse}, batch, 0).values()).backward()
        optimizer.step()

    return step


def evaluate(args: argparse.Namespace) -> None:
    cfg = load_config(CONFIG, ["num_classes=1"])
    plain_model = build_model(without_start_weights(cfg["model"])).to(args.device).eval()
    layout = torch.channels_last if cfg["loop"]["channels_last"] else torch.preserve_format
    model = copy.deepcopy(plain_model).to(memory_format=layout)
    size = tuple(args.size) if len(args.size) == 2 else (args.size[0], args.size[0])
    data = batch_of(size, args.images, args.device)
    images, masks = list(data["image"]), [mask.cpu().numpy().astype(np.int8) for mask in data["mask"]]
    settings = ClickInference(zoom=dict(target=size, skip=-1), max_clicks=args.clicks, target_iou=1.01)
    published = Published(plain_model)

    def own(at_once: int) -> Callable:
        groups = range(0, len(images), at_once)
        return lambda: [simulate(model, images[i : i + at_once], masks[i : i + at_once], settings) for i in groups]

    def plain() -> None:
        for image, mask in zip(images, masks):
            simulate(published, [image], [mask], dataclasses.replace(settings, fold_norms=False))

    sides = {"segkit": own(1), "published structure": plain}
    if args.batch > 1:
        sides = {f"segkit, {args.batch} at once": own(args.batch), "segkit, one at a time": own(1), **sides}
    times = {name: best(call, args.repeats, args.device) for name, call in sides.items()}
    report(times, f"evaluation, {args.images} images of {size[0]}x{size[1]}, {args.clicks} clicks each, {args.device}")


class Published(torch.nn.Module):
    """The same network for the same predictor, but all work done: every map of every click, the whole attention, both
    outputs at full size."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model, self.has_previous, self.align_corners = model, True, True

    def normalize(self, image: torch.Tensor) -> torch.Tensor:
        return self.model.normalize(image)

    def guidance(self, clicks, size, previous=None) -> torch.Tensor:
        return peer.guidance(clicks, size, previous)

    def run(self, normalized: torch.Tensor, guidance: torch.Tensor) -> dict:
        image, stem_add = self.model.guide(normalized, guidance)
        logits, coarse = peer.head_outputs(self.model.head, self.model.backbone(image, stem_add))
        full = [peer.F.interpolate(o, image.shape[-2:], mode="bilinear", align_corners=True) for o in (logits, coarse)]
        return {"logits": full[0], "coarse.logits": full[1]}


def report(times: dict[str, float], title: str) -> None:
    print(f"\n{title}\n\n| | seconds | published / this |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {seconds:.3f} | {times['published structure'] / seconds:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "evaluate"))
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--size", type=int, nargs="+", default=None)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--clicks", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    is_training = args.what == "train"
    args.batch = args.batch or (4 if is_training else 1)
    args.size = args.size or ([320, 480] if is_training else [400, 400])
    (train if is_training else evaluate)(args)


if __name__ == "__main__":
    main()
