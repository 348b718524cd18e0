"""Functions of all commands: options, errors as one sentence, the checkpoint and its config."""

import argparse
import errno
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from segkit.cli.allocator import keep_pages
from segkit.config import Config, load_config
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.schema import check

CONFIG_SUFFIXES = (".py", ".yaml", ".yml")

CONFIG_HELP = "a .py or .yaml config file, or segkit:NAME for one of segkit's own"
"""Help of the argument that names a config."""
MOST_LISTED = 20
"""Files that a list of failures names."""


class Parser(argparse.ArgumentParser):
    """A parser that tells where values of the config belong. Arguments as argparse.ArgumentParser."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with the usage and the message."""
        if message.startswith("unrecognized arguments") and "=" in message and "--cfg-options" in self.format_usage():
            message += "; values that win over the config file stand behind --cfg-options"
        super().error(message)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Returns the parser of a command, whose help begins with the description."""
    return Parser(prog=f"segkit {name}", description=description)


def add_options(arguments: argparse.ArgumentParser) -> None:
    """Adds --cfg-options."""
    arguments.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="a.b=value", help="values that win over the config file"
    )


def add_device(arguments: argparse.ArgumentParser) -> None:
    """Adds --device."""
    arguments.add_argument(
        "--device",
        metavar="auto|cpu|cuda|cuda:N|mps|xpu",
        help="where the network runs; auto, the default, is a CUDA GPU where there is one, else the CPU",
    )


def add_reading(arguments: argparse.ArgumentParser) -> None:
    """Adds --exif, --nodata, --scale and --bands: how images that no data set lists are read."""
    arguments.add_argument(
        "--exif",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="turn images by the orientation that they state; default: as the test data set of the config",
    )
    arguments.add_argument(
        "--nodata",
        metavar="VALUE",
        help="value of pixels without data, nan, or one value per channel (0,0,0); default: as the test data set",
    )
    arguments.add_argument(
        "--scale",
        metavar="LOW,HIGH",
        help="stored values that become 0 and 255: 0,4095 or percentiles p1,p99; none: as stored; default: as the test "
        "data set",
    )
    arguments.add_argument(
        "--bands",
        metavar="N,N,N",
        help="bands of the files that become the channels, counted from 1; none: all; default: as the test data set",
    )


def reading_given(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of --exif, --nodata, --scale and --bands as keyword arguments of `inputs_of`.

    Raises:
        ConfigError: one of them cannot be read.
    """
    return {
        "exif": args.exif,
        "nodata": _nodata(args.nodata),
        "scale": _scale(args.scale),
        "bands": _bands(args.bands),
    }


def _nodata(text: str | None) -> str | list[float] | None:
    """Text for one number or nan, numbers for one of each channel."""
    try:
        return text if text is None or "," not in text else [float(value) for value in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--nodata {text}: must be a number, nan, or one number for each channel: 0,0,0") from error


def _scale(text: str | None) -> str | list[float | str] | None:
    if text is None or text.lower() == "none":
        return text
    ends = [end.strip() for end in text.split(",")]
    try:
        return [end if end.lower().startswith("p") else float(end) for end in ends]
    except ValueError as error:
        raise ConfigError(f"--scale {text}: must be LOW,HIGH such as 0,4095 or p1,p99, or none") from error


def _bands(text: str | None) -> str | list[int] | None:
    if text is None or text.lower() == "none":
        return text
    try:
        return [int(band) for band in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--bands {text}: must be whole numbers from 1 on, such as 3,2,1, or none") from error


def add_trust(arguments: argparse.ArgumentParser) -> None:
    """Adds --trust."""
    arguments.add_argument(
        "--trust",
        action="store_true",
        help="let the config inside the checkpoint name classes outside of segkit, whose code then runs",
    )


def load_checked(path: str, options: list[str]) -> Config:
    """Loads a config and checks it against every constructor that it names; ConfigError where it is wrong."""
    cfg = load_config(path, options)
    check(cfg)
    return cfg


def run(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Runs a command, and turns an error of the user's input into one message on stderr without a traceback.

    Args:
        main: the command.
        args: its parsed arguments.

    Returns:
        The command's exit code; 2 after such an error.
    """
    keep_pages()

    try:
        return main(args)
    except BrokenPipeError:
        raise  # for segkit.cli.main: the reader has what it wants
    except OSError as error:
        say_error(f"{type(error).__name__}: {sentence_of(error)}")
        return 2
    except _errors("segkit.engine.world.OtherFailed") as error:
        from segkit import dist

        if dist.local_rank() == 0:
            say_error(f"{type(error).__name__}: {error}")
        return 2
    except _errors("segkit.engine.checkpoint.CheckpointError", "segkit.engine.terms.NonFiniteLoss", ours=TOLD) as error:
        # a worker process wraps the message in its traceback; the user needs the sentence
        name = type(error).__name__
        text = str(error).rpartition(f"{name}: ")[2] if "Original Traceback" in str(error) else str(error)
        say_error(f"{name}: {text.strip()}")
        return 2


TOLD = (ConfigError, DataError)
"""Errors of the user's input that need no engine."""


def _errors(*names: str, ours: tuple[type[Exception], ...] = ()) -> tuple[type[Exception], ...]:
    """`ours` and errors of the engine by name; the latter exist where it was loaded, and torch with it."""
    pairs = [name.rsplit(".", 1) for name in names]
    return (*ours, *(getattr(sys.modules[module], name) for module, name in pairs if module in sys.modules))


def say_error(text: str) -> None:
    """Prints an error on stderr; of several processes that end with the same one the first alone does.

    Args:
        text: begins with the name of the error; "[rank N]" is put before it where several processes run.
    """
    prefix = ""
    if "torch" in sys.modules:  # without it there is one process
        from segkit import dist
        from segkit.engine import meeting

        if not meeting.report(text):
            return
        prefix = f"[rank {dist.launched_rank()}] " if dist.is_launched() else ""
    print(f"{prefix}{text}", file=sys.stderr, flush=True)


WAYS_OUT = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check its rights",
    errno.EPERM: "check its rights",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "a part of this path is a file; name another folder",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOSPC: "free space or choose another folder",
    errno.EDQUOT: "free space or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower train.workers",
}
"""What the user can do about an error of the system."""


def sentence_of(error: OSError) -> str:
    """Returns file, reason and way out of an error of the system as one sentence."""
    if error.errno is None or error.filename is None:
        way_out = WAYS_OUT.get(error.errno or 0, "")
        return f"{error}; {way_out}" if way_out and way_out not in str(error) else str(error)
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{names}: {error.strerror}; {WAYS_OUT.get(error.errno, 'check the path, its rights and the disk')}"


def need_apart(path: str | Path, sources: Iterable[str | Path], remedy: str) -> None:
    """Checks that a result does not take the place of what it is made from.

    Args:
        path: the file or folder to write.
        sources: files and folders that are read.
        remedy: end of the error's sentence.

    Raises:
        ConfigError: it is one of the sources.
    """
    for source in sources:
        if Path(path).resolve() == Path(source).resolve():
            raise ConfigError(f"{path}: is read by this command, and the result would replace it; {remedy}")


def print_failures(failures: Mapping[Path, str], total: int, noun: str) -> None:
    """Lists what a command had to leave out, on stderr; 20 at most.

    Args:
        failures: the reason of each file.
        total: files in all.
        noun: what the files are, "images".
    """
    print(f"{len(failures)} of {total} {noun} failed:", file=sys.stderr)
    for file, reason in list(failures.items())[:MOST_LISTED]:
        print(f"  {reason}" if str(file) in reason else f"  {file}: {reason}", file=sys.stderr)
    if len(failures) > MOST_LISTED:
        print(f"  ... and {len(failures) - MOST_LISTED} more", file=sys.stderr)


def is_config(word: str) -> bool:
    """Returns whether a word of the command line names a config: a .py, .yaml or .yml file, or a packaged one."""
    return word.startswith("segkit:") or word.lower().endswith(CONFIG_SUFFIXES)


def split_config(words: list[str], config: str | None) -> tuple[str | None, list[str]]:
    """Separates a config from the words of a command that takes a checkpoint.

    `segkit test CHECKPOINT --config FILE` and mmsegmentation's order, `segkit test CONFIG CHECKPOINT`, mean the same;
    "none" in place of CONFIG is the config inside the checkpoint.

    Args:
        words: positional arguments.
        config: value of --config.

    Returns:
        The config, None for the one inside the checkpoint; and the other words.

    Raises:
        ConfigError: the command names two configs.
    """
    if len(words) > 1 and (words[0].lower() == "none" or is_config(words[0])):
        first, *words = words
        if config is not None:
            raise ConfigError(f"--config {config}: the command names the config {first} as well; give one of them")
        config = None if first.lower() == "none" else first
    return config, words


CHECKPOINTS = (".pt", ".pth", ".safetensors")
"""Endings of checkpoints, by which a command that takes several tells them from images."""


def split_checkpoints(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates the checkpoints of a command from the images after them.

    Args:
        words: the first is a checkpoint; those after it are as long as they end in .pt, .pth or .safetensors and are no
            folder.

    Returns:
        Checkpoints; and the other words.

    Raises:
        ConfigError: nothing follows the checkpoints.
    """
    count = 1
    while count < len(words) and words[count].lower().endswith(CHECKPOINTS) and not Path(words[count]).is_dir():
        count += 1
    if count == len(words):
        raise ConfigError(f"{words[-1]}: give images, folders or globs after the checkpoint")
    return list(words[:count]), list(words[count:])


def data_section(cfg: Config, split: str) -> tuple[dict, str]:
    """Returns a data section and its config path.

    Args:
        cfg: the config.
        split: "train", "val" or "test"; of several named test sets the first is taken, and val stands in for a missing
            `test`.

    Raises:
        ConfigError: the config has no such section.
    """
    if split == "test" and not cfg.get("test"):
        split = "val"
    section = cfg.get(split)
    if not section:
        raise ConfigError(f"--split {split}: {cfg.file} has no section `{split}`")
    if "dataset" in section:
        return section, split
    name, section = next(iter(section.items()))
    return section, f"{split}.{name}"
