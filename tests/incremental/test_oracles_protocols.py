"""How class steps are scored, scheduled and remembered, against numbers of the published code: tests/fixtures/steps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.backbones.timm import Timm
from segkit.config import load_config
from segkit.data.incremental.class_steps import centre
from segkit.engine.schedules import learning_rate
from segkit.metrics.incremental import incremental_scores
from segkit.models.readouts import READOUTS
from segkit.ops.incremental.memory_rules import round_robin
from segkit.runners.incremental.memory import MemorySettings, choose_memory
from tests.incremental.steps_oracle import FOLDER, stored

CONFIGS = Path(__file__).parents[2] / "configs/incremental"


def test_means_of_star_count_the_background_and_its_absent_class_as_zero():
    arrays = stored("star_losses.npz")
    truth, predicted = (arrays[f"metrics/{name}"].astype(np.int64).ravel() for name in ("gt", "pred"))
    number = len(arrays["metrics/miou/by_class"])
    valid = truth < number
    matrix = np.bincount(number * truth[valid] + predicted[valid], minlength=number**2).reshape(number, number)
    scores = incremental_scores(matrix, [str(i) for i in range(number)], sizes=(4, 2), absent="zero")
    published = {
        "mIoU_old_with_background": "old",
        "mIoU_new": "new",
        "mIoU_all_with_background": "overall",
        "hIoU_with_background": "harmonic",
    }
    for name, key in published.items():
        assert scores[name] == pytest.approx(float(arrays[f"metrics/miou/{key}"]), rel=1e-6), name
    assert scores["hIoU"] != pytest.approx(scores["hIoU_with_background"], rel=1e-3)


RATES = {
    # file, its rates by step and group; config and step of the config; the groups' factors of the config's rate
    "ssul_losses.npz/lr/poly_voc": ("ssul_voc_15-1", (1, 1, 1e-4)),
    "ssul_losses.npz/lr/warm_poly_ade": ("ssul_ade_100-10", (1, 1, 1e-4)),
    "star_losses.npz/lr/poly_voc_step": ("star_voc_15-1", (1, 10, 10, 100)),
    "star_losses.npz/lr/warm_poly_ade_step": ("star_ade_100-10", (1, 10, 10, 100)),
}


@pytest.mark.parametrize("case", RATES)
def test_rates_of_later_steps_are_the_published_ones(case):
    """SSUL's floor of 1e-6 holds the background's rate on VOC; on ADE20K all rise over a share of the steps."""
    file, _, name = case.partition("/")
    rates, (config, factors) = stored(file)[name], RATES[case]
    cfg = load_config(CONFIGS / f"{config}.py")
    base = cfg["runner"]["later"]["optimizer"]["lr"]
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in factors]
    optimizer = torch.optim.SGD([dict(params=[p], lr=base * factor) for p, factor in zip(parameters, factors)], lr=base)
    total = len(rates) if "step" in name else len(rates) - 1  # SSUL's tables go on to the end of the run
    schedule, found = learning_rate(cfg["schedule"], optimizer, total), []
    for step in range(total):
        schedule.set(step)
        found.append([group["lr"] for group in optimizer.param_groups])
    np.testing.assert_allclose(found, rates[:total], rtol=1e-9)


@pytest.mark.parametrize("config", ["ssul_voc_15-1", "ssul_ade_100-10"])
def test_the_first_step_of_ssul_has_the_same_rates_on_both_data_sets(config):
    optimizer = load_config(CONFIGS / f"{config}.py")["optimizer"]
    assert optimizer["lr"] == 0.01 and optimizer["groups"] == [dict(match=r"^backbone", lr=0.1)]


@pytest.mark.parametrize("config", ["ssul_voc_15-1", "star_voc_15-1", "dkd_voc_15-1"])
def test_normalizations_of_the_encoder_have_the_published_momentum(config):
    backbone = load_config(CONFIGS / f"{config}.py")["model"]["backbone"]
    momentum = backbone.pop("norm_momentum")
    small = Timm("resnet18", output_stride=16, norm_momentum=momentum)
    assert {m.momentum for m in small.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.01}


def test_configs_follow_the_protocol_of_their_code():
    wanted = {"official": ("mib", "ucd"), "csseg": ("plop", "ewf", "ewf-mib", "rcil", "reminder", "dft-star")}
    wanted |= {
        "ssul": ("ssul", "ssul-m", "microseg"),
        "dkd": ("dkd", "dkd-m", "star", "star-m", "star-basic", "star-lite"),
    }
    convention_of = {method: name for name, methods in wanted.items() for method in methods}
    for path in sorted(CONFIGS.glob("*.py")):
        method = path.stem.partition("_")[0]
        if method in convention_of:
            runner = load_config(path)["runner"]
            assert runner.get("convention", "official") == convention_of[method], path.name


def classes_in(labels: np.ndarray) -> list[int]:
    return [int(value) for value in np.unique(labels) if value not in (0, 255)]


def test_memory_of_star_is_dkds_rule_and_its_pseudo_labels_are_one_class_too_low():
    """The readout of DKD, which leaves output 0 out, on STAR's outputs, which have no such output, as it is coded."""
    case = json.loads((FOLDER / "star_memory.json").read_text())
    logits = torch.tensor(case["old_logits_times16"]).float() / 16
    first, second = (np.array(case[f"labels_step{step}"]) for step in (1, 2))
    shown = [classes_in(labels) for labels in first]
    chosen = round_robin(shown, range(1, 5), 10, np.random.RandomState(201))
    names = [f"s1_{i:02d}" for i in chosen]
    wanted = case["size10"]["step_1"]["memory_candidates"]
    assert [(names[i], shown[k]) for i, k in enumerate(chosen)] == [(a.strip("ab "), b) for a, b in wanted]

    def remembered(readout: str) -> list[tuple[str, list[int]]]:
        sure = READOUTS[readout].sure_classes(logits, 0.9).numpy()
        labels = np.where((second == 0) & (sure > 0), sure, second)
        candidates = [shown[i] for i in chosen] + [classes_in(one) for one in labels]
        all_names = names + [f"s2_{i:02d}" for i in range(len(labels))]
        return [
            (all_names[i], candidates[i]) for i in round_robin(candidates, range(1, 7), 10, np.random.RandomState(202))
        ]

    wanted = [(name.strip("ab "), classes) for name, classes in case["size10"]["step_2"]["memory_candidates"]]
    assert remembered("auxiliary") == wanted != remembered("implicit")


def test_greedy_memory_keeps_the_share_of_the_old_classes_and_the_shares_of_all_images():
    """BalConpas: 4 images, 2 of 4 classes are old: two of the three remembered stay, and two of the new ones join them.

    Of the remembered, [1, 2] is nearest to even shares (1.0, the others 1.5), then the first of two equal ones; with
    these [3, 4] is nearest (0.3, the others 0.5), then [3] and [4] alike (1/3).
    """
    shown = [[1], [2], [1, 2], [3], [4], [3, 4]]
    settings, rng = MemorySettings(4, rule="greedy"), np.random.RandomState(0)
    totals = np.full(4, 10)
    assert choose_memory(shown, totals, settings, rng, num_remembered=3, num_old=2) == [2, 0, 5, 3]
    assert choose_memory(shown[:3], totals[:2], settings, rng) == [2, 0, 1], "all candidates of the first step"
    # fewer remembered than may stay: new ones take their places
    assert len(choose_memory(shown, totals, MemorySettings(6, rule="greedy"), rng, num_remembered=1, num_old=2)) == 6


@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (60, 90), (700, 512), (768, 1024)])
def test_the_cropped_protocol_resizes_and_cuts_as_torchvision_does(shape):
    """Resize(512) and CenterCrop(512) of a PIL image, bilinear, and of its labels, nearest."""
    height, width = shape
    rng, short = np.random.default_rng(0), min(shape)
    size = (int(512 * width / short), int(512 * height / short))
    left, top = (round((side - 512) / 2) for side in size)
    box = (left, top, left + 512, top + 512)
    labels = rng.integers(0, 21, shape).astype(np.uint8)
    wanted = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST).crop(box))
    assert np.array_equal(centre(labels, 512, are_labels=True), wanted)
    image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    wanted = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR).crop(box))
    difference = np.abs(centre(image, 512).astype(int) - wanted)
    assert difference.max() <= 1 and difference.mean() < 0.02
    as_float = centre(image.astype(np.float32), 512)
    assert as_float.dtype == np.float32 and np.abs(as_float - wanted).max() < 1.5
