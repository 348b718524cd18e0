"""What is saved of a run that an error ends."""

import sys
from typing import TYPE_CHECKING

from segkit.engine.process import set_rng_state
from segkit.engine.shard_state import SHARDS
from segkit.engine.terms import NonFiniteLoss

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


def save_what_is_done(loop: "Loop", error: BaseException) -> None:
    """Lets the hooks save the state after the last whole step, and says how to go on from it.

    The weights after that step are whole unless the optimizer was at work. Where a step had begun, torch's generators
    are set back; running statistics of batch norms have seen its images.

    Args:
        loop: that trains.
        error: what ended it; nothing is saved after a NonFiniteLoss.
    """
    if not loop.step or isinstance(error, NonFiniteLoss):
        return
    if loop.is_whole and not loop.is_between_steps:
        set_rng_state(loop.rng_before)
    for hook in loop.hooks:
        try:
            hook.after_break(loop, error)
        except Exception as second:  # the first error is the one to report
            print(f"warning: step {loop.step} is not saved ({second})", file=sys.stderr, flush=True)
    if loop.saved_step == loop.step:
        name = "last.pt" if loop.shards is None else SHARDS
        note = "" if loop.is_between_steps else " (running statistics have seen the images of the step after it)"
        print(
            f"step {loop.step} is saved in {loop.folder / name}{note}; once the cause is removed, start again "
            "with --resume",
            file=sys.stderr,
            flush=True,
        )
    elif loop.shards is not None and loop.is_whole:
        print(
            f"step {loop.step} is not saved, since no process holds all of it; once the cause is removed, start again "
            f"with --resume, which goes on from the newest checkpoint in {loop.folder / SHARDS}",
            file=sys.stderr,
            flush=True,
        )
