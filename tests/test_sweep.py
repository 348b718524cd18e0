"""segkit sweep: spaces, trials in processes of their own, what is kept, the table. Trials here are stand-ins of ms."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from segkit.cli import sweep, trial
from segkit.cli.main import main
from segkit.files import DataError
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from segkit.runners import sweeping
from segkit.runners.sweeping import Space, Trial, folder_name, grid, ordered, parse_space, random_trials
from segkit.viz.plots import sweep_plot
from tests.test_two_models import two_models
from tests.tiny import sections

STAND_IN = """
import json, os, sys
folder, rate = sys.argv[1], float(sys.argv[2])
open(folder + "/runs", "a").write(os.environ.get("CUDA_VISIBLE_DEVICES", "-") + "\\n")
if rate == 0.3 and not os.path.exists(folder + "/../mended"):
    sys.exit("ConfigError: too high")
score = dict(best=100 - 100 * abs(rate - 0.2), monitor="mIoU", better="higher", step=1)
json.dump(score, open(folder + "/result.json", "w"))
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """A config, in whose sweeps a script takes the place of the training."""

    def command(args, trial):
        return [sys.executable, "-S", "-c", STAND_IN, trial.folder, trial.options[0].partition("=")[2]]

    monkeypatch.setattr(sweep, "_command", command)
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(dump(sections()))
    return Path("my.py")


def run(*words: str) -> int:
    return main(["sweep", "my.py", *words])


def table() -> list[dict]:
    with open("work_dirs/sweep_my/sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def runs() -> dict[str, list[str]]:
    return {path.parent.name: path.read_text().split() for path in Path("work_dirs/sweep_my").glob("*/runs")}


def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(config, capsys):
    assert run("--grid", "optimizer.lr=0.3,0.1,0.2") == 1
    rows = table()
    assert [row["optimizer.lr"] for row in rows] == ["0.2", "0.1", "0.3"], "the best first, without a score last"
    assert [row["mIoU"] for row in rows] == ["100", "90", ""]
    assert rows[2]["status"] == "failed" and rows[2]["error"] == "ConfigError: too high"
    told = capsys.readouterr()
    assert "trial 1/3  optimizer.lr=0.3  failed: ConfigError: too high" in told.err
    assert Path("work_dirs/sweep_my/sweep.png").is_file()
    # again: what has finished is kept, what failed is tried again
    Path("work_dirs/sweep_my/mended").touch()
    assert run("--grid", "optimizer.lr=0.3,0.1,0.2") == 0
    assert {name: len(lines) for name, lines in runs().items()} == {
        "optimizer.lr=0.1": 1,
        "optimizer.lr=0.2": 1,
        "optimizer.lr=0.3": 2,
    }
    assert [trial["score"] for trial in json.loads(Path("work_dirs/sweep_my/sweep.json").read_text())] == [100, 90, 90]


def test_a_failed_trial_is_ranked_behind_those_that_ended():
    trials = [Trial([], "a", "", better="higher", score=3.0), Trial([], "b", ""), Trial([], "c", "", "failed", 9.0)]
    trials.append(Trial([], "d", "", "finished", 5.0))
    assert [trial.folder for trial in ordered(trials)] == ["d", "a", "c", "b"]


def test_a_trial_of_several_stages_is_not_trained_twice(tmp_path):
    (tmp_path / "my.py").write_text(dump(two_models()))
    words = [str(tmp_path / "my.py"), str(tmp_path / "run"), "cpu"]
    assert trial.main(words) == 0
    first = tmp_path / "run/presence/last.pt"
    written = first.stat().st_mtime_ns
    assert trial.main(words) == 0
    assert first.stat().st_mtime_ns == written


def test_each_gpu_runs_one_trial_at_a_time(config):
    assert run("--grid", "optimizer.lr=0.1,0.11,0.12,0.13", "--gpus", "2,5") == 0
    used = [lines[0] for lines in runs().values()]
    assert len(used) == 4 and set(used) <= {"2", "5"}


def test_a_wrong_value_of_the_last_trial_is_refused_before_the_first(config, capsys):
    assert run("--grid", "optimizer.lr=0.1,-3") == 2
    assert "trial optimizer.lr=-3, before any has run: optimizer.lr = -3: must be" in capsys.readouterr().err
    assert run("--grid", "optimizer.lrr=0.1,0.2") == 2
    assert "did you mean 'lr'?" in capsys.readouterr().err
    assert not runs()


def test_trials_of_another_config_are_not_mixed(config, capsys):
    assert run("--grid", "optimizer.lr=0.1") == 0
    assert run("--grid", "optimizer.lr=0.1", "--cfg-options", "loop.ema=0.5") == 2
    assert "holds a trial of another config" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, sentence",
    [
        ((), "give either --grid"),
        (("--grid", "a=1", "--random", "a=2"), "give either --grid"),
        (("--grid", "a=1", "--trials", "3"), "a grid has its own trials"),
        (("--grid", "a=uniform(0,1)"), "a grid has no end of such values"),
        (("--grid", "optimizer.lr"), "--grid optimizer.lr: expected a.b=1,2,3"),
        (("--grid", "a.b=1", "a.b=2"), "a.b: is swept twice"),
        (("--random", "a=uniform(2,1)"), "the first number must be below the second"),
        (("--random", "a=loguniform(0,1)"), "above 0 for loguniform"),
        (("--random", "a=int(0.5,2)"), "both whole for int"),
        (("--random", "a=uniform(x,2)"), "x and 2 must be numbers"),
        (("--random", "a=1,2", "--trials", "0"), "--trials 0: must be from 1 to 10,000"),
        (("--random", "a=1,2", "--trials", "1000000000"), "--trials 1000000000: must be from 1 to 10,000"),
        (("--random", "a=1,2", "--seed", "-1"), "--seed -1: must be 0 or more"),
        (("--random", "a=int(1,inf)"), "1 and inf must lie within 1e+18 of 0"),
        (("--random", "a=int(nan,2)"), "nan and 2 must lie within 1e+18 of 0"),
        (("--random", "a=uniform(0,1e308)"), "0 and 1e308 must lie within 1e+18 of 0"),
        (("--grid", *(f"{name}={','.join(map(str, range(22)))}" for name in "abc")), "--grid: 10,648 trials"),
        (("--grid", "a=1", "--gpus", "0,0"), "--gpus 0,0: must be different numbers"),
        (("--random", "a=1,2", "--optuna", "--gpus", "0,1"), "each trial follows from the scores before it"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(words, sentence, config, capsys):
    assert run(*words) == 2
    assert sentence in capsys.readouterr().err


def test_values_with_commas_in_brackets_stay_whole():
    space = parse_space("inference.crop=(64,64),(96,96)", is_grid=True)
    assert space.values == ("(64,64)", "(96,96)")
    assert parse_space("a=[1,2],{'b': 3},'x,y'", is_grid=True).values == ("[1,2]", "{'b': 3}", "'x,y'")
    assert grid([Space("a", "choice", ("1", "2")), Space("b", "choice", ("3", "4"))]) == [
        ["a=1", "b=3"],
        ["a=1", "b=4"],
        ["a=2", "b=3"],
        ["a=2", "b=4"],
    ]


def test_draws_lie_in_their_ranges_and_more_trials_add_to_those_of_before():
    texts = ("a=loguniform(1e-5,1e-2)", "b=uniform(-1,1)", "c=int(1,3)", "d=x,y")
    spaces = [parse_space(text, is_grid=False) for text in texts]
    few, many = random_trials(spaces, 20, 0), random_trials(spaces, 300, 0)
    assert many[:20] == few != random_trials(spaces, 20, 1)
    columns = list(zip(*([option.partition("=")[2] for option in options] for options in many)))
    logs = np.log10(np.array(columns[0], float))
    assert -5 <= logs.min() < -4.8 and -2.2 < logs.max() <= -2 and abs(logs.mean() + 3.5) < 0.2
    assert np.array(columns[1], float).min() >= -1 and np.array(columns[1], float).max() <= 1
    assert set(columns[2]) == {"1", "2", "3"} and set(columns[3]) == {"x", "y"}
    assert len(random_trials(spaces[3:], 50, 0)) == 2, "a value that was drawn before is not trained again"


def test_equal_values_of_a_grid_are_one_trial():
    assert sweeping.grid([sweeping.parse_space("a=1,2,1", is_grid=True)]) == [["a=1"], ["a=2"]]


@pytest.mark.parametrize("text", ["[]", "5", '{"config": 5}', "{}", '{"config": "%s", "score": "high"}', '{"x": 1}'])
def test_records_that_somebody_else_wrote(tmp_path, text):
    digest = sweeping.trial_of(["a=1"], tmp_path, {}).config
    path = tmp_path / "a=1" / "trial.json"
    path.parent.mkdir()
    path.write_text(text.replace("%s", digest))
    with pytest.raises(DataError, match=r"trial\.json: is no record of a trial"):
        sweeping.trial_of(["a=1"], tmp_path, {})


def test_a_kept_trial_is_that_of_its_folder(tmp_path):
    trial = sweeping.trial_of(["a=1"], tmp_path / "old", {})
    trial.status, trial.score = "finished", float("nan")
    trial.save()
    (tmp_path / "old").rename(tmp_path / "new")
    kept = sweeping.trial_of(["a=1"], tmp_path / "new", {})
    assert (kept.status, kept.folder) == ("finished", str(tmp_path / "new" / "a=1")) and kept.score != kept.score


@pytest.mark.parametrize("text", ["[]", '{"best": "x"}', '{"best": 1, "scores": [[1]]}', '{"best": 1, "monitor": 5}'])
def test_results_that_are_none(tmp_path, text):
    trial = sweeping.trial_of(["a=1"], tmp_path, {})
    trial.save()
    (tmp_path / "a=1" / "result.json").write_text(text)
    with pytest.raises(DataError, match=r"result\.json: is no result of a trial"):
        trial.take_result()
    (tmp_path / "a=1" / "result.json").write_text(
        '{"best": 3, "monitor": "mIoU", "better": "higher", "scores": [[5, 3]]}'
    )
    trial.take_result()
    assert (trial.score, trial.monitor, trial.better, trial.scores) == (3, "mIoU", "higher", [[5, 3]])


def test_names_of_folders_show_the_values_and_differ():
    assert folder_name(["optimizer.lr=0.1", "a=2"]) == "optimizer.lr=0.1_a=2"
    assert folder_name(["a=(1,2)"]) != folder_name(["a=[1,2]"])
    long = folder_name([f"train.transforms.{i}.p=0.5" for i in range(20)])
    assert len(long) < 120 and "/" not in folder_name(["train.dataset.root=/x/y"])


def test_plots_take_numbers_and_names(tmp_path):
    values = [{"lr": "0.001", "amp": "off"}, {"lr": "0.1", "amp": "bf16"}]
    assert sweep_plot(values, [10.0, 20.0], tmp_path / "a.png", "mIoU").stat().st_size > 1000
    with pytest.raises(ValueError, match="no trials"):
        sweep_plot([], [], tmp_path / "b.png", "mIoU")


def test_optuna_chooses_from_the_scores_so_far(config):
    pytest.importorskip("optuna")
    words = ("--random", "optimizer.lr=uniform(0.01,0.29)", "--optuna")
    assert run(*words, "--trials", "4") == 0
    first = set(runs())
    assert run(*words, "--trials", "6") == 0
    assert first < set(runs()) and len(runs()) == 6, "with one seed the first four are the same, and kept"


CURVES = """
import json, signal, sys, time
folder, rate = sys.argv[1], float(sys.argv[2])
is_asked = []
signal.signal(signal.SIGTERM, lambda *_: is_asked.append(True) if rate < 0.1 else None)
if rate > 0.25:
    scores = []  # nothing could be scored
elif rate > 0.2:
    scores = [[1, 99.0]]
else:
    scores = [[step, 100 * step * (0.1 + rate)] for step in (1, 2, 3)]
for number in range(len(scores)):
    best = max(score for _, score in scores[: number + 1])
    result = dict(best=best, monitor="mIoU", better="higher", step=number + 1, scores=scores[: number + 1])
    json.dump(result, open(folder + "/draft", "w"))
    __import__("os").replace(folder + "/draft", folder + "/result.json")
    end = time.monotonic() + 20 * (rate < 0.1)
    while time.monotonic() < end and not is_asked:
        time.sleep(0.01)
    if is_asked:
        sys.exit(130)
if rate > 0.2:
    sys.exit(rate < 0.25 and "NonFiniteLoss: step 2" or 0)
"""


def test_a_hopeless_trial_is_stopped_and_the_table_says_at_which_step(config, monkeypatch, capsys):
    """Five trials with scores, one without and one with an error between them; then two that are stopped."""
    pytest.importorskip("optuna")
    from segkit.cli import optuna_trials, trial_process

    rates = iter([0.19, 0.18, 0.17, 0.29, 0.22, 0.16, 0.15, 0.02, 0.01])
    monkeypatch.setattr(trial_process, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(optuna_trials, "suggest", lambda asked, space: str(next(rates)))
    monkeypatch.setattr(
        sweep,
        "_command",
        lambda args, trial: [sys.executable, "-S", "-c", CURVES, trial.folder, trial.options[0].partition("=")[2]],
    )
    options = ("--cfg-options", "loop.eval_every=2")
    words = ("--random", "optimizer.lr=uniform(0.01,0.29)", "--optuna", "--prune", *options)
    assert run(*words, "--trials", "9") == 1, "one has failed"
    rows = {row["optimizer.lr"]: row for row in table()}
    assert {rate: (row["status"], row["pruned_at"]) for rate, row in rows.items()} == {
        "0.22": ("failed", ""),
        **dict.fromkeys(("0.19", "0.18", "0.17", "0.16", "0.15", "0.29"), ("finished", "")),
        **dict.fromkeys(("0.02", "0.01"), ("pruned", "1")),
    }
    assert float(rows["0.02"]["mIoU"]) == pytest.approx(12) and rows["0.29"]["mIoU"] == ""
    assert rows["0.22"]["error"] == "NonFiniteLoss: step 2"
    told = capsys.readouterr().out
    assert "trial 8/9  optimizer.lr=0.02  mIoU 12.00  pruned at step 1" in told
    assert "pruned_at" in told.splitlines()[-11]
    # again: the stopped ones stay so
    rates = iter([0.19, 0.02])
    assert run(*words, "--trials", "2") == 0
    assert "trial 2/2  optimizer.lr=0.02  pruned before" in capsys.readouterr().out
    # without --prune one goes on
    monkeypatch.setattr(sweep, "_command", lambda args, trial: [sys.executable, "-S", "-c", "pass"])
    rates = iter([0.02])
    assert run("--random", "optimizer.lr=uniform(0.01,0.29)", "--optuna", "--trials", "1", *options) == 0
    assert [row["status"] for row in table()] == ["finished"]


def test_the_kept_scores_of_earlier_trials_decide_as_new_ones_do():
    pytest.importorskip("optuna")
    from segkit.cli.optuna_trials import OptunaStudy

    def trial(status: str, scores: list[list[float]], better: str) -> Trial:
        best = (max if better == "higher" else min)(score for _, score in scores)
        return Trial(["a=1"], "x", "", status, best, "mIoU", better, scores=scores)

    for better, good, bad in (("higher", 50.0, 40.0), ("lower", 40.0, 50.0)):
        study = OptunaStudy([Space("a", "uniform", (), 0, 1)], 0, is_pruning=True)
        for number in range(5):
            study.ask()
            assert not study.is_hopeless(trial("running", [[10, good + number]], better)), "too few to compare with"
            study.tell(trial("finished", [[10, good + number], [20, good + number]], better))
        study.ask()
        assert not study.is_hopeless(trial("running", [[5, bad]], better)), "no other trial has a score at this step"
        assert study.is_hopeless(trial("running", [[5, bad], [10, bad - 1 if better == "higher" else bad + 9]], better))
        study.tell(trial("failed", [[5, bad]], better))
        study.ask()
        study.tell(Trial(["a=1"], "x", "", "finished"))
        states = [done.state.name for done in study._study.trials]
        assert states == ["COMPLETE"] * 5 + ["FAIL"] * 2


def test_what_cannot_be_pruned_is_one_sentence(config, capsys):
    words = ("--random", "optimizer.lr=uniform(0.01,0.29)")
    assert run(*words, "--prune") == 2
    assert "--prune: Optuna decides which trials are stopped; give --optuna as well" in capsys.readouterr().err
    assert run(*words, "--optuna", "--prune") == 2
    assert "--prune: loop.eval_every = 0 scores a trial at its end alone" in capsys.readouterr().err
    Path("my.py").write_text(dump({key: value for key, value in sections().items() if key != "val"}))
    assert run(*words, "--optuna") == 2
    assert "--optuna: my.py has no section `val`, so that no trial has a score" in capsys.readouterr().err


def test_a_missing_optuna_is_one_sentence(config, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run("--random", "optimizer.lr=0.1,0.2", "--optuna") == 2
    assert "--optuna: needs the package optuna: pip install 'segkit[optuna]'" in capsys.readouterr().err


def test_a_trial_trains_and_writes_its_score(tmp_path, capsys):
    (tmp_path / "my.py").write_text(dump(sections()))
    words = [str(tmp_path / "my.py"), str(tmp_path / "run"), "cpu", "loop.steps=1"]
    assert trial.main(words) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["monitor"] == "mIoU" and result["better"] == "higher" and result["step"] == 1
    assert result["scores"] == [[1, result["best"]]]
    assert trial.main([*words[:3], "loop.stepss=1"]) == 2
    with pytest.raises(ConfigError):
        parse_space("a", is_grid=False)
