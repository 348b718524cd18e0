"""Scores a checkpoint: python tools/test.py CONFIG CHECKPOINT [--out metrics.json] [--show DIR] [--tta] [--slide]."""

import argparse
import json
from pathlib import Path
from typing import Any

from segkit.cli import common, instances
from segkit.cli.preflight import needed_sections
from segkit.config import Config, merged
from segkit.registry import ConfigError


def main(argv: list[str] | None = None) -> int:
    """argv: arguments after the command -> exit code."""
    arguments = common.parser("test", __doc__ or "")
    arguments.add_argument("config", help="a config file, or 'none' for the config inside the checkpoint")
    arguments.add_argument("checkpoint")
    arguments.add_argument("--out", help="JSON file for the scores; default metrics.json beside the checkpoint")
    arguments.add_argument(
        "--show", metavar="DIR", help="pictures: image | truth | prediction, and the confusions; of clicks every step"
    )
    arguments.add_argument("--show-count", type=int, default=50, help="pictures at most")
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window of the size of the training crop")
    arguments.add_argument("--split", choices=("test", "val"), default="test", help="section that is scored")
    arguments.add_argument("--sets", nargs="+", metavar="NAME", help="of several named test sets score these alone")
    arguments.add_argument("--device")
    common.add_options(arguments)
    return common.run(_test, arguments.parse_args(argv))


def _test(args: argparse.Namespace) -> int:
    from segkit import dist
    from segkit.api import build_runner, load_model
    from segkit.engine.setup import amp_dtype, build_metrics, pick_device

    device = pick_device(args.device)
    dist.start(device)
    try:
        config = None if args.config.lower() == "none" else args.config
        model = load_model(config, args.checkpoint, device, tuple(args.cfg_options))
        cfg: Config = model.config
        needed_sections(cfg, (args.split if cfg.get(args.split) else "val",))
        cfg["inference"] = with_switches(cfg, tta=args.tta, slide=args.slide)
        dtype = amp_dtype(cfg.get("loop", {}).get("amp", "off") if device.type == "cuda" else "off", device)
        metrics = build_metrics(cfg.get("metrics", []))
        results = {
            name: _score(args, (name, part), (build_runner(of_set(cfg, part)), model, metrics), (device, dtype))
            for name, part in chosen(sections(cfg, args.split), args.sets).items()
        }
        if dist.is_main():
            scores = results[""] if list(results) == [""] else results
            out = Path(args.out) if args.out else Path(args.checkpoint).with_name("metrics.json")
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(scores, indent=1) + "\n")
            _report_clicks(cfg, results, out, args)
            print(f"scores: {out}" + (f"\nmore pictures: {args.show}" if args.show else ""))
    finally:
        dist.stop()
    return 0


def _report_clicks(cfg: Config, results: dict[str, dict], out: Path, args: argparse.Namespace) -> None:
    """The table and curve of the sets whose scores are of clicks."""
    from segkit.cli import clicks

    parts = sections(cfg, args.split)
    named = {name or parts[name]["dataset"]["type"].rpartition(":")[2]: scores for name, scores in results.items()}
    if any(clicks.is_scored(scores) for scores in named.values()):
        method = (cfg["inference"].get("clicks") or {}).get("brs") or "NoBRS"
        picture = out.with_name(f"{out.stem}_clicks.png")
        clicks.report(named, picture, method=method, model=Path(args.checkpoint).stem)


def sections(cfg: Config, split: str) -> dict[str, dict]:
    """-> {name: data section}; the name is "" where `test` is a single set. `val` stands in for a missing `test`."""
    part = cfg.get(split) or cfg["val"]
    return {"": part} if "dataset" in part else dict(part)


def chosen(parts: dict[str, dict], names: list[str] | None) -> dict[str, dict]:
    """The parts of these names, all without names; ConfigError for a name that is none."""
    for name in names or ():
        if name not in parts:
            raise ConfigError(f"--sets {name}: the config names {', '.join(filter(None, parts)) or 'no sets'}")
    return {name: part for name, part in parts.items() if not names or name in names}


def of_set(cfg: Config, part: dict) -> dict:
    """The config with `inference` of a test set over the section `inference`."""
    return {**cfg, "inference": merged(cfg["inference"], part.get("inference") or {})}


def with_switches(cfg: Config, *, tta: bool, slide: bool) -> dict:
    """Section `inference` with --tta and --slide; the window is inference.crop, or the last training crop."""
    inference = dict(cfg.get("inference") or {})
    if tta:
        inference.setdefault("tta", {"scales": (0.75, 1.0, 1.25), "flip": True})
    if slide:
        crops = [t["size"] for t in cfg.get("train", {}).get("transforms", []) if "Crop" in t["type"] and "size" in t]
        if "crop" not in inference and not crops:
            raise ConfigError("--slide: set inference.crop = (height, width); the training has no crop to take it from")
        inference["mode"] = "slide"
        height, width = inference.setdefault("crop", tuple(crops[-1]) if crops else None)
        inference.setdefault("stride", (max(height * 2 // 3, 1), max(width * 2 // 3, 1)))
    return inference


def _score(args: argparse.Namespace, part: tuple[str, dict], parts: tuple, target: tuple) -> dict:
    from segkit import dist
    from segkit.engine.evaluate import evaluate
    from segkit.engine.setup import build_evaluation

    (name, section), (runner, model, metrics), (device, dtype) = part, parts, target
    data = build_evaluation(section, f"{args.split}.{name}" if name else args.split, device)
    show = runner.show(Path(args.show) / name, data[0], args.show_count) if args.show else None
    hooks = (Progress(-(-len(data[0]) // dist.world_size())), *([show] if show else []))
    scores = evaluate(runner, model, data, metrics, device=device, dtype=dtype, hooks=hooks)
    picture = show.finish(metrics, scores) if show else None
    if dist.is_main():
        print((f"{name}\n" if name else "") + table(scores))
        if show:
            print(f"picture: {picture}")
    return scores


class Progress:
    """A bar on a terminal."""

    def __init__(self, total: int):
        from tqdm import tqdm

        from segkit import dist

        self.bar = tqdm(total=total, unit="image", disable=None if dist.is_main() else True, leave=False)

    def after_batch(self, loop: Any, predictions: list, batch: dict) -> None:
        self.bar.update(len(predictions))


def table(scores: dict) -> str:
    """The scores as text: one row per class where there are classes, then the means."""
    lines = []
    if "per_class" in scores:
        columns = [name for name in ("IoU", "Dice", "Acc") if any(name in row for row in scores["per_class"].values())]
        width = max([len(name) for name in scores["per_class"]] + [5])
        lines.append(f"{'class':{width}}" + "".join(f"{name:>9}" for name in columns))
        for name, row in scores["per_class"].items():
            cells = "".join(f"{'-' if row.get(c) is None else format(row[c], '.2f'):>9}" for c in columns)
            lines.append(f"{name:{width}}{cells}")
        lines.append("")
    lines += instances.tables(scores)
    plain = {k: v for k, v in scores.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    lines.append(
        "  ".join(
            f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in plain.items()
        )
    )
    return "\n".join(lines)
