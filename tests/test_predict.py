"""Results of `segkit predict` keep the tree of the images; no result replaces another, and no bad file ends it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.engine.hooks import standard_hooks
from tests.test_loop import loop_of
from tests.tiny import sections


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    loop_of(sections(), folder, standard_hooks()).fit()
    return folder / "best.pt"


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((20, 30, 3), 90, np.uint8))


def predict(weights: Path, out: Path, *paths: Path) -> int:
    words = [str(weights), *map(str, paths), "--out", str(out), "--device", "cpu"]
    return main(["predict", *words, "--trust"])  # the checkpoint's network is of the tests


def results(out: Path) -> list[str]:
    labels = sorted(path.relative_to(out / "labels").as_posix() for path in (out / "labels").rglob("*.png"))
    overlays = sorted(path.relative_to(out / "overlays").as_posix() for path in (out / "overlays").rglob("*.png"))
    assert labels == overlays
    return labels


def test_the_tree_below_the_named_folder_is_kept(weights, tmp_path):
    write(tmp_path, "in/x/s/1/i.png", "in/y/s/1/i.png", "in/i.jpg", "in/a.b.png")
    assert predict(weights, tmp_path / "out", tmp_path / "in") == 0
    assert results(tmp_path / "out") == ["a.b.png", "i.png", "x/s/1/i.png", "y/s/1/i.png"]


def test_a_glob_keeps_the_tree_below_its_fixed_part(weights, tmp_path):
    write(tmp_path, "x/s/i.png", "y/s/i.png", "a[1].png", "z/j.png")
    assert predict(weights, tmp_path / "out", tmp_path / "*/s/*.png", tmp_path / "a[1].png", tmp_path / "z/j.png") == 0
    assert results(tmp_path / "out") == ["a[1].png", "j.png", "x/s/i.png", "y/s/i.png"]


@pytest.mark.parametrize(
    "names, paths",
    [(["a.jpg", "a.png"], ["."]), (["x/i.png", "y/i.png"], ["x", "y"]), (["x/i.png", "y/i.png"], ["x/i.png", "y"])],
)
def test_two_images_of_one_name_are_refused(names, paths, weights, tmp_path, capsys):
    write(tmp_path / "in", *names)
    assert predict(weights, tmp_path / "out", *(tmp_path / "in" / path for path in paths)) == 2
    err = capsys.readouterr().err
    assert all(str(Path(name)) in err for name in names) and "both results would be written to" in err
    assert not (tmp_path / "out").exists()


def test_an_image_named_twice_is_predicted_once(weights, tmp_path):
    write(tmp_path / "in", "x/i.png")
    assert predict(weights, tmp_path / "out", tmp_path / "in", tmp_path / "in/x/i.png") == 0
    assert results(tmp_path / "out") == ["x/i.png"]


def test_results_of_an_earlier_command_are_no_images(weights, tmp_path):
    """With --out below the images, the second run labelled the labels and overlays of the first."""
    write(tmp_path / "in", "a.png", "sub/b.png")
    for _ in range(2):
        assert predict(weights, tmp_path / "in/out", tmp_path / "in") == 0
        assert results(tmp_path / "in/out") == ["a.png", "sub/b.png"]
    assert predict(weights, tmp_path / "in/out", tmp_path / "in/out/overlays") == 0  # named itself
    assert predict(weights, tmp_path / "in", tmp_path / "in/sub") == 0
    assert results(tmp_path / "in") == ["b.png"]


def test_hidden_files_are_passed_over(weights, tmp_path):
    write(tmp_path / "in", "i.png", ".hidden.png", ".folder/j.png")
    (tmp_path / "in/._i.png").write_bytes(b"\x00\x05\x16\x07")
    assert predict(weights, tmp_path / "out", tmp_path / "in") == 0
    assert results(tmp_path / "out") == ["i.png"]
    assert predict(weights, tmp_path / "one", tmp_path / "in/.hidden.png") == 0
    assert results(tmp_path / "one") == [".hidden.png"]


def test_files_that_cannot_be_read_are_listed_at_the_end(weights, tmp_path, capsys):
    write(tmp_path / "in", "a.png", "c.png", "d.png")
    (tmp_path / "in/b.png").write_text("no image")
    (tmp_path / "in/c.png").write_bytes((tmp_path / "in/c.png").read_bytes()[:50])
    np.save(tmp_path / "in/e.npy", np.zeros((0, 5, 3), np.uint8))
    assert predict(weights, tmp_path / "out", tmp_path / "in") == 1
    told = capsys.readouterr()
    assert "2 images: " in told.out and "3 of 5 images failed:" in told.err
    assert "b.png" in told.err and "c.png" in told.err and "Traceback" not in told.err
    assert "e.npy: an array of 0x5x3 values, so of no pixel" in told.err
    assert results(tmp_path / "out") == ["a.png", "d.png"]
