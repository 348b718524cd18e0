"""No work is lost: what fails, stops or is killed leaves the last whole step, and says how to go on from it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.cli.train import resume_command
from segkit.data.semantic.shapes import Shapes
from segkit.engine import checkpoint, folder
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.hooks import Hook, standard_hooks
from segkit.engine.workers import WorkerError
from segkit.files import DataError
from segkit.metrics.confusion import Confusion
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from segkit.viz import draw
from tests.test_loop import Record, loop_of
from tests.tiny import sections


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path)["model"]


def assert_same_weights(a: Path, b: Path):
    one, other = weights_of(a), weights_of(b)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """The folder of six steps without a break."""
    place = tmp_path_factory.mktemp("unbroken")
    loop_of(sections(eval_every=3), place, standard_hooks()).fit()
    return place


def resumed(place: Path, **loop) -> Path:
    """Goes on in a folder to the end. Returns the folder."""
    again = loop_of(sections(**{"eval_every": 3, **loop}), place, standard_hooks())
    state = checkpoint.read(place / "last.pt")
    state["config"]["train"]["dataset"]["type"] = "Shapes"  # whose files are whole again
    again.load_state_dict(state, "last.pt")
    again.fit()
    return place


class Fails(Hook):
    """Raises after a step."""

    def __init__(self, step: int, error: BaseException):
        self.step, self.error = step, error

    def after_step(self, loop, terms):
        if loop.step == self.step:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError("a hook"), KeyboardInterrupt(), DataError("a file")], ids=repr)
def test_an_error_after_a_step_saves_it(error, unbroken, tmp_path, capsys):
    with pytest.raises(type(error)):
        loop_of(sections(eval_every=3), tmp_path, (*standard_hooks(), Fails(4, error))).fit()
    assert "step 4 is saved in" in (err := capsys.readouterr().err) and "--resume" in err
    assert checkpoint.read(tmp_path / "last.pt")["step"] == 4
    assert_same_weights(resumed(tmp_path) / "last.pt", unbroken / "last.pt")


def test_an_error_before_the_first_step_saves_nothing(tmp_path, capsys):
    cfg = sections()
    cfg["losses"][0]["on"] = "logit"
    with pytest.raises(ConfigError):
        api.train(cfg, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists(), "the folder is free again"
    assert "is saved" not in capsys.readouterr().err


class BrokenShapes(Shapes):
    """An image that cannot be read once eight were, or whose reader dies."""

    dies = False

    def sample(self, index, rng):
        if rng.bit_generator.seed_seq.entropy[1] >= 9:
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("images/broken.png: is damaged; restore it")
        return super().sample(index, rng)


class DeadlyShapes(BrokenShapes):
    """The process that reads the image is killed, as by the system when memory is short."""

    dies = True


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_fails_in_the_middle_loses_no_step(workers, unbroken, tmp_path):
    cfg = sections(eval_every=3)
    cfg["train"] |= dict(workers=workers, prefetch=1)
    cfg["train"]["dataset"] |= dict(type="tests.test_kept_work:BrokenShapes")
    with pytest.raises(DataError):
        loop_of(cfg, tmp_path, standard_hooks()).fit()
    assert checkpoint.read(tmp_path / "last.pt")["step"] == 4  # the ninth sample is in the fifth batch
    assert_same_weights(resumed(tmp_path) / "last.pt", unbroken / "last.pt")


def test_a_worker_that_dies_loses_no_whole_step(tmp_path):
    """It reads ahead, and its death may be noticed anywhere in the steps before."""
    cfg = sections(eval_every=3)
    cfg["loop"]["save_every"] = 0
    cfg["train"] |= dict(workers=1, prefetch=1)
    cfg["train"]["dataset"] |= dict(type="tests.test_kept_work:DeadlyShapes")
    loop = loop_of(cfg, tmp_path, standard_hooks())
    with pytest.raises(WorkerError, match=r"train\.workers = 1: a process that reads data"):
        loop.fit()
    assert loop.step >= 2 and (not loop.is_whole or checkpoint.read(tmp_path / "last.pt")["step"] == loop.step)


def test_an_error_inside_a_step_keeps_the_weights_before_it(tmp_path, capsys):
    whole = loop_of(sections(), tmp_path / "a", standard_hooks())
    kept: dict = {}
    step = whole.train_step

    def remembering(batches):
        kept[whole.step] = {name: value.clone() for name, value in whole.raw_model.named_parameters()}
        return step(batches)

    whole.train_step = remembering
    whole.fit()
    broken = loop_of(sections(), tmp_path / "b", standard_hooks())
    calls = iter(range(100))
    broken.criterion.register_forward_pre_hook(lambda *_: 1 / 0 if next(calls) == 4 else None)
    with pytest.raises(ZeroDivisionError):
        broken.fit()
    state = checkpoint.read(tmp_path / "b/last.pt")
    assert state["step"] == 4 and "running statistics" in capsys.readouterr().err
    assert all(torch.equal(state["model"][name], value) for name, value in kept[4].items())


def test_a_state_that_is_half_updated_is_not_saved(tmp_path, monkeypatch):
    loop = loop_of(sections(), tmp_path, standard_hooks())
    step = loop.optimizer.step

    def half(*args, **kwargs):
        if loop.step == 4:
            with torch.no_grad():
                next(loop.raw_model.parameters()).zero_()
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(loop.optimizer, "step", half)
    with pytest.raises(KeyboardInterrupt):
        loop.fit()
    assert checkpoint.read(tmp_path / "last.pt")["step"] == 3


def test_a_stop_after_the_checkpoint_saves_the_step_it_names(tmp_path):
    class Stop(Hook):
        def after_step(self, loop, terms):
            loop.is_stopping = loop.step == 4

    result = api.train(sections(), tmp_path / "run", device="cpu", hooks=[Stop()])
    assert not result.is_finished and result.step == 4
    assert checkpoint.read(result.last_checkpoint)["step"] == 4


class KilledScore(Confusion):
    """Ends the process in the middle of an evaluation, as kill -9 does, where the environment says so."""

    def update(self, predictions, batch):
        if os.environ.get("KILL_IN_EVALUATION"):
            os.kill(os.getpid(), signal.SIGKILL)
        super().update(predictions, batch)


@pytest.mark.parametrize(
    "loop",
    [pytest.param(dict(eval_every=3), id="middle"), pytest.param(dict(eval_every=0), id="end", marks=pytest.mark.slow)],
)
def test_a_kill_during_an_evaluation_loses_neither_step_nor_score(loop, tmp_path):
    cfg = sections(**loop)
    cfg["metrics"] = [dict(type="tests.test_kept_work:KilledScore")]
    (tmp_path / "run.py").write_text(dump(cfg))
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "segkit.cli.main", "train", "run.py", "--device", "cpu", "--work-dir"]
    subprocess.run([*command, "whole"], cwd=tmp_path, env=env, check=True, capture_output=True)
    killed = env | {"KILL_IN_EVALUATION": "1"}
    done = subprocess.run([*command, "broken"], cwd=tmp_path, env=killed, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoint.read(tmp_path / "broken/last.pt")["step"] == (loop["eval_every"] or 6)
    subprocess.run([*command, "broken", "--resume"], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert_same_weights(tmp_path / "broken/last.pt", tmp_path / "whole/last.pt")
    assert_same_weights(tmp_path / "broken/best.pt", tmp_path / "whole/best.pt")
    ends = [checkpoint.read(tmp_path / name / "last.pt") for name in ("whole", "broken")]
    assert ends[0]["best"] == ends[1]["best"] and not list((tmp_path / "broken").glob(".*"))


class BadScores(Confusion):
    """Works without images, so that it shows at the first evaluation alone."""

    def update(self, predictions, batch):
        raise ValueError("no score")


def test_an_evaluation_that_fails_loses_no_step(tmp_path):
    cfg = sections(eval_every=2)
    cfg["metrics"] = [dict(type="tests.test_kept_work:BadScores")]
    with pytest.raises(ValueError, match="no score"):
        loop_of(cfg, tmp_path, standard_hooks()).fit()
    state = checkpoint.read(tmp_path / "last.pt")
    assert state["step"] == 2 and state["scored"] != 2


def test_what_only_observes_may_fail(unbroken, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(draw, "save_png", full)
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", full)

    class Watch(Record):
        is_observer = True

        def after_step(self, loop, terms):
            raise RuntimeError("a tracker")

    loop_of(sections(eval_every=3), tmp_path, (*standard_hooks(), Watch())).fit()
    err = capsys.readouterr().err
    for name in ("Visualise", "TensorBoard", "Watch"):
        assert err.count(f"warning: {name} failed") == 1, err
    assert_same_weights(tmp_path / "last.pt", unbroken / "last.pt")
    assert (tmp_path / "best.pt").exists()


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(DataError, match=r"log.jsonl: cannot be written \(Is a directory\); free space"):
        loop_of(sections(), tmp_path, standard_hooks()).fit()
    assert checkpoint.read(tmp_path / "last.pt")["step"] == 1


# folders


def train(place: Path, *words: str) -> int:
    cfg = place / "tiny.py"
    cfg.write_text(dump(sections()))
    return main(["train", str(cfg), "--work-dir", str(place / "run"), "--device", "cpu", *words])


def test_a_used_folder_is_refused_resumed_or_overwritten(tmp_path, capsys):
    assert train(tmp_path) == 0
    before = (tmp_path / "run/best.pt").read_bytes()
    assert train(tmp_path, "--cfg-options", "loop.steps=2") == 2
    err = capsys.readouterr().err
    assert "--resume" in err and "--overwrite" in err and "last.pt" in err and err.count("\n") == 1
    assert (tmp_path / "run/best.pt").read_bytes() == before
    assert train(tmp_path, "--resume", "--overwrite") == 2
    assert train(tmp_path, "--resume", "--cfg-options", "loop.steps=7") == 0
    (tmp_path / "run/notes.txt").write_text("mine")
    assert train(tmp_path, "--overwrite", "--cfg-options", "optimizer.lr_rate=1") == 2  # what fails removes nothing
    assert (tmp_path / "run/best.pt").exists()
    assert train(tmp_path, "--overwrite", "--cfg-options", "loop.steps=2") == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert max(steps) == 2 and (tmp_path / "run/notes.txt").exists()
    assert not (tmp_path / "run" / folder.LOCK).exists()


def test_a_folder_of_class_steps_is_used_as_well(tmp_path):
    (tmp_path / "step1").mkdir()
    (tmp_path / "step1/last.pt").touch()
    with pytest.raises(ConfigError, match=r"holds a run \(step1/last.pt\)"), folder.held(tmp_path):
        pass


def test_a_start_that_fails_leaves_no_empty_folder(tmp_path):
    for name, kept in (("empty", False), ("with_notes", True)):
        run = tmp_path / name
        run.mkdir()
        if kept:
            (run / "notes.txt").write_text("mine")
        with pytest.raises(ConfigError, match="no such checkpoint"), folder.held(run):
            raise ConfigError("init.path: no such checkpoint")
        assert run.exists() is kept and not (run / folder.LOCK).exists()


def test_two_runs_in_one_folder(tmp_path):
    with folder.held(tmp_path):
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} on \S+ is training in it"):
            with folder.held(tmp_path, resumes=True):
                pass
        assert (tmp_path / folder.LOCK).exists()
    assert not list(tmp_path.iterdir())


def write_lock(place: Path, **values) -> None:
    holder = {"pid": os.getpid(), "host": folder.socket.gethostname(), "began": folder._began(os.getpid())}
    (place / folder.LOCK).write_text(json.dumps(holder | values))


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    began = folder._began(os.getpid())
    values = [dict(pid=dead.pid)] + ([] if began is None else [dict(began=began - 1)])  # its number is used again
    for holder in values:
        write_lock(tmp_path, **holder)
        with folder.held(tmp_path):
            assert json.loads((tmp_path / folder.LOCK).read_text())["began"] == began
    (tmp_path / folder.LOCK).write_text("")


def test_a_run_on_another_machine_is_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "PATIENCE", 0.5)
    for text in (None, ""):
        write_lock(tmp_path, host="elsewhere")
        if text is not None:  # cut by a full disk
            (tmp_path / folder.LOCK).write_text(text)
        with folder.held(tmp_path):
            pass
    write_lock(tmp_path, host="elsewhere")
    beat = threading.Timer(0.2, os.utime, [tmp_path / folder.LOCK])
    beat.start()
    with pytest.raises(ConfigError, match="on elsewhere is training in it"), folder.held(tmp_path):
        pass
    beat.join()


def test_a_living_run_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "BEAT", 0.05)
    with folder.held(tmp_path):
        before = (tmp_path / folder.LOCK).stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / folder.LOCK).stat().st_mtime_ns > before


def test_drafts_of_dead_runs_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "step0").mkdir()
    gone = [f".last.pt.{dead.pid}.part", f".last.pt.{dead.pid}.tmp", f"step0/.best.pt.{dead.pid}.part", ".saving_4"]
    kept = [f".last.pt.{os.getppid()}.part", ".hidden", "a.part"]
    for name in gone + kept:
        (tmp_path / name).touch()
    with folder.held(tmp_path):
        pass
    assert not any((tmp_path / name).exists() for name in gone)
    assert all((tmp_path / name).exists() for name in kept)


@pytest.mark.parametrize(
    "words, wanted",
    [
        (["a.py", "--overwrite"], ["a.py", "--resume"]),
        (["--resume", "x/step_3.pt", "a.py"], ["a.py", "--resume"]),
        (["--resume=x.pt", "a.py", "--from-step", "2"], ["a.py", "--resume"]),
        (["--resume", "a.py", "--cfg-options", "loop.steps=3"], ["a.py", "--cfg-options", "loop.steps=3", "--resume"]),
    ],
)
def test_the_command_that_goes_on(words, wanted):
    told = resume_command(["segkit", "train", *words])
    assert told.split()[1:] == ["segkit", "train", *wanted]


# checkpoints


def test_a_damaged_checkpoint_names_the_whole_ones(unbroken, tmp_path):
    for name in ("best.pt", "last.pt"):
        (tmp_path / name).write_bytes((unbroken / name).read_bytes())
    content = (tmp_path / "last.pt").read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytearray(content)
    start = content.find(b"data/0")
    for position in rng.integers(start + 200, start + 5000, 200):
        flipped[position] ^= 0xFF
    for damaged in (bytes(flipped), content[: len(content) // 2], content[:-30], content[:1] + content[2:]):
        (tmp_path / "last.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.pt: .*whole in this folder, the newest first: best\.pt"):
            checkpoint.read(tmp_path / "last.pt")
    (tmp_path / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"last\.pt") as caught:
        checkpoint.read(tmp_path / "last.pt")
    assert "whole in this folder" not in str(caught.value)


def test_each_flipped_byte_of_a_weight_is_noticed(tmp_path):
    path = tmp_path / "w.pt"
    checkpoint.save(path, {"model": {"a": torch.arange(500.0), "b": torch.ones(7)}})
    content = path.read_bytes()
    start = content.find(torch.arange(500.0).numpy().tobytes())
    for position in np.random.default_rng(0).integers(start, start + 2000, 50):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match="is damaged, 1 of"):
            checkpoint.read(path)


def test_a_file_without_checksums_loads(tmp_path):
    was = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save({"model": {"a": torch.ones(3)}}, tmp_path / "a.pt")
        checkpoint.save(tmp_path / "b.pt", {"model": {"a": torch.ones(3)}})
    finally:
        torch.serialization.set_crc32_options(was)
    assert checkpoint.read(tmp_path / "a.pt")["model"]["a"].tolist() == [1, 1, 1]
    assert checkpoint.read(tmp_path / "b.pt")["model"]["a"].tolist() == [1, 1, 1]


def test_a_damaged_safetensors_file(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = {"a": torch.arange(50.0), "b": torch.ones((), dtype=torch.bfloat16), "c": torch.ones(0)}
    checkpoint.save(path, {"model": tensors})
    assert checkpoint.read(path)["model"].keys() == tensors.keys()
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError, match="tensors differ from their checksum"):
        checkpoint.read(path)
