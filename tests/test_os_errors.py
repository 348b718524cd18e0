"""What the system refuses is one sentence with the path and a way out, in every command, and before the work."""

import errno
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli import common, predict
from segkit.cli.main import main
from segkit.engine import checkpoint
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.hooks import standard_hooks
from segkit.files import DataError, need_writable
from segkit.readers.python_config import dump
from tests.test_loop import loop_of
from tests.tiny import sections


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder with a config, a checkpoint, an image, a folder `full` and a file `text`."""
    place = tmp_path_factory.mktemp("run")
    cfg = sections()
    cfg["loop"]["steps"] = 1
    (place / "c.py").write_text(dump(cfg))
    loop_of(cfg, place, standard_hooks()).fit()
    cv2.imwrite(str(place / "x.png"), np.full((32, 32, 3), 9, np.uint8))
    (place / "full").mkdir()
    (place / "full/a").touch()
    (place / "folder.pt").mkdir()
    (place / "folder.py").mkdir()
    (place / "text").write_text("text")
    return place


TEST = ("test", "last.pt", "--trust", "--device", "cpu", "--split", "val")
PREDICT = ("predict", "last.pt", "x.png", "--trust", "--device", "cpu")
COMMANDS = {
    "test: out is a folder": (
        (*TEST, "--out", "full"),
        "full: cannot be written (Is a directory)",
    ),
    "test: out below a file": ((*TEST, "--out", "text/m.json"), "text/m.json: cannot be written"),
    "test: show below a file": ((*TEST, "--show", "text"), "cannot be written"),
    "test: checkpoint is a folder": (("test", "folder.pt", "--device", "cpu"), "folder.pt: is a folder"),
    "test: no checkpoint": (("test", "gone.pt", "--device", "cpu"), "gone.pt: no such checkpoint"),
    "predict: out is a file": ((*PREDICT, "--out", "text"), "cannot be written"),
    "predict: checkpoint is a folder": (("predict", "folder.pt", "x.png", "--device", "cpu"), "folder.pt: is a folder"),
    "predict: config is a folder": ((*PREDICT, "--config", "folder.py"), "no such config file"),
    "convert: file is a folder": (("convert", "folder.pt", "o.pt", "--config", "c.py"), "folder.pt: is a folder"),
    "convert: out is a folder": (("convert", "last.pt", "full", "--config", "c.py"), "full: cannot be written"),
    "convert: out below a file": (("convert", "last.pt", "text/o.pt", "--to", "mib"), "text/o.pt: cannot be written"),
    "browse: out is a folder": (("browse", "c.py", "--out", "full"), "full: cannot be written"),
    "browse: config is a folder": (("browse", "folder.py"), "no such config file"),
    "analyze: out is a file": (("analyze", "classes", "c.py", "--out", "text"), "text: cannot be written"),
    "clicks: file is a folder": (("analyze", "clicks", "full"), "full: is a folder"),
    "clicks: out is a folder": (("analyze", "clicks", "text", "--out", "full"), "full: cannot be written"),
    "train: folder below a file": (("train", "c.py", "--work-dir", "text/run"), "text/run: cannot be written"),
    "train: folder is a file": (("train", "c.py", "--work-dir", "text"), "text: cannot be written"),
    "train: resume from a folder": (("train", "c.py", "--work-dir", "n", "--resume", "full"), "full: is a folder"),
    "benchmark: no config": (("benchmark", "gone.py"), "no such config file"),
    "config: a folder": (("config", "folder.py"), "no such config file"),
    "prepare: no folder": (("prepare", "sbd", "--root", "gone"), "gone"),
    "prepare: a file": (("prepare", "sbd", "--root", "text"), "text"),
}


MADE = ("n", "gone")
"""Folders that commands make: of a run, and of a conversion's journal."""


@pytest.mark.parametrize("case", COMMANDS)
def test_every_command_says_it_in_a_sentence(case, run, monkeypatch, capsys):
    words, sentence = COMMANDS[case]
    monkeypatch.chdir(run)
    before = listed(run)
    assert main(list(words)) == 2
    err = capsys.readouterr().err
    assert sentence in err and "Traceback" not in err and err.count("\n") == 1
    assert listed(run) == before, "nothing is left behind"


def listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not set(MADE) & set(path.parts))


@pytest.mark.parametrize("words", [(*TEST, "--out", "full"), (*TEST, "--show", "text"), (*PREDICT, "--out", "text")])
def test_results_that_cannot_be_written_are_known_before_the_model_is_loaded(words, run, monkeypatch):
    monkeypatch.chdir(run)
    monkeypatch.setattr(api, "load_model", lambda *_, **__: pytest.fail("the work began"))
    assert main(list(words)) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EISDIR, errno.EIO])
def test_errors_of_the_system_anywhere_are_sentences(number, capsys):
    """Also where no reader or writer of segkit has turned them into one."""

    def fails(_):
        raise OSError(number, os.strerror(number), "some/file")

    assert common.run(fails, None) == 2
    err = capsys.readouterr().err
    assert f"some/file: {os.strerror(number)}; " in err and err.count("\n") == 1


def test_an_error_without_a_file_and_a_closed_pipe(capsys):
    def fails(error):
        raise error

    assert common.run(fails, OSError("a library says so")) == 2
    assert capsys.readouterr().err == "OSError: a library says so\n"
    with pytest.raises(BrokenPipeError):
        common.run(fails, BrokenPipeError())


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that gives an error when it is read")
@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors"])
def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(name, tmp_path):
    (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(CheckpointError) as found:
        checkpoint.read(tmp_path / name)
    text = str(found.value)
    if name != "a.safetensors":
        assert f"{name}: cannot be read (Input/output error); check its rights and the disk" in text
    assert "download it again" not in text and "cut off" not in text


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="the superuser may read everything")
def test_a_checkpoint_without_the_right_to_read_it(run, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes((run / "last.pt").read_bytes())
    path.chmod(0)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)|Permission denied; check"):
        checkpoint.read(path)


@pytest.mark.parametrize("name", ["o.pt", "o.safetensors"])
def test_a_full_disk(name, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=rf"{name}: cannot be written \(No space left on device\); free space"):
        checkpoint.save(tmp_path / name, {"model": {"w": torch.ones(2)}})
    assert not list(tmp_path.iterdir())


def test_a_file_that_can_be_written_is_left_as_it_is(tmp_path):
    (tmp_path / "m.json").write_text("old")
    stamp = (tmp_path / "m.json").stat().st_mtime_ns
    time.sleep(0.01)
    need_writable(tmp_path / "m.json")
    assert (tmp_path / "m.json").read_text() == "old" and (tmp_path / "m.json").stat().st_mtime_ns == stamp
    need_writable(tmp_path / "new/folder/m.json")
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    with pytest.raises(DataError, match="Is a directory"):
        need_writable(tmp_path)


def test_the_command_looks_for_images_first(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert predict.main(["last.pt", "gone.png", "--trust", "--device", "cpu"]) == 2
    assert "gone.png" in capsys.readouterr().err
