"""Averages the weights of checkpoints: segkit average A.pt B.pt ... --out soup.pt [--greedy] [--update-norms 50]."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.files import need_writable
from segkit.registry import ConfigError
from segkit.schema import need_sections

if TYPE_CHECKING:
    from segkit.models.bases import Network


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit average`; returns the exit code."""
    arguments = common.parser("average", __doc__ or "")
    arguments.add_argument("checkpoints", nargs="+", help="two or more checkpoints of one network")
    arguments.add_argument("--out", required=True, help="the file to write, .pt or .safetensors")
    arguments.add_argument(
        "--greedy", action="store_true", help="average those alone that raise the score on section val of the config"
    )
    arguments.add_argument(
        "--update-norms",
        type=int,
        default=0,
        metavar="N",
        help="count the statistics of batch normalization anew on N training batches",
    )
    common.add_device(arguments)
    common.add_trust(arguments)
    return common.run(_average, arguments.parse_args(argv))


def _average(args: argparse.Namespace) -> int:
    from segkit.engine import checkpoint
    from segkit.runners import averaging

    if len({Path(path).resolve() for path in args.checkpoints}) < max(2, len(args.checkpoints)):
        raise ConfigError("segkit average: name two or more different checkpoints")
    if args.update_norms < 0:
        raise ConfigError(f"--update-norms {args.update_norms}: must be 0 or more training batches")
    out = Path(args.out)
    if out.suffix not in (".pt", ".pth", ".safetensors"):
        raise ConfigError(f"--out {out}: must end in .pt or .safetensors")
    common.need_apart(out, args.checkpoints, "choose another --out")
    need_writable(out, "choose another --out")
    if args.greedy:
        content, kept = averaging.greedy(args.checkpoints, _scorer(out, args))
    else:
        content, kept = averaging.average(args.checkpoints), args.checkpoints
    if args.update_norms:
        model = _loaded(content, out, args)
        print(f"statistics of {averaging.update_norms(model, args.update_norms)} batch normalizations are counted anew")
        content["model"] = {name: value.cpu() for name, value in model.state_dict().items()}
    checkpoint.save(out, content)
    print(f"{out}: mean of {len(kept)} checkpoints")
    return 0


def _loaded(content: dict[str, Any], out: Path, args: argparse.Namespace) -> "Network":
    """The model of a checkpoint's content, by way of a file beside --out that is gone afterwards."""
    from segkit import api
    from segkit.engine import checkpoint, setup

    candidate = out.with_name(f".{out.stem}.candidate.pt")
    try:
        checkpoint.save(candidate, content)
        return api.load_model(candidate, device=setup.pick_device(args.device), trust=args.trust)
    finally:
        candidate.unlink(missing_ok=True)


def _scorer(out: Path, args: argparse.Namespace) -> Callable[[dict[str, Any]], float]:
    """What scores the content of a checkpoint on section val, by the score that chooses best.pt; higher is better."""
    from segkit import api
    from segkit.engine import monitor, setup
    from segkit.runners.base import build_runner
    from segkit.settings import LoopSettings

    chosen: list[monitor.Monitor] = []  # the data set is built for it once

    def score(content: dict[str, Any]) -> float:
        model = _loaded(content, out, args)
        cfg = model.config
        if not chosen:
            need_sections(cfg, ("val",))
            metrics = setup.build_metrics(cfg.get("metrics", []), default=build_runner(cfg).default_metrics)
            dataset = setup.DataSets().get(cfg["val"]["dataset"], "val.dataset")
            chosen.append(monitor.choose(LoopSettings(**(cfg.get("loop") or {})), metrics, dataset))
        value = chosen[0].value(api.evaluate(model, split="val"))
        if value is None:
            raise ConfigError(f"--greedy: section val gives no {chosen[0].name}, since nothing could be scored")
        return -value if chosen[0].better == "lower" else value

    return score
