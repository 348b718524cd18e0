"""The folder of a run: refused where another run lies in it, locked while one lives, cleaned of what dead ones left."""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from segkit import dist
from segkit.engine.shard_state import SHARDS, remove_old
from segkit.registry import ConfigError

LOCK = ".lock"
"""File that says which process trains in the folder."""

RUN_FILES = ("last.pt", "best.pt", "log.jsonl", "config.py", SHARDS)
"""Any of them makes a folder a used one."""

STAGE_FILES = ("last.pt", "best.pt", "log.jsonl", SHARDS)
"""The same of the folder of a stage, inside a run's folder."""

WRITTEN = (
    *(name for name in RUN_FILES if name != SHARDS),
    "step_*.pt",
    "events.out.tfevents.*",
    "metrics.json",
    "report.html",
    "scores.json",
    "growth.png",
    "pictures/val_*.png",
    "pictures/steps.png",
    "pictures/growth/step_*.png",
)
"""What a run writes into its folder and those of its stages; a new run that overwrites it removes these alone."""

BEAT = 5.0
"""Seconds between two signs of life of a run."""

PATIENCE = 20.0
"""Seconds without one, after which a run on another machine counts as dead."""

_DRAFT = re.compile(r"\..+\.(\d+)\.(?:part|tmp)")
_CLAIM = ".saving_*"


@contextlib.contextmanager
def held(
    folder: Path,
    *,
    resumes: bool = False,
    overwrites: bool = False,
    option: str = "--work-dir",
    work: str = "training",
) -> Iterator[None]:
    """Keeps other runs out of a folder during the block. All processes of a run call it; the main one holds the lock.

    Args:
        folder: of the run; it exists.
        resumes: whether the run goes on from a checkpoint.
        overwrites: whether another run in the folder may be replaced.
        option: of the command that names the folder, for the error.
        work: what a run does in it, for the error.

    Raises:
        ConfigError: a run lives in the folder, or another one lies in it and is neither resumed nor overwritten.

    A block that fails before anything is written leaves no empty folder behind.
    """
    lock, refusal = _Lock(folder / LOCK, option, work), ""
    if dist.is_main():
        try:
            lock.take()
            if not resumes and not overwrites:
                refuse_used(folder, [folder, *sorted(folder.glob("step*"))])
            remove_leftovers(folder)
        except ConfigError as error:
            lock.release()
            refusal = str(error)
    if refusal := dist.gather_objects(refusal)[0]:
        raise ConfigError(refusal)
    try:
        yield
    except BaseException:
        lock.release()
        if dist.is_main():
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing was written: rmdir leaves a folder that holds anything
        raise
    finally:
        lock.release()


def made(folder: Path) -> Path:
    """Returns the folder, made on the main process: those of other machines may not be able to."""
    if dist.is_main():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_used(folder: Path, folders: Sequence[Path]) -> None:
    """Raises ConfigError where one of the folders, the run's or those of stages, holds files of a run."""
    found = [
        path.relative_to(folder)
        for place in folders
        for name in (RUN_FILES if place == folder else STAGE_FILES)
        if (path := place / name).exists()
    ]
    if found:
        names = ", ".join(map(str, found[:4])) + (", ..." if len(found) > 4 else "")
        raise ConfigError(
            f"--work-dir {folder}: holds a run ({names}); go on with it by --resume, replace it by --overwrite, or "
            "choose another folder"
        )


def clear(folders: Sequence[Path]) -> None:
    """Removes what a run has written into these folders, and nothing else."""
    for folder in folders:
        for pattern in WRITTEN:
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        remove_old(folder / SHARDS, 0)


def remove_leftovers(folder: Path) -> None:
    """Removes drafts of files whose process is dead, in the folder and below. Only the holder of the lock calls it."""
    places = [folder, *(path for path in folder.glob("*") if path.is_dir()), *folder.glob("*/growth")]
    for path in (path for place in places for path in place.glob(".*")):
        draft = _DRAFT.fullmatch(path.name)
        is_dead = draft is not None and (int(draft[1]) == os.getpid() or not _lives(int(draft[1])))
        if is_dead or path.match(_CLAIM):
            with contextlib.suppress(OSError):
                path.unlink()


def claim(folder: Path, step: int) -> bool:
    """Returns whether this process is the first that wants to save a step alone, of several that fail at once."""
    try:
        os.close(os.open(folder / f".saving_{step}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:
        pass
    return True


class _Lock:
    """A file with the process that holds it, touched every BEAT seconds.

    Of a process on this machine it is known whether it lives. One on another machine that shares the folder is watched
    for PATIENCE seconds, by this machine's clock.
    """

    def __init__(self, path: Path, option: str = "--work-dir", work: str = "training"):
        self.path, self._option, self._work = path, option, work
        self._text = ""
        self._end = threading.Event()

    def take(self) -> None:
        """Takes the lock, over a dead process's; ConfigError where a living one holds it."""
        pid = os.getpid()
        text = json.dumps({"pid": pid, "host": socket.gethostname(), "began": _began(pid)})
        draft = self.path.with_name(f"{LOCK}.{pid}.part")
        while True:
            draft.write_text(text, encoding="utf-8")
            if _moved(draft, self.path):
                break
            self._wait_for_death()
        self._text = text
        threading.Thread(target=self._beat, daemon=True, name="lock of the run's folder").start()

    def release(self) -> None:
        """Gives the lock back where this process holds it."""
        self._end.set()
        with contextlib.suppress(OSError):
            if self._text and self.path.read_text(encoding="utf-8") == self._text:
                self.path.unlink()
        self._text = ""

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _wait_for_death(self) -> None:
        """Removes the file of a dead process."""
        stamp = self._stamp()
        if stamp is None:
            return
        try:
            holder = json.loads(stamp[1])
            pid, host, began = int(holder["pid"]), str(holder["host"]), holder["began"]
        except (ValueError, OverflowError, KeyError, TypeError):
            pid, host, began = 0, "", None  # cut by a full disk
        if host == socket.gethostname():
            if _lives(pid, began):
                raise ConfigError(self._refusal(pid, host))
        elif self._is_beating(stamp, f"process {pid} on {host}" if host else "an unknown process"):
            raise ConfigError(self._refusal(pid, host))
        if self._stamp() == stamp:
            self.path.unlink(missing_ok=True)

    def _refusal(self, pid: int, host: str) -> str:
        who = f"process {pid} on {host}" if host else "a process"
        return (
            f"{self._option} {self.path.parent}: {who} is {self._work} in it; wait for its end, or choose another "
            f"folder ({self.path.name} there says who holds it)"
        )

    def _is_beating(self, first: tuple[int, str], who: str) -> bool:
        print(f"{self.path.parent}: locked by {who}; waiting {PATIENCE:.0f} s for a sign of life", flush=True)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(min(1.0, PATIENCE / 10))
            if self._stamp() != first:
                return self._stamp() is not None
        return False

    def _stamp(self) -> tuple[int, str] | None:
        """Time of the last touch and content; the file is opened, which makes a network file system look anew."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return os.fstat(file.fileno()).st_mtime_ns, file.read()
        except OSError:
            return None


def _moved(draft: Path, path: Path) -> bool:
    """Renames the draft unless the path exists; returns whether it did."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(draft.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _lives(pid: int, began: int | None = None) -> bool:
    """Whether a process of this machine lives; began: when it began, where that is known: numbers are used again."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _lives_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    now = _began(pid)
    return now != -1 and (began is None or now is None or now == began)


def _lives_on_windows(pid: int) -> bool:
    """The same on Windows, where os.kill(pid, 0) would press Ctrl-C."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return bool(ctypes.get_last_error() == 5)  # access denied: it is there, and another user's
        code = ctypes.c_ulong()
        is_known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return not is_known or code.value == 259  # STILL_ACTIVE
    raise AssertionError("called on Windows alone")


def _began(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; -1 for a zombie, None where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return -1 if fields[0] == "Z" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
