"""What every command shares: options, errors as one sentence, the work folder."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from segkit.config import Config, load_config
from segkit.registry import ConfigError
from segkit.schema import check


def parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"segkit {name}", description=description)


def add_options(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="a.b=value", help="values that win over the config file"
    )


def load_checked(path: str, options: list[str]) -> Config:
    """The config, loaded and checked against every constructor it names."""
    cfg = load_config(path, options)
    check(cfg)
    return cfg


def run(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Runs a command; an error of the user's input is one message on stderr and exit code 2, without a traceback."""
    from segkit.engine.checkpoint import CheckpointError
    from segkit.engine.loop import NonFiniteLoss
    from segkit.files import DataError

    try:
        return main(args)
    except (ConfigError, CheckpointError, DataError, NonFiniteLoss) as error:
        # A worker process wraps the message in its traceback; the user needs the sentence.
        name = type(error).__name__
        text = str(error).rpartition(f"{name}: ")[2] if "Original Traceback" in str(error) else str(error)
        print(f"{name}: {text.strip()}", file=sys.stderr)
        return 2


def data_section(cfg: Config, split: str) -> tuple[dict, str]:
    """split: "train", "val" or "test" -> its section and config path; of several named test sets the first."""
    section = cfg.get(split)
    if not section:
        raise ConfigError(f"--split {split}: {cfg.file} has no section `{split}`")
    if "dataset" in section:
        return section, split
    name, section = next(iter(section.items()))
    return section, f"{split}.{name}"


def resolve_losses(cfg: Config) -> None:
    """Class weights named by a law become the numbers of the training masks, in place. A runner with losses of its own
    trains on labels of its own, and resolves them stage by stage."""
    from segkit.data.statistics import asks_for_statistics, resolve_class_weights
    from segkit.engine.setup import build_dataset

    if "losses" not in (cfg.get("runner") or {}) and asks_for_statistics(cfg["losses"]):
        cfg["losses"] = resolve_class_weights(cfg["losses"], build_dataset(cfg["train"]["dataset"]))


def work_folder(args_folder: str | None, config: str) -> Path:
    """--work-dir, or work_dirs/<config name>; made and tried at once, so that a long run does not end in an error."""
    folder = Path(args_folder) if args_folder else Path("work_dirs") / Path(config).stem
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--work-dir {folder}: cannot be written ({error.strerror}); choose another") from error
    return folder
