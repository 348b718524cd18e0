"""Long conversions of data sets: several processes, a progress bar, and a journal from which a broken run continues."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from segkit.files import DataError, write_whole

Work = Callable[[str], Any]
"""Computes the result of a job, which JSON can hold, from its name. It runs in another process."""

_work: list[Work] = []
"""What this process computes, set once at its start; only results travel between processes."""


class Journal:
    """The finished jobs of a conversion, one line of JSON each, kept beside its result until that is written.

    Args:
        path: file of the journal; an older one is continued.
        about: the conversion with its options.

    Raises:
        DataError: the older journal was begun with other options, which half of the result would follow.
    """

    def __init__(self, path: Path, about: dict):
        self.path = path
        self.done: dict[str, Any] = {}
        header = json.dumps(about, sort_keys=True)
        lines = self._read()
        if lines and lines[0] != header:
            raise DataError(f"{path}: begun with other options ({lines[0]}); use them again, or remove the file")
        for line in lines[1:]:
            name, result = json.loads(line)
            self.done[name] = result
        # written anew: a line that broke off must not run into the next one
        rows = [header, *(json.dumps([name, result]) for name, result in self.done.items())]
        write_whole(path, ("\n".join(rows) + "\n").encode())
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def _read(self) -> list[str]:
        """The whole lines; the last one of a killed run may have broken off."""
        if not self.path.is_file():
            return []
        return self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]

    def add(self, name: str, result: Any) -> None:
        """Writes down a finished job at once."""
        self.done[name] = result
        self._file.write(json.dumps([name, result]) + "\n")
        self._file.flush()

    def close(self, *, is_finished: bool) -> None:
        """Closes the journal, and removes it where the conversion is finished."""
        self._file.close()
        if is_finished:
            self.path.unlink(missing_ok=True)


def run_jobs(names: Sequence[str], work: Work, journal: Journal, *, processes: int, label: str) -> dict[str, Any]:
    """Runs all jobs that the journal does not hold yet.

    An error ends all processes and is raised; what is finished stays in the journal.

    Args:
        names: of the jobs.
        work: computes the result of a job.
        journal: takes the results.
        processes: how many processes work at once.
        label: text of the progress bar.

    Returns:
        The result of each job by its name, in the order of names.
    """
    from tqdm import tqdm

    known = set(names)
    left = [name for name in names if name not in journal.done]
    bar = tqdm(total=len(known), initial=len(known) - len(left), desc=label, unit="item", disable=None)
    try:
        for name, result in _results(left, work, processes):
            journal.add(name, result)
            bar.update()
    finally:
        bar.close()
    return {name: journal.done[name] for name in names}


START = "fork" if sys.platform == "linux" else "spawn"
"""How processes begin: forked ones inherit `work` and the index it reads, spawned ones get a copy."""


def _results(names: Sequence[str], work: Work, processes: int) -> Iterator[tuple[str, Any]]:
    import multiprocessing

    if processes <= 1 or len(names) < 2:
        yield from ((name, work(name)) for name in names)
        return
    with multiprocessing.get_context(START).Pool(processes, _start, (work,)) as pool:
        yield from pool.imap_unordered(_do, names, chunksize=max(1, min(16, len(names) // (4 * processes))))


def _start(work: Work) -> None:
    # Ctrl-C reaches every process of a terminal; the main one decides when the others end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    _work[:] = [work]


def _do(name: str) -> tuple[str, Any]:
    return name, _work[0](name)
