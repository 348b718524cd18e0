"""The processes of a run as a whole: they join, compare what they are, wait for each other, and say who is missing."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.distributed as torch_dist

from segkit import __version__, dist
from segkit.config import plain_values
from segkit.data.dataset import Dataset
from segkit.engine import meeting
from segkit.engine.config_changes import changes
from segkit.engine.watch import ANSWER, BEAT, Watch
from segkit.engine.workers import WorkerError
from segkit.files import DataError, read_bytes, write_whole
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

OWN = ("*.root", "*.workers", "*.prefetch", "*.timeout", "loop.process_timeout")
"""Values of a config that may differ between machines: where the data lies, and how it is read."""

COMPARED_IDS = 1000
"""Ids of a data set that machines compare, evenly spread over it."""

SEEN_WITHIN = 3.0
"""Seconds that a network file system may take to show a new file."""

BROKEN = re.compile(r"closed by peer|reset by peer|broken pipe|connection refused|remote process exited", re.IGNORECASE)


class OtherFailed(WorkerError):
    """Another process of the run has ended; its own lines say why."""


@contextlib.contextmanager
def joined(
    device: torch.device,
    timeout: float,
    cfg: Mapping | None = None,
    about: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Takes part in the run that torchrun describes during the block; in a single process nothing happens.

    Args:
        device: decides the backend: nccl on GPUs, gloo on CPUs.
        timeout: seconds that processes wait for each other, loop.process_timeout.
        cfg: sections that must be equal on all processes.
        about: what else must be, by the name that the message gives it.

    Raises:
        ConfigError: the processes were started differently.
        WorkerError: one of them did not appear, has ended, or gives no answer.
    """
    watch = None
    try:
        with explaining_start(timeout):
            met = meeting.meet(timeout, _about(cfg, about))
        if met is None:
            dist.start(device, timeout)
        else:
            check_equal(met.peers)
            with explaining_start(timeout):
                dist.start(device, timeout, met.store(meeting.connection()), met.peers)
                line = met.store(meeting.connect(ANSWER))
            is_gloo, beat = torch_dist.get_backend() == "gloo", min(BEAT, timeout / 5)
            watch = Watch(line, dist.rank(), dist.world_size(), 0.0 if is_gloo else timeout, beat)
            watch.start()
            if dist.is_main() and (text := layout()):
                print(text, flush=True)
        with explaining_silence(timeout, watch):
            yield
    except Exception as error:
        meeting.report(f"{type(error).__name__}: {error}", waits=False)
        raise
    finally:
        if watch is not None:
            watch.stop()
        dist.stop()


def _about(cfg: Mapping | None, about: Mapping[str, str] | None) -> dict[str, str]:
    facts = {"segkit": __version__, "torch": torch.__version__, **(about or {})}
    return facts | ({} if cfg is None else {"config": json.dumps(plain_values(dict(cfg)))})


def check_equal(peers: Sequence[dist.Peer]) -> None:
    """Checks that processes that are about to work together are alike.

    Raises:
        ConfigError: names what differs, and which process has what.
    """
    first = peers[0]
    for number, peer in enumerate(peers):
        pair = f"process 0 on {first.host} and process {number} on {peer.host}"
        for name, value in first.about.items():
            other = peer.about.get(name, "none")
            if value == other:
                continue
            if name in ("segkit", "torch"):
                raise ConfigError(
                    f"{name} {value} and {other}: {pair} run these versions; install the same on all machines"
                )
            if name != "config":
                raise ConfigError(f"{pair} have different {name} ({value} and {other}); give all the same files")
            _check_configs(json.loads(value), json.loads(other), pair)


def _check_configs(config: dict, other: dict, pair: str) -> None:
    found = [c for c in changes(config, other) if not any(fnmatchcase(c.pattern, pattern) for pattern in OWN)]
    if found:
        shown = ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise ConfigError(
            f"{pair} have different configs ({shown}); start all with the same files and the same --cfg-options "
            f"(only {', '.join(OWN)} may differ)"
        )


def layout() -> str:
    """Returns the head of the log of a run on several machines: nodes x processes; "" on one."""
    ranks = dist.nodes()
    if len(ranks) < 2:
        return ""
    counts = {len(numbers) for numbers in ranks.values()}
    hosts = [host for host, _ in ranks]
    if len(counts) == 1:
        names = ", ".join(dict.fromkeys(hosts))
        return f"{len(ranks)} nodes x {counts.pop()} processes: {names}"
    parts = ", ".join(f"{len(numbers)} on {host}" for (host, _), numbers in ranks.items())
    return (
        f"{dist.world_size()} processes on {len(ranks)} nodes, not equally many on each: {parts}; every process has a "
        "batch of its own, so that nodes with more of them do more of the work"
    )


@contextlib.contextmanager
def explaining_start(seconds: float) -> Iterator[None]:
    """Turns what goes wrong while the processes find each other into a sentence.

    Args:
        seconds: loop.process_timeout.

    Raises:
        WorkerError: processes are missing or have ended.
        ConfigError: one was started for another number of processes.
    """
    try:
        yield
    except meeting.Misfit as error:
        raise ConfigError(
            f"{dist.named(error.rank, error.peer.host)} was started for {error.peer.world_size} processes, this one "
            "for another number: start all nodes with the same --nnodes and --nproc-per-node (WORLD_SIZE)"
        ) from error
    except meeting.Failed as error:
        raise OtherFailed(f"process {error.rank} of this run has ended: {error.text}") from error
    except meeting.Absent as error:
        numbers = ", ".join(map(str, error.ranks)) or "others"
        raise WorkerError(
            f"loop.process_timeout = {seconds:g}: at the start this process waited {seconds:g} s for process {numbers} "
            "of this run: look at the lines there, at the machine and at the network, or set a larger "
            "loop.process_timeout"
        ) from error
    except RuntimeError as error:
        if "timed out" not in str(error).lower() and not BROKEN.search(str(error)):
            raise
        raise WorkerError(
            f"loop.process_timeout = {seconds:g}: the processes of this run found each other, and then could not be "
            f"connected within {seconds:g} s; look at the network between the machines (GLOO_SOCKET_IFNAME and "
            "NCCL_SOCKET_IFNAME choose a device)"
        ) from error


@contextlib.contextmanager
def explaining_silence(seconds: float, watch: Watch | None = None) -> Iterator[None]:
    """Turns torch's errors on a process of the run that does not answer, or has ended, into a sentence.

    Under nccl torch ends the process itself, and says why; the watch names the other process before.

    Args:
        seconds: loop.process_timeout.
        watch: knows where the others are.

    Raises:
        WorkerError: a process did not answer in time, or has ended.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not dist.is_distributed():
            raise
        if "timed out waiting" in text.lower():
            _finish_the_sentence()
            raise WorkerError(_silence(seconds, watch)) from error
        if not BROKEN.search(text):
            raise
        _finish_the_sentence()
        raise OtherFailed(_end()) from error


def _silence(seconds: float, watch: Watch | None) -> str:
    if watch is not None:
        return watch.reason(seconds)
    return (
        f"loop.process_timeout = {seconds:g}: another process of this run gave no answer within {seconds:g} s "
        f"(this one is process {dist.rank()} of 0 to {dist.world_size() - 1}): it hangs, or is that much slower; "
        "look for its last lines, or set a larger loop.process_timeout"
    )


def _finish_the_sentence() -> None:
    """Lets this process, which ends anyway, say why before torchrun ends it because of the other one."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end() -> str:
    """A sentence on a process that has ended: its own, where it could say why before it did."""
    end = time.monotonic() + meeting.ASKED
    while not (found := meeting.failures()) and time.monotonic() < end:
        time.sleep(meeting.POLL)
    if not found:
        return "another process of this run has ended without a word (killed, or its machine is lost); look for its end"
    number, text = next(iter(found.items()))
    return f"{dist.name_of(number)} has ended: {text}"


def is_shared(folder: Path) -> bool:
    """Returns whether all processes see the same folder; all call it, and the first makes it."""
    if len(dist.nodes()) < 2:
        return True
    probe = folder / f".shared_{dist.gather_objects(secrets.token_hex(8))[0]}"
    if dist.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    dist.barrier()
    end = time.monotonic() + SEEN_WITHIN
    while not (is_seen := probe.exists()) and time.monotonic() < end:
        time.sleep(meeting.POLL)
    is_everywhere = all(dist.gather_objects(is_seen))
    if dist.is_main():
        probe.unlink(missing_ok=True)
    return is_everywhere


def need_shared(folder: Path, what: str) -> None:
    """Checks that all machines see the same folder; all processes call it.

    Args:
        folder: is made where it is missing.
        what: is written there, for the message.

    Raises:
        ConfigError: a machine has a disk of its own there.
    """
    if not is_shared(folder):
        raise ConfigError(
            f"{folder}: is not the same folder on all {len(dist.nodes())} nodes, and {what} of all processes come "
            "together there; choose a folder on a file system that they share, or use one node"
        )


def bring(path: Path) -> None:
    """Copies a file of the main process to machines on which it is missing or another one; all processes call it.

    Raises:
        OSError: it cannot be written there.
    """
    if len(dist.nodes()) < 2:
        return
    is_here = dist.local_rank() == 0 and path.is_file()
    content = read_bytes(path, path.stat().st_size) if is_here else None
    own = None if content is None else hashlib.sha256(content).hexdigest()
    found = dist.gather_objects((dist.local_rank() == 0, own))
    digest = found[0][1]
    if digest is None or all(own == digest for is_first, own in found if is_first):
        return
    main = cast(bytes, dist.broadcast_object(content if dist.is_main() else None))
    if dist.local_rank() == 0 and own != digest:
        write_whole(path, main)
    dist.barrier()


def check_data(loop: "Loop") -> None:
    """Checks that all machines train on, and score, the same images.

    Raises:
        DataError: a data set has other images on another machine.
    """
    if len(dist.nodes()) < 2:
        return
    sets = {"train": loop.dataset} | ({} if loop.val is None else {"val": loop.val.dataset})
    facts = dist.gather_objects({name: _sample_of(dataset) for name, dataset in sets.items()})
    for number, of_process in enumerate(facts):
        for name, (count, ids) in of_process.items():
            first_count, first_ids = facts[0][name]
            if (count, ids) != (first_count, first_ids):
                what = f"{count:,} images" if count != first_count else "images of other names"
                raise DataError(
                    f"{name}.dataset: holds {first_count:,} images on {dist.name_of(0)} and {what} on "
                    f"{dist.name_of(number)}; copy the data whole to every machine"
                )


def _sample_of(dataset: Dataset) -> tuple[int, list[str]]:
    """The number of images, and the ids of some."""
    count = len(dataset)
    places = np.linspace(0, count - 1, min(count, COMPARED_IDS)).astype(int).tolist()
    return count, [str(dataset.ids[place]) for place in places]


def say_idle(section: str, images: int) -> None:
    """Says, on the main process, that there are fewer images than processes."""
    if dist.is_main() and images < dist.world_size():
        idle = dist.world_size() - images
        print(
            f"{section}: warning: {images} images for {dist.world_size()} processes: {idle} of them "
            f"{'train on images that others train on too' if section == 'train' else 'have none to score'}",
            file=sys.stderr,
            flush=True,
        )
