"""Prints a config with the origin of each value, or a registry: segkit config CONFIG | --list heads [--show NAME]."""

import argparse
import inspect

from segkit import registry as reg
from segkit.cli import common
from segkit.constraints.check import words
from segkit.engine.config_values import values
from segkit.schema import check, needs_of

LISTS = {
    "models": reg.MODELS,
    "backbones": reg.BACKBONES,
    "necks": reg.NECKS,
    "heads": reg.HEADS,
    "losses": reg.LOSSES,
    "datasets": reg.DATASETS,
    "transforms": reg.TRANSFORMS,
    "samplers": reg.SAMPLERS,
    "metrics": reg.METRICS,
    "optimizers": reg.OPTIMIZERS,
    "schedules": reg.SCHEDULES,
    "runners": reg.RUNNERS,
    "hooks": reg.HOOKS,
    "refiners": reg.REFINERS,
    "weightings": reg.WEIGHTINGS,
}
"""Registries by their names for --list."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit config`; returns the exit code."""
    arguments = common.parser("config", __doc__ or "")
    arguments.add_argument("config", nargs="?", help=common.CONFIG_HELP)
    arguments.add_argument("--list", choices=sorted(LISTS), help="the classes of one kind, a line each")
    arguments.add_argument("--show", metavar="NAME", help="with --list: arguments and documentation of one class")
    arguments.add_argument("--no-defaults", action="store_true", help="leave out default values")
    common.add_options(arguments)
    return common.run(_config, arguments.parse_args(argv))


def _config(args: argparse.Namespace) -> int:
    if args.list:
        print(describe(LISTS[args.list].get(args.show, "--show")) if args.show else listing(LISTS[args.list]))
        return 0
    if not args.config:
        raise reg.ConfigError(f"give a config file, or --list with one of {', '.join(sorted(LISTS))}")
    from segkit.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    check(cfg)
    for path, value, origin in values(cfg, not args.no_defaults):
        print(f"{path} = {value!r}" + " " * max(2, 60 - len(path) - len(repr(value))) + f"# {origin}")
    return 0


def listing(registry: reg.Registry) -> str:
    """Returns one line per class: its name and the first line of its documentation."""
    names = registry.names()
    width = max(map(len, names), default=0)
    lines = []
    for name in names:
        text = (inspect.getdoc(registry.get(name)) or "").strip().split("\n")[0]
        lines.append(f"{name:{width}}  {text}")
    return "\n".join(lines)


def describe(cls: type) -> str:
    """Returns name, arguments and documentation of a class: each argument on one line with default and valid values."""
    lines, hints = [cls.__name__], needs_of(cls)
    for parameter in inspect.signature(cls).parameters.values():
        needs = f": {words(hints[parameter.name])}" if parameter.name in hints else ""
        default = "(required)" if parameter.default is parameter.empty else f"= {parameter.default!r}"
        lines.append(f"    {parameter.name} {default}{needs}")
    return "\n".join(lines) + f"\n\n{inspect.getdoc(cls) or ''}"
