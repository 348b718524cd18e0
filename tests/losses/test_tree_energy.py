"""TreeEnergy: what is unlabelled and what is padding, the training-only branch, and a row in a criterion."""

import numpy as np
import pytest
import torch

from segkit.data.loader import collate_train
from segkit.data.transforms.crops import RandomCrop
from segkit.data.transforms.mixing import CutMix
from segkit.data.transforms.sizes import Flip
from segkit.data.transforms.warps import RandomRotate
from segkit.data.transforms.weak_labels import MarkUnlabelled
from segkit.losses.tree_energy import TreeEnergy
from segkit.registry import ConfigError, build_model
from segkit.types import Meta, Sample


def sample(height=6, width=8):
    mask = np.full((height, width), 255, np.uint8)
    mask[1, 2] = 1
    return Sample(
        image=np.full((height, width, 3), 9, np.uint8), mask=mask, meta=Meta(id="a", path="a", size=(height, width))
    )


def rng():
    return np.random.default_rng(0)


def test_unlabelled_is_what_has_no_label_and_padding_is_not():
    marked = MarkUnlabelled()(sample(), rng())
    assert marked["unlabelled"].sum() == 6 * 8 - 1 and marked["unlabelled"][1, 2] == 0
    padded = RandomCrop((10, 12))(marked, rng())
    assert padded["mask"].shape == padded["unlabelled"].shape == (10, 12)
    assert (padded["mask"] == 255).sum() == 119  # padding has the label of what has none
    assert padded["unlabelled"].sum() == 47 and padded["unlabelled"][:6, :8].sum() == 47
    small = RandomCrop((4, 5))(MarkUnlabelled()(sample(4, 5), rng()), rng())
    batch = collate_train([padded, small])
    assert batch["unlabelled"].shape == (2, 10, 12) and batch["unlabelled"][1].sum() == 19


def test_unlabelled_moves_with_the_mask():
    flipped = Flip(p=1.0)(MarkUnlabelled()(sample(), rng()), rng())
    assert flipped["mask"][1, 5] == 1 and flipped["unlabelled"][1, 5] == 0 and flipped["unlabelled"].sum() == 47


def test_what_a_rotation_adds_is_padding():
    turned = RandomRotate(degrees=(45.0, 45.0), p=1.0)(MarkUnlabelled()(sample(40, 40), rng()), rng())
    assert turned["unlabelled"][0, 0] == 0 and turned["mask"][0, 0] == 255
    assert turned["unlabelled"][20, 20] == 1


def test_mark_unlabelled_leaves_samples_without_a_mask_and_refuses_overlapping_classes():
    without = Sample(image=np.zeros((2, 2, 3), np.uint8))
    assert MarkUnlabelled()(without, rng()) is without
    with pytest.raises(ConfigError, match="MarkUnlabelled: needs one class per pixel"):
        MarkUnlabelled()(Sample(**{**without, "mask": np.zeros((2, 2, 3), np.uint8)}), rng())


def test_cut_mix_says_that_it_does_not_mix_it():
    marked = MarkUnlabelled()(sample(), rng())
    with pytest.raises(ConfigError, match="the sample holds unlabelled"):
        CutMix().mix(marked, marked, rng())


def test_loss_by_hand():
    """Two pixels of very different color keep their probabilities: no loss. Of equal color: |p - mean| each."""
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 0.0]]]])
    p = logits.softmax(1)[0, 0, 0]
    unlabelled = torch.ones(1, 1, 2, dtype=torch.uint8)
    far = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 1, 2)
    assert TreeEnergy()(logits, far, unlabelled).item() == pytest.approx(0, abs=1e-6)
    flat = torch.zeros(1, 3, 1, 2, dtype=torch.uint8)
    distance = 2 * abs(p[0] - p[1]).item() / 2  # over two classes
    assert TreeEnergy()(logits, flat, unlabelled).item() == pytest.approx(distance, rel=1e-6)
    only_first = torch.tensor([[[1, 0]]], dtype=torch.uint8)
    assert TreeEnergy()(logits, flat, only_first).item() == pytest.approx(distance, rel=1e-6)


def test_loss_without_an_unlabelled_pixel_is_zero_with_a_graph():
    logits = torch.randn(1, 3, 4, 4).requires_grad_()
    loss = TreeEnergy()(logits, torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert loss == 0 and logits.grad is not None


def test_one_channel_is_refused():
    with pytest.raises(ConfigError, match="TreeEnergy: the softmax over the one channel"):
        TreeEnergy()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2), torch.ones(1, 2, 2))


MODEL = dict(
    num_classes=3,
    backbone=dict(type="Timm", name="resnet18", pretrained=False),
    head=dict(type="FCNHead", channels=16),
)


def test_the_branch_is_there_in_training_alone():
    torch.manual_seed(0)
    model = build_model({**MODEL, "projection": 7})
    image = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    outputs = model.train()(image)
    assert outputs["projected"].shape == (2, 7, *outputs["logits"].shape[2:]) and (outputs["projected"] >= 0).all()
    assert "projected" not in model.eval()(image)
    without = build_model(MODEL)
    assert set(model.state_dict()) - set(without.state_dict()) == {
        *(f"projection.{name}" for name in ("0.weight", "1.weight", "1.bias")),
        *(f"projection.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")),
    }


def test_a_head_without_a_classifier_says_so():
    with pytest.raises(ConfigError, match=r"model\.projection = 8: .* SOLOv2Head has none that is one convolution"):
        build_model(
            dict(
                num_classes=3,
                projection=8,
                backbone=dict(type="Timm", name="resnet18", pretrained=False),
                neck=dict(type="FPN", extra_levels=1),
                head=dict(type="SOLOv2Head", channels=32, depth=1),
            )
        )
