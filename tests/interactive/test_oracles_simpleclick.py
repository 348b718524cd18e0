"""SimpleClick's networks give the published code's numbers: outputs, maps, gradients, positions, names, rates."""

import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segkit.backbones.plain_vit import into_windows, table_of
from segkit.backbones.timm_positions import resized_table
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.engine.optim import build_optimizer
from segkit.losses.normalized_focal import NormalizedFocal
from segkit.models.layers import resize
from segkit.runners.interactive import runner
from tests.archs_table import MODELS
from tests.interactive.test_click_training import Fixed
from tests.interactive.vit_oracles import (
    FIXTURES,
    NETWORKS,
    cells,
    empty,
    inputs,
    model_of,
    published,
    thinned,
    tokens,
    weight,
)

TOLERANCE = 1e-4
"""Share of the standard deviation of the reference's values."""

slow = pytest.mark.slow
CASES = {
    "simpleclick_xtiny448": ("simpleclick_xtiny448", (448, 448), 2),
    "simpleclick_xtiny448_at_672x672": ("simpleclick_xtiny448", (672, 672), 1),
    "simpleclick_xtiny448_at_448x672": ("simpleclick_xtiny448", (448, 672), 1),
    "simpleclick_base448": ("simpleclick_base448", (448, 448), 1),
    "simpleclick_base448_x4": ("simpleclick_base448_x4", (448, 448), 1),
    "simpleclick_huge448": ("simpleclick_huge448", (448, 448), 1),
}


@pytest.fixture(scope="module")
def tiny():
    """The xTiny network; its tests take it in turns at several sizes, as evaluations of several sets do."""
    return model_of("simpleclick_xtiny448")


def taps(model, image, clicks, previous) -> dict[str, np.ndarray]:
    """What the reference stores of a pass."""
    backbone, size = model.backbone, tuple(image.shape[-2:])
    guidance = model.guidance(clicks, size, previous)
    _, added = model.guide(image, guidance)
    normalized = model.normalize(image)
    embedded = backbone.patch_embed(normalized)
    grid = backbone.padded_grid(size)
    counts = (max(grid[0] // backbone.window, 1), max(grid[1] // backbone.window, 1))
    first = into_windows((embedded + added).flatten(2).transpose(1, 2) + backbone.positions(grid), grid, counts)
    (last,) = backbone(normalized, added)
    maps = model.neck([last])
    found = {
        "clicks_tokens": tokens(added.flatten(2).transpose(1, 2)),
        "image_tokens": tokens((embedded + added).flatten(2).transpose(1, 2)),  # the reference adds in place
        "block0_windows": tokens(backbone.encoder["blocks"][0](first)),
        "last_block": tokens(last.flatten(2).transpose(1, 2)),
    }
    return found | {f"neck_down_{stride}": cells(x) for stride, x in zip((4, 8, 16, 32), maps, strict=True)}


@torch.inference_mode()
@pytest.mark.parametrize("case", [pytest.param(c, marks=() if "xtiny" in c else slow) for c in CASES])
def test_outputs_are_published(case, tiny):
    name, size, batch = CASES[case]
    model = tiny if "xtiny" in name else model_of(name)
    image, clicks, previous = inputs(*size, batch)
    stored = np.load(FIXTURES / f"{case}.npz")
    logits = resize(model(image, clicks, previous)["logits"], like=image, align_corners=True)
    found = {"instances": thinned(logits, 2500), **taps(model, image, clicks, previous)}
    assert found.keys() | {"instances_stride", "instances_sum"} == {n for n in stored.files if not n.endswith("_std")}
    for key, values in found.items():
        difference = np.abs(values - stored[key]).max() / stored[f"{key}_std"]
        assert difference < TOLERANCE, f"{key}: {difference:.1e}"


@torch.inference_mode()
def test_position_tables_of_other_sizes_are_published(tiny):
    for size in ((672, 672), (448, 672)):
        stored = np.load(FIXTURES / f"simpleclick_pos_448_to_{size[0]}x{size[1]}.npz")["pos_embed"]
        # the reference keeps the unused row of a class token
        table = torch.cat([torch.zeros(1, 1, 160), tiny.backbone.positions(tiny.backbone.padded_grid(size))], 1)
        assert np.abs(table[:, ::7, ::5].numpy() - stored)[:, 1:].max() < 1e-6
    stored = np.load(FIXTURES / "simpleclick_pos_mae224_to_448.npz")
    given = weight("mae.pos_embed", [1, 197, 160])
    table = torch.cat([given[:, :1], table_of(given, (28, 28))], 1)
    assert np.abs(table[:, ::5, ::3].numpy() - stored["pos_embed"]).max() < 1e-6
    assert float(table.double().sum()) == pytest.approx(float(stored["full_sum"]), abs=1e-3)


@torch.inference_mode()
def test_a_table_is_never_made_of_a_resized_one(tiny):
    image, clicks, previous = inputs(448, 672, 1)
    before = tiny(image, clicks, previous)["logits"]
    tiny(*inputs(672, 672, 1))
    assert torch.equal(tiny(image, clicks, previous)["logits"], before)
    assert resized_table(tiny.backbone.pos_embed, (28, 28), (28, 28)) is tiny.backbone.pos_embed


def two_objects() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(448), torch.arange(448), indexing="ij")
    disk = (y - 180) ** 2 + (x - 200) ** 2 < 110**2
    box = ((y - 250).abs() < 120) & ((x - 220).abs() < 90)
    return torch.stack([disk, box]).float()


def check_gradients(model, expected: dict[str, float | None]) -> None:
    """expected: norms by official names; what no network runs has none there."""
    keys, own = load_map("simpleclick"), dict(model.named_parameters())
    compared = 0
    for name, norm in expected.items():
        target = keys.rename(name)[0]
        if target is None:
            assert norm is None or norm == 0, name
            continue
        assert float(own[target].grad.norm()) == pytest.approx(norm, rel=1e-3, abs=1e-7), name
        compared += 1
    assert compared >= sum(bool(norm) for norm in expected.values()) > 50


def test_loss_and_gradients_are_published():
    model = model_of("simpleclick_xtiny448").train()
    model.head.dropout.p = 0.0
    image, clicks, previous = inputs(448, 448, 2)
    masks = two_objects()
    masks[1, :30] = -1
    logits = resize(model(image, clicks, previous)["logits"], like=image, align_corners=True)
    loss = NormalizedFocal(alpha=0.5, gamma=2.0)
    stored = json.loads((FIXTURES / "simpleclick_xtiny448_grads.json").read_text())
    alone = [loss(logits[b : b + 1], masks[b : b + 1]).item() for b in range(2)]
    assert alone == pytest.approx(stored["loss"], rel=1e-4)
    loss(logits, masks).backward()
    check_gradients(model, stored["grad_norm"])


def test_a_step_of_training_is_published(monkeypatch):
    """Two rounds of clicks in evaluation mode, then the trained pass; where the clicks fall is given."""
    stored = json.loads((FIXTURES / "train_step.json").read_text())
    model = model_of("simpleclick_xtiny448").train()
    model.head.dropout.p = 0.0
    added = iter(torch.tensor(stored["added"]))
    monkeypatch.setattr(runner, "next_training_clicks", lambda *args, **kwargs: next(added))
    image, clicks, _ = inputs(448, 448, 2, 24)
    batch = dict(image=image, clicks=clicks, mask=two_objects())
    outputs = runner.Interactive(iterations=2).forward(model, batch, Fixed(2))
    loss = NormalizedFocal(alpha=0.5, gamma=2.0)(
        resize(outputs["logits"], like=image, align_corners=True), batch["mask"]
    )
    assert loss.item() == pytest.approx(stored["loss"], rel=1e-4)
    loss.backward()
    check_gradients(model, stored["grad_norm"])


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_sizes_are_published(name):
    expected, keys, model = published(name), load_map(NETWORKS[name][0]), empty(name)
    line = keys.check({key: tuple(shape) for key, shape in expected["shapes"].items()}, model.state_dict())
    dropped = {key for key in expected["shapes"] if keys.rename(key)[0] is None}
    count = sum(int(np.prod(expected["shapes"][key])) for key in dropped)
    # beside what no network runs: the table's row of a class token
    count += expected["shapes"]["backbone.pos_embed"][2]
    assert f"{len(dropped)} dropped" in line
    assert sum(p.numel() for p in model.parameters()) == expected["stats"]["params"] - count
    unused = {key for key in dropped if not key.startswith("head.up_conv")}
    assert unused == {
        key for key in expected["shapes"] if key.startswith(("backbone.cls", "backbone.fc", "backbone.h"))
    }


@pytest.mark.parametrize("name", ["simpleclick_xtiny448", "simpleclick_base448", "simpleclick_huge448"])
def test_operations_are_published(name):
    stats = published(name)["stats"]
    batch, giga = next((int(key[10]), value) for key, value in stats.items() if key.startswith("GMAC_batch"))
    model = empty(name).eval().to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(batch, 3, 448, 448, device="meta"), torch.full((batch, 2, 3), -1.0, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, rel=1e-3)


def test_rates_of_layers_are_published():
    cfg = load_config(
        MODELS.parents[1] / "interactive/simpleclick/simpleclick_b_cocolvis_layer-decay.py",
        ["model.backbone.pretrained=None"],
    )
    stored = json.loads((FIXTURES / "simpleclick_base448_layer_decay.json").read_text())
    keys, table = load_map("simpleclick"), dict(stored["table"])
    for trap in (False, True):
        optimizer = dict(cfg["optimizer"])
        if trap:
            optimizer["groups"] = [*optimizer["groups"], dict(match=r"^guide\.", lr=0.0)]
        model = empty("simpleclick_base448")
        groups = build_optimizer(optimizer, model).param_groups
        rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
        found = {name: rates[id(p)] for name, p in model.named_parameters()}
        expected = {keys.rename(name)[0]: pair for name, pair in table.items() if keys.rename(name)[0]}
        guide = {keys.rename(name)[0] for name in stored["never_updated"]}
        assert guide == {"guide.conv.weight", "guide.conv.bias"} and expected.keys() == found.keys() - guide
        for name, pair in expected.items():
            assert found[name] == pytest.approx(tuple(pair), rel=1e-9), name
        assert {found[name][0] for name in guide} == {0.0 if trap else 5e-5}
