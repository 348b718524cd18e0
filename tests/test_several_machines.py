"""Processes on several machines: they meet, compare what they are, and name the one that keeps the others waiting."""

import json
import threading
import time

import pytest
import torch
import torch.distributed as torch_dist

import segkit
from segkit import api, dist
from segkit.dist import Peer
from segkit.engine import checkpoint, meeting, resume, watch, world
from segkit.engine.meeting import Room
from segkit.engine.watch import Sign, Watch
from segkit.engine.workers import WorkerError
from segkit.files import DataError
from segkit.registry import ConfigError
from tests.tiny import sections

ABOUT = {"segkit": segkit.__version__, "torch": torch.__version__}


def together(calls: list) -> list:
    """Runs functions at the same time. Returns what each returns or raises."""
    found: list = [None] * len(calls)

    def run(number: int) -> None:
        try:
            found[number] = calls[number]()
        except RuntimeError as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def rooms(store, size: int, timeout: float = 10.0) -> list[Room]:
    return [Room(store, rank, Peer(size, f"host{rank}", str(rank), {}), timeout) for rank in range(size)]


def test_processes_meet_whatever_the_store_still_holds():
    """Restarts and several groups of one program share the store: greetings of processes that are gone lie in it."""
    store = torch_dist.HashStore()
    first = together([room.meet for room in rooms(store, 3)])
    assert len({met.prefix for met in first}) == 1
    assert [peer.host for peer in first[2].peers] == ["host0", "host1", "host2"]
    again = rooms(store, 3)

    def late() -> meeting.Meeting:
        time.sleep(0.3)  # process 0 has read the old greeting of this one by then
        return again[1].meet()

    second = together([again[0].meet, late, again[2].meet])
    assert len({met.prefix for met in second}) == 1 and second[0].prefix != first[0].prefix
    smaller = together([room.meet for room in rooms(store, 2)])
    assert len({met.prefix for met in smaller}) == 1 and len(smaller[0].peers) == 2


def test_who_does_not_appear_is_named():
    store = torch_dist.HashStore()
    here = rooms(store, 4, timeout=0.3)
    zero, two = together([here[0].meet, here[2].meet])
    assert isinstance(zero, meeting.Absent) and zero.ranks == (1, 3)
    assert isinstance(two, meeting.Absent) and two.ranks == (1, 3)
    with pytest.raises(WorkerError, match=r"loop\.process_timeout = 5: at the start .* waited 5 s for process 1, 3"):
        with world.explaining_start(5):
            raise zero


def test_another_number_of_processes_is_a_sentence(monkeypatch):
    monkeypatch.setattr(meeting, "MISFIT", 0.1)
    store = torch_dist.HashStore()
    three, two = rooms(store, 3)[0], rooms(store, 2)[1]
    zero, one = together([three.meet, two.meet])
    assert isinstance(zero, meeting.Misfit) and (zero.rank, zero.peer.world_size) == (1, 2)
    assert isinstance(one, meeting.Misfit) and (one.rank, one.peer.world_size) == (0, 3)
    match = r"process 1 on host1 was started for 2 processes, this one for another number: .* --nproc-per-node"
    with pytest.raises(ConfigError, match=match), world.explaining_start(5):
        raise zero


def test_a_process_that_fails_before_the_others_arrive_is_quoted(monkeypatch):
    store = torch_dist.HashStore()
    monkeypatch.setattr(meeting._Link, "store", store)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "x")
    monkeypatch.setenv("RANK", "1")
    greetings = torch_dist.PrefixStore(meeting.GREETING, store)
    greetings.set("failed/0", json.dumps(["", meeting.BEGAN - 1, "of an earlier start"]))
    assert meeting.report("ConfigError: train: no such folder", waits=False)
    zero = Room(greetings, 0, Peer(2, "a", "0", {}), 10)
    with pytest.raises(world.OtherFailed, match="process 1 of this run has ended: ConfigError: train: no such folder"):
        with world.explaining_start(5):
            zero.meet()
    monkeypatch.setattr(meeting._Link, "name", "b")
    monkeypatch.setattr(meeting._Link, "names", ("a", "b"))
    assert meeting.report("ConfigError: another", waits=False), "what the first process said before does not count"
    greetings.set("failed/0", json.dumps(["", time.time(), "ConfigError: another"]))
    assert not meeting.report("ConfigError: another"), "the first process says it already"
    assert meeting.failures() == {}, "of an earlier command of the same program"
    greetings.set("failed/0", json.dumps(["a", time.time(), "DataError: x"]))
    assert meeting.failures() == {0: "DataError: x"}
    assert meeting.report("ConfigError: my own", waits=False)


def peers(*configs: dict, **about) -> list[Peer]:
    return [
        Peer(len(configs), f"host{i}", str(i), ABOUT | about | {"config": json.dumps(cfg)})
        for i, cfg in enumerate(configs)
    ]


def test_what_differs_between_nodes_is_named():
    first, second = sections(), sections()
    world.check_equal(peers(first, second))
    second["train"]["batch_size"], second["loop"]["clip"] = 3, 1.0
    match = r"host0 and process 1 on host1 have different configs \(.*train\.batch_size 2 -> 3.*loop\.clip 0\.0 -> 1\.0"
    with pytest.raises(ConfigError, match=match):
        world.check_equal(peers(first, second))
    second = sections()
    second["train"]["workers"], second["loop"]["process_timeout"] = 7, 60.0
    world.check_equal(peers(first, second))  # how a machine reads is its own matter
    old = peers(first, first)
    old[1].about["torch"] = "2.6.0"
    with pytest.raises(ConfigError, match=rf"torch {torch.__version__[:3]}.* and 2\.6\.0: .* install the same"):
        world.check_equal(old)
    old = peers(first, first, images="5 images, ab")
    old[1].about["images"] = "4 images, cd"
    with pytest.raises(ConfigError, match=r"have different images \(5 images, ab and 4 images, cd\)"):
        world.check_equal(old)


def test_the_head_says_nodes_and_processes(monkeypatch):
    monkeypatch.setattr(dist, "is_distributed", lambda: True)
    monkeypatch.setattr(dist, "world_size", lambda: 4)

    def layout(*nodes: str) -> str:
        found = tuple(Peer(len(nodes), node, node, {}) for node in nodes)
        monkeypatch.setattr(dist._State, "peers", found)
        return world.layout()

    assert layout("a", "a", "b", "b") == "2 nodes x 2 processes: a, b"
    assert layout("a", "a", "a", "a") == ""
    assert layout("a", "a", "a", "b").startswith("4 processes on 2 nodes, not equally many on each: 3 on a, 1 on b;")


def test_who_keeps_the_others_waiting():
    def sign(phase: int, *, waits: bool) -> Sign:
        return Sign(1, phase, "training", "x.py:1 (f)", waits)

    signs = {0: sign(7, waits=True), 1: sign(7, waits=True), 2: sign(7, waits=False)}
    assert watch.behind(signs, [], 0) == [2]
    assert watch.behind(signs | {1: sign(5, waits=True)}, [], 0) == [1], "one that has passed fewer points"
    assert watch.behind(signs, [1], 0) == [1], "one without a sign of life"
    assert watch.behind({0: signs[0], 1: signs[1]}, [], 0) == []


def hanging_here(event: threading.Event) -> None:
    event.wait()


def test_a_hanging_process_is_named_with_its_line(monkeypatch):
    """This process waits in code of torch, the other one in a function of this file."""
    store, event = torch_dist.HashStore(), threading.Event()
    one = threading.Thread(target=hanging_here, args=(event,))
    one.start()
    monkeypatch.setattr(dist._State, "peers", tuple(Peer(3, host, "", {}) for host in ("a", "b", "c")))
    monkeypatch.setattr(dist._State, "place", "evaluation")
    watches = [Watch(store, rank, 3, beat=0.05) for rank in range(3)]
    watches[1]._main = one.ident
    monkeypatch.setattr(watches[0], "_main", None)
    for each in watches[:2]:
        each.start()
    watches[2]._say()  # and then no sign any more
    silent = watches[0].reason(5)
    watches[2].start()
    watches[2]._main = None
    store.set("sign/0", json.dumps(Sign(1, dist._State.phase, "evaluation", "x.py:1 (f)", True)))
    time.sleep(0.1)
    text = watches[0].reason(5)
    event.set()
    for each in watches:
        each.stop()
    assert (
        "loop.process_timeout = 5: process 2 on c gave no answer within 5 s (this one is process 0 of 0 to 2)" in silent
    )
    assert "process 2 gives no sign of life" in silent and "in the evaluation" in silent
    assert "process 1 on b" in text and "process 1 still runs, it was at" in text
    assert "test_several_machines.py" in text and "(hanging_here)" in text, text


def test_images_of_a_step_are_kept_on_another_number_of_processes(monkeypatch):
    old = sections()
    old["train"]["batch_size"] = 4
    state = dict(config=old, processes=2, rng=[])

    def resumed(processes: int, size: int = 4) -> tuple[int, int]:
        monkeypatch.setattr(dist, "world_size", lambda: processes)
        cfg = sections()
        cfg["train"]["batch_size"] = size
        cfg = resume.with_images_of(cfg, state)
        return cfg["train"]["batch_size"], cfg["loop"].get("accumulate", 1)

    assert resumed(2) == (4, 1)
    assert resumed(1) == (4, 2), "more batches a step"
    assert resumed(4) == (2, 1), "smaller ones"
    assert resumed(3) == (4, 1), "8 images on 3 processes cannot be; restore() refuses it"


def test_auto_goes_on_where_there_is_a_checkpoint(tmp_path, capsys):
    cfg = sections()
    cfg["loop"].update(steps=2, save_every=1)
    run = tmp_path / "run"
    assert api.train(cfg, run, resume="auto", device="cpu").step == 2
    cfg["loop"]["steps"] = 3
    assert api.train(cfg, run, resume="auto", device="cpu").step == 3
    assert "resumed: " in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    (run / "last.pt").unlink()
    with pytest.raises(ConfigError, match=r"--resume auto: .*best\.pt is there, and no last\.pt"):
        api.train(cfg, run, resume="auto", device="cpu")
    (run / "best.pt").unlink()  # killed before the first checkpoint: the log alone is left
    assert api.train(cfg, run, resume="auto", device="cpu").has_trained
    again = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert again[:2] == steps[:2] and again.count(1) == 1


def test_a_start_that_is_repeated_goes_on_from_what_all_have_saved(monkeypatch, tmp_path):
    """Where torchrun starts all processes again, a survivor's own state would not be the unbroken run's."""
    from types import SimpleNamespace

    from segkit.engine.hooks import Checkpoint

    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda path, state: saved.append(path))
    monkeypatch.setattr(dist, "is_distributed", lambda: True)
    monkeypatch.setattr(dist, "rank", lambda: 0)
    loop = SimpleNamespace(
        step=5,
        saved_step=3,
        shards=None,
        is_whole=True,
        is_between_steps=True,
        folder=tmp_path,
        state_dict=lambda *, alone: {},
    )
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    Checkpoint().after_break(loop, RuntimeError())
    assert not saved
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")  # the last start: nobody comes after it
    Checkpoint().after_break(loop, RuntimeError())
    assert saved == [tmp_path / "last.pt"]


def test_fewer_images_than_processes_are_said(monkeypatch, capsys):
    monkeypatch.setattr(dist, "is_distributed", lambda: True)
    monkeypatch.setattr(dist, "rank", lambda: 0)
    monkeypatch.setattr(dist, "world_size", lambda: 4)
    world.say_idle("val", 4)
    world.say_idle("val", 3)
    world.say_idle("train", 1)
    assert capsys.readouterr().err.splitlines() == [
        "val: warning: 3 images for 4 processes: 1 of them have none to score",
        "train: warning: 1 images for 4 processes: 3 of them train on images that others train on too",
    ]


def test_a_process_under_nccl_says_who_is_missing_before_torch_ends_it(monkeypatch, capsys):
    store, event = torch_dist.HashStore(), threading.Event()
    waiting = threading.Thread(target=hanging_here, args=(event,))
    waiting.start()
    here = Watch(store, 0, 2, limit=0.6, beat=0.05)
    here._main = waiting.ident
    here.start()
    time.sleep(1.5)
    event.set()
    here.stop()
    waiting.join()
    said = capsys.readouterr().err
    assert said.count("[rank 0] loop.process_timeout = 0.6: process 1 gave no answer within 0.6 s") == 1, said
    assert "process 1 gives no sign of life" in said


def test_the_newest_checkpoint_of_any_machine_is_gone_on_from(monkeypatch, tmp_path):
    from segkit.runners import training

    asked = []
    monkeypatch.setattr(dist, "nodes", lambda: {("a", "0"): [0], ("b", "1"): [1]})
    monkeypatch.setattr(dist, "broadcast_object", lambda value, source: asked.append(source) or value)
    monkeypatch.setattr(training, "_state_of", lambda path: {"stage": 0, "step": 4})
    own = tmp_path / "last.pt"
    for other, best in ((((0, 9), None), 1), ((None, None), 0), (((0, 4), None), 0)):
        monkeypatch.setattr(dist, "gather_objects", lambda value, other=other: [value, other])
        assert training.found_state(lambda: own) == (own, {"stage": 0, "step": 4})
        assert asked.pop() == best
    monkeypatch.setattr(dist, "gather_objects", lambda value: [value, (None, None)])
    assert training.found_state(lambda: None) == (None, None)

    def damaged() -> None:
        raise checkpoint.CheckpointError("last.pt: is damaged")

    with pytest.raises(checkpoint.CheckpointError, match="is damaged"):
        training.found_state(damaged)


def test_a_file_is_brought_to_a_machine_that_lacks_it(monkeypatch, tmp_path):
    from hashlib import sha256

    path, digest = tmp_path / "step0/last.pt", sha256(b"new").hexdigest()
    monkeypatch.setattr(dist, "nodes", lambda: {("a", "0"): [0], ("b", "1"): [1]})
    monkeypatch.setattr(dist, "rank", lambda: 1)
    monkeypatch.setattr(dist, "gather_objects", lambda value: [(True, digest), value])
    monkeypatch.setattr(dist, "broadcast_object", lambda value: b"new")
    world.bring(path)
    assert path.read_bytes() == b"new"
    path.write_bytes(b"of an older run")
    world.bring(path)
    assert path.read_bytes() == b"new"
    monkeypatch.setattr(dist, "broadcast_object", lambda value: pytest.fail("all have it"))
    world.bring(path)


def test_images_that_differ_between_machines_are_named(monkeypatch):
    from types import SimpleNamespace

    class Images:
        def __init__(self, *ids: str):
            self.ids = ids

        def __len__(self) -> int:
            return len(self.ids)

    monkeypatch.setattr(dist, "nodes", lambda: {("a", "0"): [0], ("b", "1"): [1]})
    loop = SimpleNamespace(dataset=Images("1", "2"), val=None)
    for other, words in (((2, ["1", "3"]), "images of other names"), ((1, ["1"]), "1 images")):
        monkeypatch.setattr(dist, "gather_objects", lambda value, other=other: [value, {"train": other}])
        with pytest.raises(DataError, match=rf"train\.dataset: holds 2 images on process 0 and {words} on process 1"):
            world.check_data(loop)
    monkeypatch.setattr(dist, "gather_objects", lambda value: [value, value])
    world.check_data(loop)
