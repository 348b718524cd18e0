"""Seconds of a click model for an image and for each click on it, apart: what depends on the image is encoded once.

    python benchmarks/click_seconds.py [simpleclick_xt segnext_clicks_b ...] [--size 448] [--clicks 4] [--repeats 3]
    python benchmarks/click_seconds.py segnext_clicks_b:model.fusion_depth=0 --device cuda

Names are files of configs/_base_/models, options of the config behind colons. All models take turns, in one process;
the least of the repeats after one to warm up. Weights are random: the time of a network does not depend on them.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from segkit.config import load_config  # noqa: E402
from segkit.models.click_segmentor import ClickSegmentor  # noqa: E402
from segkit.registry import build_model, without_start_weights  # noqa: E402


def model_of(words: str, device: str) -> ClickSegmentor:
    name, *options = words.split(":")
    cfg = load_config(ROOT / f"configs/_base_/models/{name}.py", ["num_classes=1", *options])
    torch.manual_seed(0)
    return build_model(without_start_weights(cfg["model"])).to(device).eval()


def seconds(call: Callable, device: str) -> float:
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["simpleclick_xt", "simpleclick_b", "segnext_clicks_b"])
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--clicks", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    models = {words: model_of(words, args.device) for words in args.models}
    size = (args.size, args.size)
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, device=args.device)
    clicks = torch.tensor([[[30.0, 40.0, 0.0], [-1.0, -1.0, -1.0]]], device=args.device)
    times: dict[str, list[tuple[float, float]]] = {words: [] for words in models}
    for _ in range(args.repeats + 1):
        for words, model in models.items():
            kept = []
            first = seconds(lambda: kept.append(model.encode(model.normalize(image))), args.device)  # noqa: B023

            def answers() -> None:
                for _ in range(args.clicks):
                    model.probabilities_of(kept[0], clicks)  # noqa: B023

            times[words].append((first, seconds(answers, args.device) / args.clicks))
    print(f"\n{args.size} x {args.size}, {args.clicks} clicks, {args.device}\n")
    print("| model | image | each click | 20 clicks, image encoded at each / once |\n|---|---|---|---|")
    for words, pairs in times.items():
        encode, answer = (min(pair[i] for pair in pairs[1:]) for i in (0, 1))
        ratio = 20 * (encode + answer) / (encode + 20 * answer)
        print(f"| {words} | {encode:.3f} s | {answer:.3f} s | {ratio:.2f} |")


if __name__ == "__main__":
    main()
