"""`segkit refine` on masks of other programs and on checkpoints: what comes out, and what is refused before anything is
written."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segkit.cli.main import main
from segkit.cli.refine import row_of
from segkit.engine import checkpoint
from segkit.registry import build_model
from segkit.runners.given_masks import GivenMasks

IDENTITY = "DenseCRF,position_weight=0,bilateral_weight=0"
SWAP = "tests.refiners.doubles:Swap"
LABELS = np.array([[0, 1, 2, 2], [0, 1, 255, 2], [1, 1, 0, 2]], np.uint8)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path, Path]:
    """Folders of masks and images, with one of each, and one for the results."""
    masks, images = tmp_path / "masks", tmp_path / "images"
    masks.mkdir()
    images.mkdir()
    save(masks / "a.png", LABELS)
    save(images / "a.jpg", np.zeros((3, 4, 3), np.uint8))
    return masks, images, tmp_path / "out"


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def refine(folders, *words: str) -> int:
    masks, images, out = folders
    return main(["refine", str(masks), str(images), "--out", str(out), *words])


def refused(folders, capsys, *words: str) -> str:
    assert refine(folders, *words) != 0
    assert not list(folders[2].rglob("*.*")), "something was written"
    return capsys.readouterr().err


def label_of(folders, name: str = "a") -> np.ndarray:
    return np.array(Image.open(folders[2] / "labels" / f"{name}.png"))


def test_labels_stay_under_a_refiner_that_changes_nothing(folders, capsys):
    assert refine(folders, "--refiners", IDENTITY) == 0
    assert np.array_equal(label_of(folders), LABELS)
    assert (folders[2] / "overlays/a.png").is_file()
    assert "1 masks" in capsys.readouterr().out


def test_refiners_see_the_stated_certainty_and_equal_shares_where_labels_are_ignored():
    labels, is_ignored = GivenMasks(3, certainty=0.8)._of_labels(LABELS, "a.png")
    assert torch.allclose(labels[0, :, 0, 0], torch.tensor([0.8, 0.1, 0.1]))
    assert torch.allclose(labels[0, :, 1, 3], torch.tensor([0.1, 0.1, 0.8]))
    assert torch.allclose(labels[0, :, 1, 2], torch.tensor([1 / 3] * 3)) and is_ignored.sum() == 1
    assert torch.allclose(labels.sum(1), torch.ones(1, 3, 4))


def test_ignored_pixels_stay_and_classes_may_be_more_than_are_seen(folders):
    assert refine(folders, "--refiners", SWAP, "--num-classes", "5") == 0
    assert np.array_equal(label_of(folders), np.where(LABELS == 255, 255, 4 - LABELS))


def test_binary_masks_stay_binary(folders):
    mask = np.array([[0, 255, 255, 0]] * 3, np.uint8)
    save(folders[0] / "a.png", mask)
    assert refine(folders, "--refiners", IDENTITY) == 0
    assert np.array_equal(label_of(folders), mask)
    assert refine(folders, "--refiners", IDENTITY, "--num-classes", "2") == 0  # 255 is ignored now
    assert np.array_equal(label_of(folders), mask)


def test_probabilities_of_npy_files(folders):
    (folders[0] / "a.png").unlink()
    scores = torch.rand(4, 3, 4, generator=torch.Generator().manual_seed(0)).softmax(0).numpy()
    np.save(folders[0] / "a.npy", scores)
    assert refine(folders, "--refiners", SWAP) == 0
    assert np.array_equal(label_of(folders), scores[::-1].argmax(0))
    np.save(folders[0] / "a.npy", scores[0])
    assert refine(folders, "--refiners", IDENTITY) == 0
    assert np.array_equal(label_of(folders), (scores[0] > 0.5).astype(np.uint8))


def test_a_mask_moves_to_the_edge_of_its_image(folders):
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    save(folders[1] / "a.jpg", np.repeat(truth[..., None] * 150 + 50, 3, 2))
    save(folders[0] / "a.png", np.roll(truth, 2, 0))
    assert refine(folders, "--refiners", "DenseCRF,bilateral_sigma=20,color_sigma=10") == 0
    assert (label_of(folders) != truth).sum() < (np.roll(truth, 2, 0) != truth).sum() / 2


def test_folders_are_kept_and_stems_are_matched(folders):
    save(folders[0] / "deep/b.png", LABELS)
    save(folders[1] / "other/b.png", np.zeros((3, 4, 3), np.uint8))
    assert refine(folders, "--refiners", IDENTITY) == 0
    assert np.array_equal(label_of(folders, "deep/b"), LABELS)
    save(folders[1] / "third/b.png", np.zeros((3, 4, 3), np.uint8))
    assert refine(folders, "--refiners", IDENTITY) == 2


def test_refiners_of_a_config(folders, tmp_path, capsys):
    config = tmp_path / "config.py"
    model = dict(num_classes=3, backbone=dict(type="PlainEncoder"), head=dict(type="FCNHead"))
    config.write_text(f"model = {model!r}\ninference = dict(refiners=[dict(type='DenseCRF')])\n")
    assert refine(folders, "--config", str(config)) == 0
    capsys.readouterr()
    (folders[2] / "labels/a.png").unlink()
    (folders[2] / "overlays/a.png").unlink()
    assert "name at least one refiner" in refused(folders, capsys)


def test_rows_of_the_command_line():
    assert row_of("DenseCRF") == {"type": "DenseCRF"}
    assert row_of("SegFix,checkpoint=a/b.pt,scale=3") == {"type": "SegFix", "checkpoint": "a/b.pt", "scale": 3}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--refiners", "DenseCRV"), "did you mean 'DenseCRF'"),
        (("--refiners", "DenseCRF,step=3"), "DenseCRF has no argument 'step'; did you mean 'steps'"),
        (("--refiners", "DenseCRF,steps"), "expected NAME,ARGUMENT=VALUE"),
        (("--refiners", "SegFix,checkpoint=none.pt"), "none.pt: no such checkpoint"),
        (("--refiners", IDENTITY, "--num-classes", "2"), "masks/a.png: holds label 2; with 2 classes"),
        (("--refiners", IDENTITY, "--certainty", "0.4"), "--certainty 0.4: must be above 0.5"),
        (("--refiners", IDENTITY, "--num-classes", "0"), "--num-classes 0: must be 1 or more"),
    ],
)
def test_wrong_words_are_refused(folders, capsys, words, sentence):
    assert sentence in refused(folders, capsys, *words)


def test_wrong_masks_are_refused(folders, capsys):
    words = ("--refiners", IDENTITY)
    save(folders[0] / "b.png", LABELS)
    assert "masks/b.png: 1 of 2 masks have no image" in refused(folders, capsys, *words)
    save(folders[1] / "b.png", np.zeros((5, 4, 3), np.uint8))
    assert "masks/b.png: mask of 4x3 pixels for an image of 4x5" in refused(folders, capsys, *words)
    (folders[0] / "b.png").write_bytes(b"no picture")
    assert "masks/b.png" in refused(folders, capsys, *words)
    (folders[0] / "b.png").unlink()
    np.save(folders[0] / "b.npy", np.full((3, 5, 4), 1 / 3, np.float32))
    assert "holds labels, and" in refused(folders, capsys, *words)
    (folders[0] / "a.png").unlink()
    np.save(folders[0] / "b.npy", np.full((3, 5, 4), 0.9, np.float32))
    assert "no probabilities" in refused(folders, capsys, *words)
    np.save(folders[0] / "b.npy", np.full((3, 5, 4), 1 / 3, np.float32))
    assert "probabilities of 3 classes, and 4 are expected" in refused(folders, capsys, *words, "--num-classes", "4")
    (folders[0] / "b.npy").unlink()
    assert "holds no mask" in refused(folders, capsys, *words)


def saved(path: Path, **model) -> Path:
    base = dict(num_classes=3, backbone=dict(type="PlainEncoder", channels=[4, 8]))
    section = {**base, "head": dict(type="FCNHead", channels=4, num_convs=1), **model}
    torch.manual_seed(0)
    network = build_model(section)
    runner = dict(type="Interactive") if model else dict(type="Semantic")
    checkpoint.save(path, dict(model=network.state_dict(), config={"model": section, "runner": runner}))
    return path


def test_a_checkpoint_predicts_and_is_refined(tmp_path, folders):
    path = saved(tmp_path / "best.pt")
    cv2.imwrite(str(folders[1] / "a.jpg"), np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    results = []
    for refiner in (IDENTITY, SWAP):
        out = tmp_path / refiner.partition(",")[0].replace(":", "_")
        command = ["refine", str(path), str(folders[1]), "--refiners", refiner, "--out", str(out)]
        assert main([*command, "--device", "cpu", "--trust"]) == 0  # for Swap, a class outside of segkit
        results.append(np.array(Image.open(out / "labels/a.png")))
    assert np.array_equal(results[1], 2 - results[0]) and len(np.unique(results[0])) > 1


def test_a_checkpoint_of_another_kind_is_refused(tmp_path, folders, capsys):
    path = saved(tmp_path / "clicks.pt", type="ClickSegmentor", num_classes=1)
    command = ["refine", str(path), str(folders[1]), "--refiners", IDENTITY, "--out", str(folders[2])]
    assert main([*command, "--device", "cpu"]) == 2
    assert "the runner Interactive predicts none" in capsys.readouterr().err
    assert not list(folders[2].rglob("*.*"))


def test_masks_are_not_replaced_by_their_refinement(folders, capsys):
    """`segkit predict` writes out/labels, and `--out out` would replace what is refined."""
    masks, images, _ = folders
    masks = masks.rename(masks.with_name("labels"))
    before = (masks / "a.png").read_bytes()
    assert main(["refine", str(masks), str(images), "--out", str(masks.parent), "--refiners", IDENTITY]) == 2
    assert "is read by this command, and the result would replace it; choose another --out" in capsys.readouterr().err
    assert (masks / "a.png").read_bytes() == before
