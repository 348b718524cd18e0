"""What FocalClick trains on: stretched crops, the refined part and its boundary, the batch, and a step."""

import numpy as np
import pytest
import torch

from segkit.data.interactive.focus import FocusOnObject, largest_region, without_specks
from segkit.data.loader import collate_train
from segkit.data.transforms.stretched_crop import StretchedCrop
from segkit.losses.weighted_focal import WeightedFocal
from segkit.registry import ConfigError, build_model
from segkit.runners.interactive.runner import Interactive

SMALL_HRNET = dict(type="HRNet", width=4, num_modules=(1, 1, 1), num_blocks=1, fuse_upsample="bilinear_corners")


def coordinates(height: int, width: int) -> dict:
    """A sample whose image and mask say where each pixel was: row and column."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 200)], axis=2).astype(np.uint8)
    return dict(
        image=image, mask=(1 + x // 10).astype(np.uint8), meta=dict(id="made", path="made", size=(height, width))
    )


def test_crops_have_the_drawn_height_and_width():
    widths, heights = [], []
    for seed in range(40):
        cropped = StretchedCrop((40, 60), 0.3, 0.9)(coordinates(100, 200), np.random.default_rng(seed))
        assert cropped["image"].shape == (40, 60, 3) and cropped["mask"].shape == (40, 60)
        rows, columns = cropped["image"][:, :, 0].astype(int), cropped["image"][:, :, 1].astype(int)
        heights.append(rows[-1, 0] - rows[0, 0])
        widths.append(columns[0, -1] - columns[0, 0])
        assert (columns[0] >= 0).all() and columns[0, -1] < 200
    assert 28 < min(heights) < 40 and 80 < max(heights) < 90  # the last row's centre lies inside
    assert 58 < min(widths) < 80 and 160 < max(widths) < 180
    assert np.corrcoef(heights, widths)[0, 1] < 0.5  # drawn apart


def test_the_published_slip_reaches_to_the_right_edge():
    for seed in range(10):
        plain, slip = (
            StretchedCrop(50, 0.3, 0.9, to_right_edge=slips)(coordinates(100, 200), np.random.default_rng(seed))
            for slips in (False, True)
        )
        assert slip["image"][0, 0, 1] <= plain["image"][0, 0, 1] + 3 and slip["image"][0, -1, 1] > 195


def test_larger_crops_than_the_image_are_padded():
    cropped = StretchedCrop((50, 50), 1.2, 1.2, ignore=255)(coordinates(100, 200), np.random.default_rng(0))
    share = (cropped["mask"] == 255).mean()
    assert share == pytest.approx(1 - 1 / 1.44, abs=0.03)
    assert (cropped["image"][cropped["mask"] == 255] == 0).all(axis=1).mean() > 0.9


def test_the_normal_law_stays_in_its_range():
    crop = StretchedCrop(16, 0.3, 1.3, law="normal")
    rng = np.random.default_rng(0)
    shares = np.array([crop._share(rng) for _ in range(4000)])
    assert shares.min() >= 0.3 and shares.max() <= 1.3
    # N(.8, .4) between .3 and 1.3: symmetric about .8, standard deviation .262
    assert shares.mean() == pytest.approx(0.8, abs=0.01) and shares.std() == pytest.approx(0.2624, abs=0.01)


def test_specks_and_the_largest_region():
    mask = np.zeros((60, 60), bool)
    mask[0:30, 0:30] = True  # 900
    mask[40:50, 40:50] = True  # 100
    assert without_specks(mask, 900).sum() == 900 and without_specks(mask, 901).sum() == 0
    assert largest_region(mask)[:30, :30].all() and not largest_region(mask)[40:, 40:].any()
    assert not largest_region(np.zeros((4, 4), bool)).any()


def clicked(mask: np.ndarray) -> dict:
    sample = coordinates(*mask.shape)
    clicks = np.full((8, 3), -1, np.float32)
    clicks[0] = [*np.argwhere(mask == 1)[0], 0] if (mask == 1).any() else [-1, -1, -1]
    return sample | {"mask": mask.astype(np.float32), "clicks": clicks}


def test_the_part_of_a_small_object_holds_it():
    mask = np.zeros((256, 256))
    mask[100:140, 90:150] = 1  # 2400 pixels
    sides = set()
    for seed in range(60):
        changed = FocusOnObject(64)(clicked(mask), np.random.default_rng(seed))
        y0, x0, y1, x1 = changed["focus"]
        sides.add(int(y1 - y0))
        # 1.1 to 1.6 times 40 x 60, shifted by .3 of that at most
        assert 43 <= y1 - y0 <= 65 and 65 <= x1 - x0 <= 97
        assert abs((y0 + y1) / 2 - 119.5) <= 0.3 * (y1 - y0) + 1 and abs((x0 + x1) / 2 - 119.5) <= 0.3 * (x1 - x0) + 1
        assert changed["focus_image"].shape == (3, 64, 64) and changed["focus_mask"].shape == (64, 64)
        # the image tells its rows: the middle of the part
        assert abs(int(changed["focus_image"][0, 32, 32]) - (y0 + y1) / 2) < 2
    assert len(sides) > 4


def test_parts_of_large_objects_lie_on_the_boundary_in_four_of_ten():
    mask = np.zeros((256, 256))
    mask[60:200, 60:200] = 1
    rng, on_boundary = np.random.default_rng(0), 0
    transform = FocusOnObject(32)
    for _ in range(200):
        y0, x0, y1, x1 = transform(clicked(mask), rng)["focus"]
        if y1 - y0 <= 170 and x1 - x0 <= 170 and (y1 - y0 < 154 or x1 - x0 < 154):
            on_boundary += 1
            inside = mask[int(y0) : int(y1), int(x0) : int(x1)]
            assert 0 < inside.mean() < 1
            assert 64 < y1 - y0 <= 171 and 64 < x1 - x0 <= 171  # 256 / 3.9 and 256 / 1.5
    assert 55 < on_boundary < 105


def test_boundary_and_ignored_pixels_of_the_part():
    mask = np.zeros((128, 128))
    mask[40:90, 40:90] = 1
    mask[:, 100:] = -1
    changed = FocusOnObject(128, boundary=0.0, specks=100)(clicked(mask), np.random.default_rng(1))
    assert set(np.unique(changed["boundary"])) == {0.0, 1.0}
    assert changed["boundary"].mean() < 0.5
    assert (changed["mask"][:, 100:] == -1).all() and (changed["mask"] == 1).sum() == 2500
    assert set(np.unique(changed["focus_mask"])) <= {-1.0, 0.0, 1.0}
    empty = FocusOnObject(32)(clicked(np.zeros((50, 70))), np.random.default_rng(0))
    assert not empty["focus_mask"].any() and not empty["boundary"].any()
    with pytest.raises(ConfigError, match="behind dict"):
        FocusOnObject(32)(coordinates(20, 20), np.random.default_rng(0))


def batch_of(count: int) -> dict:
    mask = np.zeros((96, 96))
    mask[30:70, 30:70] = 1
    samples = [FocusOnObject(64, specks=10)(clicked(mask), np.random.default_rng(seed)) for seed in range(count)]
    return collate_train(samples, ignore=-1)


def test_a_batch_holds_the_parts():
    batch = batch_of(2)
    assert batch["focus"].shape == (2, 4) and batch["focus_image"].shape == (2, 3, 64, 64)
    assert batch["focus_image"].dtype == torch.uint8
    assert batch["focus_mask"].shape == batch["boundary"].shape == (2, 64, 64)


def test_a_training_step_reaches_network_and_refiner():
    torch.manual_seed(0)
    head = dict(type="ClickOCRHead", ocr_width=8)
    model = build_model(dict(type="FocalClick", num_classes=1, backbone=SMALL_HRNET, head=head, align_corners=True))
    batch = batch_of(2)
    outputs = Interactive(iterations=1).forward(model.train(), batch, np.random.default_rng(1))
    assert outputs["refined"].shape == outputs["boundary"].shape == (2, 1, 64, 64)
    loss = WeightedFocal()(outputs["refined"], batch["focus_mask"], batch["boundary"])
    loss.backward()
    assert model.refiner.detail.weight.grad.abs().sum() > 0 and model.backbone.conv1.weight.grad.abs().sum() > 0
    del batch["focus"]
    with pytest.raises(ConfigError, match=r"FocalClick trains on .focus.*FocusOnObject"):
        Interactive(iterations=0).forward(model, batch, np.random.default_rng(1))


def test_the_weight_of_the_boundary():
    """Two pixels of equal terms t, one on the boundary: (1 t + .5 t) / 1.5 = t; of different ones weighted 2 : 1."""
    logits = torch.tensor([[[[0.0, 2.0]]]])
    target, boundary = torch.ones(1, 1, 2), torch.tensor([[[1.0, 0.0]]])
    p = torch.sigmoid(logits).flatten()
    beta = (1 - p) ** 2
    terms = 0.5 * beta * 2 / beta.sum() * -p.log()
    expected = (terms[0] + 0.5 * terms[1]) / 1.5
    assert WeightedFocal(0.5)(logits, target, boundary).item() == pytest.approx(expected.item(), rel=1e-6)
    # an ignored pixel stays in the divisor
    ignored = WeightedFocal(0.5)(logits, torch.tensor([[[1.0, -1.0]]]), boundary)
    assert ignored.item() == pytest.approx((0.5 * -p[0].log() / 1.5).item(), rel=1e-6)
