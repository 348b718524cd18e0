"""What a loss leaves out is what the data set marks as ignored: told, agreed on, or refused before the first step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.cli.main import main
from segkit.criterion import build_criterion, with_ignore
from segkit.engine.setup import build_transforms
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.focal import BinaryFocal
from segkit.registry import ConfigError
from segkit.types import Sample

ONE_CHANNEL = (
    *("BinaryCrossEntropy", "LovaszHinge", "SigmoidFocal", "NormalizedFocal", "BinaryFocal", "SoftIoU", "Combo"),
    *("BoundaryBCE",),
)
REGIONS = ("Dice", "Jaccard", "Tversky", "FocalTversky", "MCC")
QUICKSTART = Path(__file__).parents[2] / "configs/quickstart/semantic.py"


def value_of(rows, logits, mask):
    criterion = build_criterion(rows)
    return sum(criterion({"logits": logits.requires_grad_()}, {"mask": mask}, 0).values()).detach()


@pytest.mark.parametrize("name", [*ONE_CHANNEL, *REGIONS])
@pytest.mark.parametrize("marked", ["255 in whole numbers", "-1 in floats"])
def test_ignored_pixels_of_masks_and_clicks_change_nothing(name, marked):
    """Rows without `ignore`: neither the 255 of masks nor the -1 of click targets is trained as a label."""
    if name == "BoundaryBCE" and marked == "-1 in floats":
        pytest.skip("edges are made of class masks")
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (2, 8, 8))
    mask = labels.clone() if marked.startswith("255") else labels.float()
    mask[:, :3] = 255 if marked.startswith("255") else -1
    logits = torch.randn(2, 1, 8, 8)
    other = logits.clone()
    other[:, :, :3] += 5
    row = dict(type=name, on="logits", target="mask", **(dict(activation="sigmoid") if name in REGIONS else {}))
    first, second = value_of([row], logits, mask), value_of([row], other, mask)
    assert first >= 0
    torch.testing.assert_close(first, second)


def test_a_click_loss_on_a_semantic_mask_is_that_of_the_valid_pixels():
    """By hand: two valid pixels, both of class 1 with logit 0, so p_t = .5 and (1 - p_t)^2 log 2 / 2 each."""
    mask = torch.tensor([[[1, 1, 255, 255]]])
    logits = torch.tensor([[[[0.0, 0.0, 9.0, -9.0]]]])
    expected = 0.5 * 0.25 * np.log(2)
    assert float(BinaryFocal()(logits, mask)) == pytest.approx(expected)
    assert float(BinaryFocal()(logits, torch.tensor([[[1.0, 1.0, -1.0, -1.0]]]))) == pytest.approx(expected)


@pytest.mark.parametrize("ignore", [0, -1, 254])
def test_losses_are_told_the_value_of_the_data_set(ignore):
    rows = [
        dict(type="CrossEntropy", ignore=None),
        dict(type="OHEM", loss=dict(type="Focal"), min_kept=1),
        dict(type="NormalizedFocal"),
        dict(type="OnCoarseLabels", loss=dict(type="Dice")),
    ]
    criterion = build_criterion(with_ignore(rows, ignore, "Mine"))
    assert [loss.ignore for loss in criterion.modules() if hasattr(loss, "ignore")] == [ignore] * 5
    assert "ignore" not in rows[1] and "ignore" not in rows[1]["loss"]  # the config stays as it is
    assert build_criterion(with_ignore([dict(type="CrossEntropy", ignore=None)], 255, "Mine")).losses[0].ignore == 255
    assert CrossEntropy().ignore == 255


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (dict(type="NormalizedFocal", ignore=-1), "losses.0.ignore = -1"),
        (dict(type="CrossEntropy", ignore=0), "losses.0.ignore = 0"),
        (dict(type="OHEM", loss=dict(type="CrossEntropy", ignore=3)), "losses.0.loss.ignore = 3"),
        (dict(type="OnCoarseLabels", loss=dict(type="Dice", ignore=-1)), "losses.0.loss.ignore = -1"),
    ],
)
def test_another_value_than_the_data_set_is_refused(row, place):
    with pytest.raises(ConfigError, match=f"{place}: Folder marks ignored pixels with 255, .*remove this argument"):
        with_ignore([row], 255, "Folder")
    assert with_ignore([dict(type="NormalizedFocal", ignore=-1.0)], -1, "FolderClicks")


def test_it_is_said_before_the_first_step(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "mine.py"
    config.write_text(
        f"_base_ = ['{QUICKSTART}']\nlosses = [dict(type='CrossEntropy', on='logits', target='mask', ignore=-1)]\n"
    )
    assert main(["train", str(config), "--check"]) != 0
    assert "losses.0.ignore = -1: Shapes marks ignored pixels with 255" in capsys.readouterr().err


def test_transforms_mark_what_they_add_with_the_value_of_the_data_set():
    """A crop larger than the image: its padding has the data set's value, or the config's own."""
    rows = [
        dict(type="UntilBox", transforms=[dict(type="RandomCrop", size=(4, 6))]),
        dict(type="Pad", size=(4, 8), ignore=0),
    ]
    sample = Sample(image=np.zeros((4, 4, 3), np.uint8), mask=np.ones((4, 4), np.int16), boxes=np.zeros((0, 4)))
    for transform in build_transforms(rows, "train.transforms", ignore=-1):
        sample = transform(sample, np.random.default_rng(0))
    assert sample["mask"][0].tolist() == [1, 1, 1, 1, -1, -1, 0, 0]
