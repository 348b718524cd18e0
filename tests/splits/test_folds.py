"""segkit train --folds: every fold trained and scored once, kept on resume, the ensemble on the test set, one table."""

import json

import numpy as np
import pytest

from segkit import api
from segkit.cli.main import main
from segkit.readers.python_config import dump
from segkit.runners.fold_table import as_markdown, as_text, rows, spread, spreads
from tests.self_training.made import supervised


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def config(path, **changes):
    """Two steps on twelve drawn images."""
    cfg = supervised()
    cfg["loop"] |= dict(steps=2, save_every=0)
    cfg["train"]["dataset"] = cfg["train"]["dataset"]["dataset"]
    cfg["train"]["batch_size"] = 2
    cfg |= changes
    path.write_text(dump(cfg))
    return str(path)


def test_the_spread_of_four_scores():
    """Mean 5, sum of squares 20: s = sqrt(20 / 3); the quantile of t with 3 degrees is 3.1824463 in every table."""
    found = spread([2.0, 4.0, 6.0, 8.0])
    assert found.mean == 5 and found.deviation == pytest.approx((20 / 3) ** 0.5)
    assert found.half == pytest.approx(3.1824463 * (20 / 3) ** 0.5 / 2)


def test_the_table():
    scores = [{"mIoU": 10.0, "images": 3, "per_class": {"a": 1.0}}, {"mIoU": 20.0, "images": 3, "aAcc": 1.0}]
    found = spreads(scores)
    assert list(found) == ["mIoU"]
    table = rows(found, {"mIoU": 33.0})
    # 12.706 * 7.0711 / sqrt(2) = 63.53
    assert table == [
        ["score", "fold 0", "fold 1", "mean", "std", "95 % interval", "ensemble, test"],
        ["mIoU", "10.00", "20.00", "15.00", "7.07", "-48.53 .. 78.53", "33.00"],
    ]
    assert as_text(table).splitlines()[1].split()[:3] == ["mIoU", "10.00", "20.00"]
    assert as_markdown(table).splitlines()[1] == "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


def test_folds_are_trained_scored_and_kept(tmp_path, capsys, monkeypatch):
    test = dict(dataset=dict(type="Shapes", size=(32, 32), length=4, split="test", instances=False))
    path, work = config(tmp_path / "c.py", test=test), tmp_path / "run"
    words = ["train", path, "--folds", "3", "--work-dir", str(work), "--device", "cpu"]
    assert main(words) == 0
    out = capsys.readouterr().out
    content = json.loads((work / "folds.json").read_text())
    assert [scores["images"] for scores in content["folds"]] == [4, 4, 4]
    values = content["scores"]["mIoU"]["values"]
    assert content["scores"]["mIoU"]["mean"] == pytest.approx(np.mean(values))
    # the ensemble is the mean of the three models' probabilities on the test set
    paths = [work / f"fold{k}" / "last.pt" for k in range(3)]
    assert content["ensemble"]["mIoU"] == api.evaluate(paths, trust=True)["mIoU"] and content["ensemble"]["images"] == 4
    assert "ensemble, test" in out and "section val is the held-out part of train.dataset, not Shapes" in out
    assert (
        (work / "folds.md").read_text().startswith("| score | fold 0 | fold 1 | fold 2 | mean | std | 95 % interval |")
    )
    # a finished run is refused, and on resume nothing is trained again but the fold whose result is gone
    assert main(words) == 2 and "fold0" in capsys.readouterr().err
    (work / "fold1" / "fold.json").unlink()
    trained = []
    train = api.train

    def noted(cfg, place, **options):
        trained.append(place.name)
        return train(cfg, place, **options)

    monkeypatch.setattr(api, "train", noted)
    assert main([*words, "--resume"]) == 0
    assert trained == ["fold1"] and json.loads((work / "folds.json").read_text())["scores"] == content["scores"]
    assert main([*words[:3], "2", *words[4:], "--resume"]) == 2
    assert "fold0/fold.json: is of another division" in capsys.readouterr().err


def test_without_a_test_set_the_reason_is_told(tmp_path, capsys):
    path = config(tmp_path / "c.py")
    assert main(["train", path, "--folds", "2", "--work-dir", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert "no score of the ensemble: the config has no section `test`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "--folds 1: must be 2 or more"),
        (["--folds", "13"], "--folds 13: must lie between 2 and 12, the number of images of Shapes"),
        (["--folds", "3", "--folds-by", "patient"], "--folds-by = 'patient': this regular expression matches no id"),
        (["--folds", "3", "--from-step", "1"], "--folds and --from-step"),
        (["--folds", "3", "--resume", "x.pt"], "--folds and --resume x.pt"),
        (["--folds-by", "folder"], "--folds-by folder: needs --folds K"),
    ],
)
def test_requests_that_do_not_fit(tmp_path, capsys, words, message):
    assert main(["train", config(tmp_path / "c.py"), "--work-dir", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err


def test_configs_that_cannot_be_folded(tmp_path, capsys):
    folded = supervised()["train"]
    words = ["--folds", "2", "--work-dir", str(tmp_path / "run")]
    assert main(["train", config(tmp_path / "c.py", train=folded), *words]) == 2
    assert "train.dataset is a Fold already" in capsys.readouterr().err
    assert main(["train", "configs/quickstart/interactive.py", *words]) == 2
    assert "is not scored by runner Interactive" in capsys.readouterr().err
    cfg = supervised()["train"] | dict(dataset=dict(type="CamVid", root=None, split=dict(folds=5, fold=0)))
    assert main(["train", config(tmp_path / "d.py", train=cfg), *words]) == 2
    assert "train.dataset is a Fold already" in capsys.readouterr().err
