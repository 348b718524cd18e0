"""Converts a published checkpoint: segkit convert FILE OUT --from MAP --config CONFIG; --list: the maps.

MAP may be a project that has several (mmseg, smp, torchvision, hrnet, semseg, espnet); without --from all are tried.

Files that describe their network need no --config: segkit convert FILE OUT --from ritm; and with --from smp a folder
that save_pretrained of segmentation_models wrote.

Files that hold differences to other weights (EoMT on DINOv3) take these, too: --base FILE.

The way back, for the projects that have one: segkit convert CHECKPOINT OUT --to FORM.
"""

import argparse
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.files import need_writable
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from segkit.models.bases import Network


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit convert`; returns the exit code."""
    arguments = common.parser("convert", __doc__ or "")
    arguments.add_argument(
        "file", nargs="?", help="the published .pth, .pt or .safetensors; its pickle is not executed"
    )
    arguments.add_argument("out", nargs="?", help="the checkpoint to write, .pt or .safetensors")
    arguments.add_argument("--from", dest="source", help="name of a key map, or of a project; all are tried without it")
    arguments.add_argument("--to", dest="target", help="write a checkpoint of segkit in another project's form")
    arguments.add_argument("--config", help="the config of the same model in segkit")
    arguments.add_argument("--base", help="the weights that FILE holds differences to, where it says so")
    arguments.add_argument("--list", action="store_true", help="print the available key maps")
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_convert, arguments.parse_args(argv))


def _convert(args: argparse.Namespace) -> int:
    from segkit.convert.find_map import Fit, family, fit
    from segkit.convert.keymap import all_maps

    if args.list:
        for name, keymap in all_maps().items():
            print(f"{name:24}{keymap.source}  {keymap.url}")
        return 0
    if args.out:
        common.need_apart(args.out, [args.file], "choose another OUT")
        need_writable(args.out, "choose another OUT")
    if args.file and args.out and args.target and not args.source:
        return _export(args)
    if args.file and args.out and args.source and not args.config:
        return _convert_described(args)
    if not (args.file and args.out and args.config) or args.target:
        raise ConfigError("give FILE OUT [--from MAP] --config CONFIG, or CHECKPOINT OUT --to FORM, or --list")
    from segkit.engine import checkpoint
    from segkit.registry import build_model, without_start_weights

    maps = family(args.source) if args.source else None
    cfg = common.load_checked(args.config, args.cfg_options)
    weights, meta = _read(args.file)
    model = build_model(without_start_weights(cfg["model"]))
    if maps is not None and len(maps) == 1:  # its check says what is wrong
        found = Fit(*next(iter(maps.items())), weights)
    else:
        found = fit(weights, model, maps)
    shapes = {name: tuple(value.shape) for name, value in found.weights.items()}
    print(found.keymap.check(shapes, model.state_dict()))
    base = _base(args.base, model, found.keymap.adds_to) if args.base else None
    print(checkpoint.load_weights(model, found.apply(base), args.file))
    if caution := found.keymap.caution(model):
        print(f"note: {caution}")
    checkpoint.save(args.out, content_of(model, cfg, meta))
    print(f"written: {args.out}")
    return 0


def _base(path: str, model: "Network", part: str) -> "dict[str, Tensor]":
    """The weights of a part of the model, from a file of any project, by segkit's names."""
    from segkit.convert.find_map import NoFit, fit

    others = {name for name in model.state_dict() if not name.startswith(part or "backbone.")}
    try:
        return fit(_read(path)[0], model, drop=tuple(sorted(others))).apply()
    except NoFit as error:
        raise ConfigError(f"--base {path}: {error}") from error


def _convert_described(args: argparse.Namespace) -> int:
    from segkit import api
    from segkit.convert.find_map import family
    from segkit.engine import checkpoint

    source = next(iter(family(args.source).values())).source.partition(",")[0]
    if checkpoint.read(args.file).get("source") != args.source:
        raise ConfigError(f"{args.file}: does not describe its network, as files of {source} do; give --config CONFIG")
    model = api.load_model(None, args.file, options=tuple(args.cfg_options), trust=args.trust)
    checkpoint.save(args.out, content_of(model, model.config, {}) | {"classes": model.classes})
    print(f"{source}: {len(model.state_dict())} tensors matched\nwritten: {args.out}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from segkit.convert.keymap import export
    from segkit.engine import checkpoint
    from segkit.engine.lora import merged
    from segkit.readers.state_dict import weights_in

    try:
        stored = checkpoint.read(args.file)
        section = (stored.get("config") or {}).get("model")
        content = export(merged(checkpoint.scored_weights(stored)), args.target, section)
        if args.out.endswith(".safetensors"):  # holds tensors by name alone
            content = {"model": weights_in(content, args.out)}
        checkpoint.save(args.out, content)
    except ValueError as error:
        raise ConfigError(f"{args.file}: {error}") from error
    print(f"written: {args.out}")
    return 0


def content_of(model: "Network", cfg: dict, meta: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a checkpoint without optimizer.

    Args:
        model: gives the weights.
        cfg: the config of the model.
        meta: of the published file; classes and palette are kept where it names them.
    """
    from segkit import __version__
    from segkit.config import plain_values
    from segkit.convert.published import described

    content = {"model": model.state_dict(), "config": plain_values(dict(cfg)), "segkit_version": __version__}
    return content | described(meta)


def _read(path: str) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Weights of a published file, and its meta data."""
    from segkit.convert.published import read_published
    from segkit.engine import checkpoint

    if str(path).endswith(".safetensors"):
        return checkpoint.read(path)["model"], {}
    try:
        return read_published(path)
    except ValueError as error:
        raise checkpoint.CheckpointError(str(error)) from error
