"""The time that is left, and the bar: on a terminal alone, with lines above it."""

import io
import sys

import pytest

from segkit.engine.hooks import standard_hooks
from segkit.engine.notify import observing, tell
from segkit.engine.progress import UNKNOWN, Remaining, clock, evaluations_left
from tests.test_loop import loop_of
from tests.tiny import sections


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_time_counts_evaluations_and_not_the_start():
    remaining = Remaining()
    assert remaining.text(99, 0) == UNKNOWN
    remaining.add_steps(10, 20.0)
    assert remaining.text(89, 0) == "0:02:58"
    assert remaining.text(89, 2) == "0:02:58+", "how long an evaluation takes is not known yet"
    remaining.add_evaluation(60.0)
    assert remaining.text(89, 2) == "0:04:58"
    assert remaining.text(0, 0) == "0:00:00"


@pytest.mark.parametrize("total, every", [(10, 3), (9, 3), (7, 0), (1, 5), (12, 1)])
def test_evaluations_left_are_those_that_come(total, every):
    for step in range(total + 1):
        due = [s for s in range(step + 1, total + 1) if s == total or (every and s % every == 0)]
        assert evaluations_left(step, total, every) == len(due), step


def test_a_clock():
    assert [clock(s) for s in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]


def test_the_first_line_does_not_multiply_the_start(tmp_path, capsys):
    cfg = sections(eval_every=2)
    cfg["loop"] |= dict(steps=40, log_every=1, save_every=0, eval_every=0)
    cfg.pop("val")
    loop_of(cfg, tmp_path, standard_hooks()[2:3]).fit()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert lines[0].endswith(f"left {UNKNOWN}") and lines[-1].endswith("left 0:00:00")
    assert all("left 0:0" in line for line in lines[1:])


def test_a_bar_on_a_terminal_ends_whole_and_lines_stand_above_it(tmp_path, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    loop_of(sections(eval_every=3), tmp_path, standard_hooks()).fit()
    text = screen.getvalue()
    assert "6/6 [" in text and ", left 0:00:00]" in text and "validating 1/5" in text
    # a line of the log begins in the first column: the bar was taken away before it
    for line in text.split("\n"):
        if "val: mIoU" in line or "CrossEntropy" in line:
            assert line.rpartition("\r")[2].startswith("step "), repr(line)


def test_no_bar_where_the_output_is_no_terminal(tmp_path, capsys):
    loop_of(sections(eval_every=3), tmp_path, standard_hooks()).fit()
    told = capsys.readouterr()
    assert told.err == "" and "\r" not in told.out and "validating" not in told.out
    assert "step 6/6" in told.out


def test_warnings_stand_above_a_bar(monkeypatch):
    from tqdm import tqdm

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with tqdm(total=2, file=screen) as bar:
        bar.update(1)
        tell("a warning")
        with observing(object(), "Painter"):
            raise OSError("no paint")
    lines = [line.rpartition("\r")[2] for line in screen.getvalue().split("\n")]
    assert "a warning" in lines and any(line.startswith("warning: Painter failed") for line in lines)
