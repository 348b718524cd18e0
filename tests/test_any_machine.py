"""Linux, macOS and Windows: encodings, terminals, systems without fork, and devices that this machine has not."""

import ast
import io
import os
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from segkit.cli.main import main
from segkit.data.files import flat_index
from segkit.data.prepare import jobs
from segkit.engine import devices, folder, setup
from segkit.files import DataError
from segkit.registry import ConfigError

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "segkit").rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(path: Path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield node


def test_text_files_name_their_encoding():
    """Without one Windows reads and writes text in the code page of the country."""
    found = []
    for path in FILES:
        for call in calls(path):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            is_open = isinstance(call.func, ast.Name) and name in ("open", "fdopen")
            modes = [word.value for word in call.args[1:2] if isinstance(word, ast.Constant)]
            modes += [ast.unparse(word.value) for word in call.keywords if word.arg == "mode"]
            is_binary = any("b" in str(mode) for mode in modes)
            has_encoding = any(word.arg == "encoding" for word in call.keywords)
            is_method = isinstance(call.func, ast.Attribute) and name == "write_text"
            if (is_open or is_method) and not is_binary and not has_encoding:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
            if isinstance(call.func, ast.Attribute) and name == "read_text" and not call.args and not has_encoding:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


UNIX = {"os.fork": ["segkit/data/files/flat_index.py"], "os.kill": ["segkit/engine/folder.py"]}
"""Functions that Windows lacks or that do something else there, with the files that call them behind a condition."""


def test_functions_of_unix_alone_stay_where_they_are_guarded():
    found: dict[str, list[str]] = {}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for name in ("os.fork", "os.kill", "os.killpg", "os.getuid", "os.statvfs", "os.nice", "os.sched_getaffinity"):
            if f"{name}(" in text:
                found.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
        for node in tree_of(path).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert 'get_context("fork")' not in text, path
            assert not {"fcntl", "resource", "pwd", "grp", "termios"} & set(names), path
    assert found == UNIX


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_terminals_that_lack_a_letter_get_an_escape(monkeypatch, encoding):
    """A folder of a Japanese name on a terminal of Western letters: the sentence comes, and no UnicodeEncodeError."""
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, name, stream)
    assert main(["predict", "写真.pt", "写真"]) == 2
    sys.stderr.flush()
    written = sys.stderr.buffer.getvalue().decode(encoding)
    assert r"\u5199\u771f" in written and "UnicodeEncodeError" not in written
    print("写真")
    sys.stdout.flush()
    assert rb"\u5199\u771f" in sys.stdout.buffer.getvalue()


def test_an_index_is_the_same_without_fork(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path))
    rows = [b"one", b"", b"three" * 50]
    (tmp_path / "file").write_bytes(b"x")
    made = []
    for number, forks in enumerate((True, False)):
        monkeypatch.setattr(flat_index, "FORKS", forks)
        path = tmp_path / f"{number}.index"
        made.append(flat_index._made(path, lambda: iter(rows)))
    assert [[bytes(row) for row in index] for index in made] == [rows, rows]

    def broken():
        yield b"one"
        raise DataError("a.json: cut off")

    for forks in (True, False):
        monkeypatch.setattr(flat_index, "FORKS", forks)
        with pytest.raises(DataError, match=r"a\.json: cut off"):
            flat_index._made(tmp_path / "broken.index", broken)


def test_jobs_run_in_spawned_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "START", "spawn")
    journal = jobs.Journal(tmp_path / "journal", {})
    assert jobs.run_jobs(["a", "b", "c"], str.upper, journal, processes=2, label="") == dict(a="A", b="B", c="C")
    journal.close(is_finished=True)


def test_this_process_lives():
    assert folder._lives(os.getpid()) and not folder._lives(0) and not folder._lives(2**22 + 1)


def stub(monkeypatch, **counts):
    """A machine with these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: counts.get("cuda", 0) > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: counts.get("cuda", 0))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: counts.get("bf16", True))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.xpu, "is_available", lambda: counts.get("xpu", 0) > 0)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: counts.get("xpu", 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: counts.get("mps", 0) > 0)


@pytest.mark.parametrize(
    ("machine", "name", "device"),
    [
        (dict(), "auto", "cpu"),
        (dict(), None, "cpu"),
        (dict(mps=1, xpu=1), "auto", "cpu"),
        (dict(cuda=2), "auto", "cuda:0"),
        (dict(cuda=2), None, "cuda:0"),
        (dict(cuda=2), "cuda:1", "cuda:1"),
        (dict(cuda=2), torch.device("cpu"), "cpu"),
        (dict(mps=1), "mps", "mps"),
        (dict(xpu=2), "xpu:1", "xpu:1"),
    ],
)
def test_devices_by_name(monkeypatch, machine, name, device):
    stub(monkeypatch, **machine)
    assert str(setup.pick_device(name)) == device


@pytest.mark.parametrize(
    ("machine", "name", "message"),
    [
        (dict(), "cuda", "--device cuda: this machine has no CUDA GPU that torch can use; try --device cpu"),
        (dict(), "mps", "--device mps: this machine has no GPU of Apple that torch can use"),
        (dict(), "xpu", "--device xpu: this machine has no GPU of Intel that torch can use"),
        (dict(cuda=2), "cuda:2", "--device cuda:2: this machine has 2 GPUs"),
        (dict(xpu=1), "xpu:1", "--device xpu:1: this machine has 1 devices of the kind xpu"),
        (dict(), "gpu", "--device gpu: no such device; use auto, cpu, cuda, cuda:0, mps or xpu"),
        (dict(), "meta", "--device meta: segkit runs on cpu, cuda, mps, xpu; use one of them, or auto"),
    ],
)
def test_devices_that_are_not_here(monkeypatch, machine, name, message):
    stub(monkeypatch, **machine)
    with pytest.raises(ConfigError) as error:
        setup.pick_device(name)
    assert str(error.value).startswith(message)


def test_what_a_device_cannot_do_is_said_at_the_start(monkeypatch, capsys):
    stub(monkeypatch, cuda=1, mps=1, xpu=1, bf16=False)
    setup.pick_device("cuda")
    assert "--device cuda:0: Tesla T4 has no bfloat16: loop.amp='auto' computes in float32" in capsys.readouterr().err
    assert setup.amp_dtype("auto", torch.device("cuda:0")) == torch.float32
    setup.pick_device("mps")
    said = capsys.readouterr().err
    assert "--device mps: no float64" in said and "PYTORCH_ENABLE_MPS_FALLBACK=1" in said
    assert setup.amp_dtype("auto", torch.device("mps")) == torch.float32
    setup.pick_device("xpu")
    assert "--device xpu: one process alone" in capsys.readouterr().err
    setup.pick_device("cpu")
    assert capsys.readouterr().err == "" and devices.limits_of(torch.device("cpu")) == []
