"""Calls hooks, so that one that only observes cannot end a training."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_WARNED = "_has_warned"
"""Attribute of an observer that has failed once."""


@contextlib.contextmanager
def observing(observer: object, what: str = "") -> Iterator[None]:
    """Turns an error inside the block into a warning, the first time; what follows the block goes on.

    Args:
        observer: whose work the block is; it remembers that it has warned.
        what: names the work in the warning; the observer's class by default.
    """
    try:
        yield
    except Exception as error:  # whatever it is, it changes no number
        if not getattr(observer, _WARNED, False):
            with contextlib.suppress(AttributeError):
                setattr(observer, _WARNED, True)
            reason = f"{type(error).__name__}: {error}"
            tell(
                f"warning: {what or type(observer).__name__} failed and is left out ({reason}); the run goes on, and "
                "this is said once"
            )


def tell(line: str) -> None:
    """Writes a line to stderr, above a progress bar where one stands."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def notify(hooks: Sequence[Any], method: str, *arguments: Any) -> None:
    """Calls a method of each hook in order; one with `is_observer` may fail, which is a warning.

    Args:
        hooks: hooks, and what draws pictures of an evaluation.
        method: name of the method.
        arguments: of the method.
    """
    for hook in hooks:
        with observing(hook) if getattr(hook, "is_observer", False) else contextlib.nullcontext():
            getattr(hook, method)(*arguments)
