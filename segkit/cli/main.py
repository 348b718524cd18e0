"""The console command `segkit`: train, test, predict, config and the other tools by name."""

import importlib
import os
import sys

COMMANDS = {
    "train": "train a model from a config",
    "test": "score a checkpoint, write a table, JSON and pictures",
    "predict": "label images, folders and globs",
    "config": "print a config with the origin of each value; list a registry",
    "browse": "a grid of samples before and after augmentation",
    "benchmark": "parameters, MACs, steps per second, memory of a config",
    "convert": "a published checkpoint to one of segkit",
    "analyze": "statistics of a data set's classes",
    "prepare": "a data set in the format that training with clicks reads",
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command of segkit.

    Args:
        argv: the command and its arguments, sys.argv by default.

    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: segkit COMMAND ...\n\n" + "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items()))
        return 0
    if argv[0] in ("-V", "--version"):
        from segkit import __version__

        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        from segkit.registry import did_you_mean

        print(f"segkit: no command '{argv[0]}'{did_you_mean(argv[0], COMMANDS)}", file=sys.stderr)
        return 2
    try:
        code = importlib.import_module(f"segkit.cli.{argv[0]}").main(argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # the reader, such as `head`, has what it wants; without this Python complains again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
