"""What is said where a process that reads data dies or hangs."""

import contextlib
import re
import shutil
from collections.abc import Iterator

from segkit.files import DataError

WAYS_OUT = "enlarge it (docker run --shm-size=8g), or set a smaller batch_size,"
"""What helps where shared memory is too small."""


class WorkerError(DataError):
    """The processes that read data died or gave nothing; the message names the setting and the way out."""


@contextlib.contextmanager
def explaining_workers(at: str, workers: int, timeout: float) -> Iterator[None]:
    """Turns torch's errors on processes that read data into sentences.

    That one of them has died shows wherever the program is at that moment, hence a block around all of it.

    Args:
        at: config path of the section, "train".
        workers: its setting.
        timeout: its setting.

    Raises:
        WorkerError: a process died, or no batch came in time.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if text.startswith("DataLoader timed out"):
            raise WorkerError(
                f"{at}.timeout = {timeout:g}: the processes that read data ({at}.workers = {workers}) gave no batch "
                f"within {timeout:g} s: shared memory is too small{_shared_memory()}, or a disk hangs; {WAYS_OUT} "
                f"{at}.workers = 0, or a longer {at}.timeout"
            ) from error
        if not text.startswith("DataLoader worker (pid"):
            raise
        killed = re.search(r"killed by signal: ([\w ]+)", text)
        end = f"was killed by signal {killed[1].strip()}" if killed else "died"
        raise WorkerError(
            f"{at}.workers = {workers}: a process that reads data {end}, most often because memory or shared memory "
            f"is too small{_shared_memory()}; {WAYS_OUT} fewer {at}.workers (0 reads in the process that trains, and "
            "shows any other cause)"
        ) from error


def _shared_memory() -> str:
    """How full the memory is through which batches come."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError:
        return ""
    return f" (/dev/shm has {usage.total / 2**20:.0f} MiB, {usage.free / 2**20:.0f} of them free)"
