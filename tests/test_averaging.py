"""Averages of checkpoints: the mean by hand, the greedy choice, norms counted anew, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.data.loader import train_loader
from segkit.engine import checkpoint, setup
from segkit.engine.checkpoint import CheckpointError
from segkit.runners import averaging
from tests.tiny import sections


def saved(path, value: float, **more):
    weights = {"a.weight": torch.full((2,), value), "count": torch.tensor(int(value))}
    checkpoint.save(path, {"model": weights, "config": {}, "classes": ["sky", "road"], **more})
    return path


def test_mean_by_hand(tmp_path):
    paths = [saved(tmp_path / f"{i}.pt", value) for i, value in enumerate((1.0, 2.0, 6.0))]
    mean = averaging.average(paths)
    assert mean["model"]["a.weight"].tolist() == [3.0, 3.0] and mean["model"]["a.weight"].dtype == torch.float32
    assert int(mean["model"]["count"]) == 1, "a counter is the first file's"
    assert mean["classes"] == ["sky", "road"]


def test_moving_averages_are_taken(tmp_path):
    ema = {"a.weight": torch.full((2,), 10.0), "count": torch.tensor(1)}
    paths = [saved(tmp_path / "a.pt", 1.0, ema=ema), saved(tmp_path / "b.pt", 2.0)]
    assert averaging.average(paths)["model"]["a.weight"].tolist() == [6.0, 6.0]


def test_other_networks_and_classes_are_refused(tmp_path):
    first = saved(tmp_path / "a.pt", 1.0)
    other = saved(tmp_path / "b.pt", 1.0, classes=["road", "sky"])
    with pytest.raises(CheckpointError, match=r"b\.pt: its classes are road, sky, those of .*a\.pt sky, road"):
        averaging.average([first, other])
    checkpoint.save(tmp_path / "c.pt", {"model": {"a.weight": torch.ones(3), "count": torch.tensor(1)}, "config": {}})
    with pytest.raises(CheckpointError, match=r"c\.pt: a\.weight has shape \(3,\), in .*a\.pt \(2,\)"):
        averaging.average([first, tmp_path / "c.pt"])
    # whole numbers are counters, of which the first file's stays: the weights of one file would be divided by two
    whole = {"a.weight": torch.ones(2, dtype=torch.long), "count": torch.tensor(1)}
    checkpoint.save(tmp_path / "d.pt", {"model": whole, "config": {}})
    for paths, message in (
        ([first, tmp_path / "d.pt"], r"d\.pt: a\.weight is of type int64, in .*a\.pt float32"),
        ([tmp_path / "d.pt", first], r"a\.pt: a\.weight is of type float32, in .*d\.pt int64"),
    ):
        with pytest.raises(CheckpointError, match=message):
            averaging.average(paths)
    checkpoint.save(tmp_path / "d.pt", {"model": {"b.weight": torch.ones(2)}, "config": {}})
    with pytest.raises(CheckpointError, match=r"d\.pt: 'a\.weight' is not in both"):
        averaging.average([first, tmp_path / "d.pt"])


def test_greedy_leaves_out_what_lowers_the_score(tmp_path):
    """The score is nearness to 2. Alone: 1 has -1, 2.5 has -.5, 9 has -7; (2.5 + 1) / 2 has -.25, with 9 it is less."""
    paths = [saved(tmp_path / f"{value}.pt", value) for value in (1.0, 2.5, 9.0)]
    lines: list[str] = []
    content, kept = averaging.greedy(paths, lambda c: -abs(float(c["model"]["a.weight"][0]) - 2), lines.append)
    assert [path.name for path in kept] == ["2.5.pt", "1.0.pt"]
    assert content["model"]["a.weight"].tolist() == [1.75, 1.75]
    assert len(lines) == 3 and "left out" in lines[2]


def two_runs(tmp_path) -> list[str]:
    paths = []
    for seed in (0, 1):
        api.train(sections(seed=seed), tmp_path / str(seed), device="cpu")
        paths.append(str(tmp_path / str(seed) / "last.pt"))
    return paths


def test_command(tmp_path, capsys):
    paths, out = two_runs(tmp_path), tmp_path / "soup.pt"
    assert main(["average", *paths, "--out", str(out), "--update-norms", "3", "--device", "cpu", "--trust"]) == 0
    assert "statistics of 2 batch normalizations are counted anew" in capsys.readouterr().out
    soup = api.load_model(out, trust=True)
    a, b = (checkpoint.read(path)["model"] for path in paths)
    name = "head.classifier.weight"
    torch.testing.assert_close(soup.state_dict()[name], (a[name] + b[name]) / 2)

    # the first norm sees what the first convolution makes of the images: its statistics by numpy
    cfg = soup.config
    items, sampler, settings = setup.build_training(cfg["train"], 1 if cfg["loop"]["seed"] else 0)
    loader = train_loader(items, sampler, batch_size=settings.batch_size, workers=0)
    means = []
    for _ in range(3):
        images = (next(loader)["image"].float() - 127.5) / 64
        means.append(soup.backbone.first[0](images).mean((0, 2, 3)).detach().numpy())
    found = soup.backbone.first[1].running_mean.numpy()
    np.testing.assert_allclose(found, np.mean(means, 0), atol=1e-5)

    assert (
        main(["average", *paths, "--out", str(tmp_path / "greedy.pt"), "--greedy", "--device", "cpu", "--trust"]) == 0
    )
    said = capsys.readouterr().out
    assert "alone, the best" in said and (tmp_path / "greedy.pt").exists()
    assert not list(tmp_path.glob(".*")), "no candidate is left behind"

    before = Path(paths[0]).read_bytes()
    assert main(["average", *paths, "--out", paths[0], "--device", "cpu", "--trust"]) == 2
    assert "is read by this command, and the result would replace it" in capsys.readouterr().err
    assert Path(paths[0]).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.pt", "--out", "b.pt"], "name two or more different checkpoints"),
        (["a.pt", "./a.pt", "--out", "b.pt"], "name two or more different checkpoints"),
        (["a.pt", "c.pt", "--out", "b.txt"], "must end in .pt or .safetensors"),
        (["a.pt", "c.pt", "--out", "b.pt"], "a.pt: no such checkpoint"),
        (["a.pt", "c.pt", "--out", "b.pt", "--update-norms", "-1"], "must be 0 or more"),
    ],
)
def test_refusals(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["average", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b.pt").exists()
