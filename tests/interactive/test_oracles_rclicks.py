"""Realistic clicks, against numbers of the published code of RClicks; all data in them is made up."""

import json
import lzma
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit.convert.keymap import load_map
from segkit.metrics.click_model import ks_test, score_click_map
from segkit.metrics.click_robustness import click_robustness
from segkit.metrics.noc import user_spread
from segkit.ops.interactive.click_density import as_input, click_density, click_map, letter_box
from segkit.registry import build_model
from segkit.runners.interactive.band_clicker import MapClicker, band_of
from segkit.runners.interactive.clickability import MODEL
from segkit.runners.interactive.clicker import find_error, mask_iou
from segkit.runners.interactive.simulate import boundary_iou
from tests.interactive.doubles import drawn

FIXTURES = Path(__file__).parents[1] / "fixtures/clicks"


def read(name: str):
    return json.loads((FIXTURES / f"{name}.json").read_text())


def click_maps() -> list[np.ndarray]:
    """The maps of the seven cases: blurred noise in steps of 1/255; the last one is empty."""
    rng, maps = np.random.RandomState(0), []
    for index in (0, 1, 2, 3, 4, 5, 0):
        noise = cv2.GaussianBlur(rng.rand(*drawn(index)[1].shape).astype(np.float32), (0, 0), 5)
        maps.append(np.round((noise - noise.min()) / (noise.max() - noise.min()) * 255).astype(np.float32) / 255)
    maps[-1] *= 0
    return maps


def predicted(row: dict) -> np.ndarray:
    truth = drawn(row["image"])[1] == 1
    if not row["roll"]:
        return np.zeros(truth.shape, bool)
    mask = np.roll(truth, row["roll"], (0, 1))
    if row["top_rows"]:
        mask[: len(mask) // 8] = True
    return mask


def test_clicks_are_drawn_from_the_published_band():
    maps = click_maps()
    for row in read("rclicks_next_click"):
        target, free = drawn(row["image"])[1], np.ones(drawn(row["image"])[1].shape, bool)
        clicker = MapClicker(maps[row["case"]], *row["band"])
        click = clicker(predicted(row), target, free, np.random.RandomState(row["np_seed"]))
        assert [click.y, click.x] == row["yx"] and click.is_positive == row["positive"], row
        if row["case"] == 6:
            continue  # an empty map: the deepest pixel
        error = find_error(predicted(row), target, free)
        kept = band_of(maps[row["case"]] * error.region.astype(np.float32), *row["band"])
        assert abs(np.count_nonzero(kept) - row["support"]) <= 2
        assert kept.max() == pytest.approx(row["map_max"], abs=1e-6)
        assert kept[kept > 0].min() == pytest.approx(row["map_min_positive"], abs=1e-6)


def test_click_maps_of_users_and_the_square_around_an_image():
    stored = np.load(FIXTURES / "rclicks_maps.npz")
    for i in range(4):
        height, width, sigma = (int(value) for value in stored[f"{i}/hw_sigma"])
        error = np.unpackbits(stored[f"{i}/mask"])[: height * width].reshape(height, width) > 0
        clicks = np.stack([stored[f"{i}/ys"], stored[f"{i}/xs"]], axis=1)
        density = click_density(clicks, (height, width), sigma)
        assert np.abs(density[::3, ::3] - stored[f"{i}/gauss"]).max() < 1e-5 * stored[f"{i}/gauss_max"]
        made = click_map(density, error)
        assert np.abs(made[::3, ::3] - stored[f"{i}/click_map"]).max() < 1e-5
        assert made.sum() == pytest.approx(float(stored[f"{i}/click_map_sum"]), rel=1e-4)
        box = letter_box((height, width))
        square = as_input(box, error.astype(np.float32))
        assert np.array_equal(square[0, 0, ::16, ::16].numpy(), stored[f"{i}/padded_mask"])
        back = box.restore(square)[0, 0, ::5, ::5].numpy()
        assert np.abs(back - stored[f"{i}/unpadded_mask"]).max() < 1e-6


def test_the_measures_of_click_models():
    for stored in read("rclicks_click_measures").values():
        height, width = stored["hw"]
        y, x = np.mgrid[:height, :width]
        values = np.exp(-(((y - 0.4 * height) / (0.15 * height)) ** 2 + ((x - 0.5 * width) / (0.2 * width)) ** 2))
        values[values <= 0.02] = 0
        clicks, box = np.stack([stored["ys"], stored["xs"]], axis=1), stored["size_wh_of_mask_above_.3"][::-1]
        scores = score_click_map(values, clicks, tuple(box))
        for name, value in scores._asdict().items():
            assert value == pytest.approx(stored[name], rel=1e-6), name
        shifted = stored["ks2d2s_of_shifted_copy"]
        probability, statistic = ks_test(clicks, np.stack([shifted["y2"], shifted["x2"]], axis=1))
        assert (probability, statistic) == pytest.approx((shifted["p"], shifted["D"]), abs=1e-6)


def test_the_benchmark_of_groups_and_users():
    stored = read("rclicks_benchmark_summary")
    expected = stored["summary"]
    groups = [stored["curves"][name] for name in sorted(stored["curves"]) if "BOUNDS" in name]
    base = stored["curves"]["Base_IOU"]
    scores = click_robustness(base, groups, threshold=stored["noc_threshold"])
    pairs = {
        ("NoC", "base", 1): "NoC Base@20",
        ("NoC", "sampled", 1): "MEAN NoC@20",
        ("NoC", "std", 1): "STD NoC@20",
        ("NoC", "dSB", 100): "NoC Mean vs Base (%)",
        ("NoC", "dGR", 100): "Sample G1-G10 NoC(%)",
        ("NoC", "dHH", 100): "Sample H1-H2 NoC(%)",
        ("NoF", "base", 1): "NoF Base@20",
        ("NoF", "sampled", 1): "MEAN NoF@20",
        ("NoF", "std", 1): "STD NoF@20",
        ("NoF", "dSB", 1): "NoF Mean vs Base (D)",
        ("NoF", "dGR", 1): "Sample G1-G10 NoF(D)",
        ("NoF", "dHH", 1): "Sample H1-H2 NoF(D)",
        ("IoU", "base", 100): "Base IoU@20",
        ("IoU", "sampled", 100): "MEAN IoU@20",
        ("IoU", "std", 100): "STD IoU@20",
        ("IoU", "dSB", 100): "IoU Mean vs Base (D)",
        ("IoU", "dGR", 100): "Sample G1-G10 IoU(D)",
        ("IoU", "dHH", 100): "Sample H1-H2 IoU(D)",
        ("IoU", "NSR", 100): "NSR PerImage IoU@20",
    }
    for (score, key, factor), name in pairs.items():
        assert scores[score][key] / factor == pytest.approx(expected[name], abs=1e-6, rel=1e-6), name
    users = user_spread(stored["user"])
    assert users["IoU"] / 100 == pytest.approx(expected["MeanIoU_User@1"], abs=1e-6)
    assert users["std"] / 100 == pytest.approx(expected["StdIoU_User@1"], abs=1e-6)
    assert users["NSR"] / 100 == pytest.approx(expected["SNRIoU_User@1"], abs=1e-6)


def test_boundary_iou_of_each_click():
    for stored in read("rclicks_boundary_iou"):
        target = drawn(stored["image"])[1]
        shift = int(stored["pred"].split()[-2])
        mask = np.roll(target == 1, shift, axis=1)
        assert mask_iou(mask, target) == pytest.approx(stored["iou"], abs=1e-9)
        assert boundary_iou(mask, target) == pytest.approx(stored["boundary_iou"], abs=1e-9)
    nothing = np.zeros((8, 9), np.int8)
    assert boundary_iou(nothing > 0, nothing) == 1


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal numbers seeded by the published name, scaled by what the tensor is for."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if name.endswith(".running_var"):
        value = 1 + 0.1 * np.abs(normal)
    elif name.endswith((".running_mean", "bias")):
        value = 0.1 * normal
    elif "layer_scale" in name:
        value = 0.1 * (1 + 0.1 * normal)
    elif name.endswith("bases"):
        value = np.abs(normal) / np.sqrt((normal**2).sum(-2, keepdims=True))
    elif len(shape) > 1:
        value = normal * np.sqrt(1 / np.prod(shape[1:]))
    else:
        value = 1 + 0.1 * normal
    return torch.from_numpy(np.asarray(value, np.float32))


def named() -> tuple[dict, torch.nn.Module]:
    names = json.loads(lzma.decompress((FIXTURES / "rclicks_names.json.xz").read_bytes()))
    with torch.device("meta"):
        return names, build_model(MODEL)


def test_names_and_size_of_the_clickability_network():
    names, network = named()
    shapes = {name: tuple(shape) for name, shape in names.items()}
    assert "0 dropped" in load_map("rclicks").check(shapes, network.state_dict())
    assert sum(p.numel() for p in network.parameters()) == 27_604_290


@pytest.mark.slow
@torch.inference_mode()
def test_outputs_of_the_clickability_network():
    names, network = named()
    keys = load_map("rclicks")
    weights = {name: weight(name, tuple(shape)) for name, shape in names.items()}
    network.load_state_dict(keys.apply(weights), strict=True, assign=True)
    network.eval()
    y, x = np.mgrid[:416, :416].astype(np.float64)
    image = np.stack([0.5 + 0.5 * np.sin((y + x * (c + 2)) / (7.0 + 3 * c)) for c in range(3)]).astype(np.float32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normalized = ((torch.from_numpy(image) - mean) / std)[None]
    mask = ((y - 200) / 120) ** 2 + ((x - 220) / 90) ** 2 < 1
    masks = torch.from_numpy(np.stack([mask, mask & (x > 210)]).astype(np.float32))[None]
    stored = np.load(FIXTURES / "rclicks_network.npz")
    logits = network.run(normalized, masks)["logits"]
    assert logits.shape == tuple(stored["logits_shape"])
    assert np.abs(logits[..., ::3, ::3].numpy() - stored["logits"]).max() < 1e-4 * 0.2967
    found = network.click_maps(normalized, masks)[..., ::9, ::9].numpy()
    assert np.abs(found - stored["click_map"]).max() < 1e-4
