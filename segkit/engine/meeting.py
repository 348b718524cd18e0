"""How the processes of a run find each other, and tell each other why one of them ends, by way of torchrun's store."""

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as torch_dist

from segkit.dist import Peer, is_distributed, is_launched, is_main_process

GREETING = "segkit"
"""Prefix of the keys by which processes find each other in torchrun's store."""

POLL = 0.05
"""Seconds between two looks at the store."""

BEGAN = time.time()
"""When this process began: what others said before may be of a start that is over."""

ASKED = 3.0
"""Seconds that a process which fails waits to hear whether the first one says the same."""

ALIKE = 10.0
"""The same before the processes have met, while all do the same and at different speeds."""

MISFIT = 5.0
"""Seconds for which a process must have said another number of processes, since clocks of machines differ."""


class Absent(RuntimeError):
    """Processes that did not appear at the start.

    Attributes:
        ranks: of them, () where they are not known.
        seconds: how long was waited.
    """

    def __init__(self, ranks: Sequence[int], seconds: float):
        super().__init__(f"processes {list(ranks)} did not appear within {seconds:g} s")
        self.ranks, self.seconds = tuple(ranks), seconds


class Misfit(RuntimeError):
    """A process that was started for another number of processes.

    Attributes:
        rank: of that process.
        peer: what it says of itself.
    """

    def __init__(self, rank: int, peer: Peer):
        super().__init__(f"process {rank} was started for {peer.world_size} processes")
        self.rank, self.peer = rank, peer


class Failed(RuntimeError):
    """Another process ended with an error.

    Attributes:
        rank: of that process.
        text: the error.
    """

    def __init__(self, rank: int, text: str):
        super().__init__(f"process {rank} failed: {text}")
        self.rank, self.text = rank, text


class _Link:
    """This process's connection to the store, kept over several groups: who holds the store ends it with its own.

    Attributes:
        store: None before the first use.
        name: of this process's last greeting, "" before the first.
        names: of all processes that met last, in the order of their ranks.
    """

    store: torch_dist.Store | None = None
    name: str = ""
    names: tuple[str, ...] = ()


class Meeting(NamedTuple):
    """What `meet` gives.

    Attributes:
        peers: all processes in the order of their ranks.
        names: of their greetings.
        prefix: of the keys that belong to this start of the group alone.
    """

    peers: tuple[Peer, ...]
    names: tuple[str, ...]
    prefix: str

    def store(self, connection: torch_dist.Store) -> torch_dist.Store:
        """Returns the part of the store that belongs to this start of the group."""
        return torch_dist.PrefixStore(self.prefix, connection)


def connect(seconds: float, *, hosts: bool = False) -> torch_dist.TCPStore:
    """Opens a connection to the store of the run.

    Args:
        seconds: to wait for it, and for each answer.
        hosts: whether this process holds the store where no torchrun does.

    Raises:
        torch.distributed.DistNetworkError: nobody answers there.
    """
    has_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    is_host = hosts and is_main_process() and not has_agent
    return torch_dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=is_host,
        timeout=timedelta(seconds=seconds),
        wait_for_workers=False,
        multi_tenant=is_host,
    )


def meet(timeout: float, about: Mapping[str, str] | None = None) -> Meeting | None:
    """Waits until all processes of the run are there.

    torchrun keeps one store for all its restarts, and a program may start a group several times, so the store can hold
    greetings of processes that are gone. The first process therefore repeats which greetings it has seen, and each
    other one answers when its own is among them.

    Args:
        timeout: seconds to wait.
        about: what the processes compare.

    Returns:
        Who is there; None in a single process, inside of a group, and where nothing says where the store is.

    Raises:
        Absent: processes did not appear.
        Misfit: one was started for another number of processes.
        Failed: one has ended with an error.
    """
    if is_distributed() or not is_launched() or "MASTER_ADDR" not in os.environ:
        return None
    try:
        _Link.store = _Link.store or connect(timeout, hosts=True)
        store = torch_dist.PrefixStore(GREETING, _Link.store)
        own = Peer(
            int(os.environ["WORLD_SIZE"]), socket.gethostname(), os.environ.get("GROUP_RANK", ""), dict(about or {})
        )
        room = Room(store, int(os.environ["RANK"]), own, timeout)
        _Link.name = room.name
        met = room.meet()
        _Link.names = met.names
        return met
    except torch_dist.DistNetworkError as error:
        raise Absent((0,), timeout) from error


def connection() -> torch_dist.Store:
    """Returns the connection of this process, after `meet`."""
    assert _Link.store is not None, "the processes have met"
    return _Link.store


class Room:
    """Where processes meet.

    Args:
        store: takes the keys.
        rank: of this process.
        own: what it says of itself.
        timeout: seconds to wait for the others.
    """

    def __init__(self, store: torch_dist.Store, rank: int, own: Peer, timeout: float):
        self.store, self.rank, self.own, self.timeout = store, rank, own, timeout
        self.began, self.size = time.monotonic(), own.world_size
        self.name = uuid.uuid4().hex
        self._misfit_since: float | None = None

    def meet(self) -> Meeting:
        """Greets the others and waits for them; see `meet`."""
        self.store.set(f"hello/{self.rank}", json.dumps([self.name, time.time(), *self.own]))
        token = self._gather() if self.rank == 0 else self._answer()
        names, found, _ = zip(*(self._here()[rank] for rank in range(self.size)))
        return Meeting(found, names, f"{GREETING}/{token}")

    def _here(self) -> dict[int, tuple[str, Peer, float]]:
        """Name, facts and moment of each process that has greeted, now or at an earlier start."""
        found = {}
        for rank in range(self.size):
            if self.store.check([f"hello/{rank}"]):
                name, moment, size, host, node, about = json.loads(self.store.get(f"hello/{rank}"))
                found[rank] = (name, Peer(size, host, node, about), moment)
        return found

    def _gather(self) -> str:
        """The first process's part. Returns the name of this start of the group."""
        token, seen = "", tuple[str, ...]()
        while True:
            here = self._here()
            names = tuple(name for name, *_ in here.values())
            if len(here) == self.size and names != seen:
                seen, token = names, uuid.uuid4().hex
                self.store.set("round", " ".join([token, *names]))
            absent = [r for r in range(self.size) if r not in here] or [
                r for r in range(1, self.size) if not self.store.check([f"{token}/yes/{r}"])
            ]
            if not absent and all(peer.world_size == self.size for _, peer, _ in here.values()):
                self.store.set(f"{token}/all", "")
                return token
            self._wait(here, absent)

    def _answer(self) -> str:
        """Another process's part. Returns the name of this start of the group."""
        answered = ""
        while True:
            here = self._here()
            if self.store.check(["round"]):
                token, *names = self.store.get("round").decode().split()
                if self.rank < len(names) and names[self.rank] == self.name:
                    if token != answered:
                        self.store.set(f"{token}/yes/{self.rank}", "")
                        answered = token
                    if self.store.check([f"{token}/all"]):
                        return token
            self._wait(here, [r for r in range(self.size) if r not in here])

    def _wait(self, here: dict[int, tuple[str, Peer, float]], absent: Sequence[int]) -> None:
        """Waits for the next look; raises where waiting is of no use any more."""
        for rank in range(self.size):
            failure = failure_of(self.store, rank) if rank != self.rank else None
            if failure is not None and not failure.name:
                raise Failed(rank, failure.text)
        now = time.monotonic()
        is_over = now - self.began > self.timeout
        wrong = [r for r, (_, peer, moment) in here.items() if peer.world_size != self.size and moment >= BEGAN]
        self._misfit_since = (self._misfit_since or now) if wrong else None
        if self._misfit_since is not None and (now - self._misfit_since > MISFIT or is_over):
            raise Misfit(wrong[0], here[wrong[0]][1])
        if is_over:
            raise Absent(absent, self.timeout)
        time.sleep(POLL)


def report(text: str, *, waits: bool = True) -> bool:
    """Tells the other processes that this one ends with an error.

    Args:
        text: the error.
        waits: whether to wait for what the first process says.

    Returns:
        Whether this process shall say it; False where the first process says the same.
    """
    if not is_launched() or "MASTER_ADDR" not in os.environ:
        return True
    number = int(os.environ["RANK"])
    try:
        _Link.store = _Link.store or connect(ASKED, hosts=True)
        store = torch_dist.PrefixStore(GREETING, _Link.store)
        store.set(f"failed/{number}", json.dumps([_Link.name, time.time(), text]))
        patience = ASKED if _Link.name else ALIKE
        end = time.monotonic() + (patience if number and waits else 0.0)
        while time.monotonic() < end:
            main = failure_of(store, 0)
            if main is not None and main.text == text:
                return False
            time.sleep(POLL)
    except RuntimeError:
        pass  # nobody is left to hear it
    return True


class Failure(NamedTuple):
    """An error that a process has reported.

    Attributes:
        name: of that process's last greeting, "" where it has not greeted: then it will not come any more.
        text: the error.
    """

    name: str
    text: str


def failure_of(store: torch_dist.Store, number: int) -> Failure | None:
    """Returns the error that a process has reported since this one began, None for none."""
    if not store.check([f"failed/{number}"]):
        return None
    name, moment, text = json.loads(store.get(f"failed/{number}"))
    return Failure(name, text) if moment >= BEGAN else None


def failures() -> dict[int, str]:
    """Returns the errors that other processes have reported since they met."""
    if _Link.store is None:
        return {}
    try:
        store = torch_dist.PrefixStore(GREETING, _Link.store)
        found = {number: failure_of(store, number) for number in range(len(_Link.names))}
    except RuntimeError:
        return {}
    return {
        number: failure.text
        for number, failure in found.items()
        if failure is not None and failure.name == _Link.names[number] != _Link.name
    }
