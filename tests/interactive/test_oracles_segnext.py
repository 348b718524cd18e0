"""SegNext's networks (interactive) give the published code's numbers, image and clicks apart."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segkit.models.layers import resize
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.session import Session
from segkit.settings import ClickInference
from tests.interactive.vit_oracles import FIXTURES, empty, inputs, model_of, published

CASES = {
    "segnext_base448_naive": (256, 333),
    "segnext_base448_sax2": (300, 420),
    "segnext_base1024_sax2": (480, 854),
}
STEPS = {"segnext_base448_naive": (7, 4), "segnext_base448_sax2": (9, 4), "segnext_base1024_sax2": (15, 9)}
"""Every how many rows and columns of an answer, and of the features, are stored."""

TOLERANCE = 1e-4


def clicks_of(rows: np.ndarray) -> tuple[Click, ...]:
    """The clicks of [1,2P,3], the positive half first."""
    half = rows.shape[1] // 2
    return tuple(Click(float(y), float(x), i < half) for i, (y, x, order) in enumerate(rows[0]) if max(y, x) >= 0)


@torch.inference_mode()
@pytest.mark.slow  # 100 million weights from their names
@pytest.mark.parametrize("name", CASES)
def test_answers_are_published(name):
    """The image is encoded once; both answers are those of the reference, by the network and by an evaluation."""
    size, model, stored = CASES[name], model_of(name), np.load(FIXTURES / f"{name}.npz")
    side, (step, coarse) = model.backbone.grid[0] * 16, STEPS[name]
    image, clicks, previous = inputs(*size, 1, 4)
    assert np.array_equal(stored["points_before"], clicks.numpy())
    advance = Advance(model, ClickInference(flip=False, zoom=dict(squash=True, target=(side, side))))
    session = Session(image[0])
    session.probabilities = previous
    session.clicks = clicks_of(stored["points_before"])
    advance([session])
    view, encoded = session.look.view, session.encoded
    assert np.abs(encoded.features[0][:, ::64, ::coarse, ::coarse].numpy() - stored["image_feats"]).max() < (
        TOLERANCE * stored["image_feats_std"]
    )
    moved = {(int(c.y), int(c.x)) for c in view.move(session.clicks)}
    assert moved == {(int(y), int(x)) for y, x, _ in stored["points_after_in_place"][0] if max(y, x) >= 0}
    rows = torch.from_numpy(stored["points_after_in_place"]).float()
    guidance = model.guidance(rows, (side, side), view.apply(previous))
    prompts = model.guide(encoded.image, guidance)[1]
    assert np.allclose(prompts[:, ::64, ::coarse, ::coarse].numpy(), stored["prompt_feats"], atol=1e-4)
    assert np.allclose(
        model.fused(encoded, guidance)[0][:, ::64, ::coarse, ::coarse].numpy(), stored["fused"], atol=5e-4
    )
    logits = resize(model.answer(encoded, guidance)["logits"], size=(side, side), align_corners=True)
    logits = resize(logits, size=size, align_corners=False)
    difference = np.abs(logits[..., ::step, ::step].numpy() - stored["instances"]).max() / stored["instances_std"]
    assert difference < TOLERANCE
    assert torch.allclose(session.probabilities, logits.sigmoid(), atol=1e-5)

    # stored after they were moved in place to the network's input
    rows = stored["second_points"]
    session.clicks = tuple(
        Click(round(c.y * size[0] / side), round(c.x * size[1] / side), c.is_positive) for c in clicks_of(rows)
    )
    moved = {(int(c.y), int(c.x)) for c in view.move(session.clicks)}
    assert moved == {(int(y), int(x)) for y, x, _ in rows[0] if max(y, x) >= 0}
    advance([session])
    assert session.encoded is encoded, "the image is encoded once"
    expected = torch.from_numpy(stored["instances_second"]).sigmoid().numpy()
    assert (
        np.abs(session.probabilities[..., ::step, ::step].numpy() - expected).max()
        < TOLERANCE * stored["instances_second_std"]
    )


@pytest.mark.parametrize("name", ["segnext_base448_sax2", "segnext_base448_sax1", "segnext_base1024_sax2"])
def test_operations_of_image_and_click_are_published(name):
    stats, model = published(name)["stats"], empty(name).eval().to("meta")
    side = model.backbone.grid[0] * 16
    image, guidance = torch.empty(1, 3, side, side, device="meta"), torch.empty(1, 3, side, side, device="meta")
    with FlopCounterMode(display=False) as counter:
        encoded = model.encode(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(stats["GMAC_image"], rel=1e-3)
    with FlopCounterMode(display=False) as counter:
        model.answer(encoded, guidance)
    assert counter.get_total_flops() / 2e9 == pytest.approx(stats["GMAC_per_click"], rel=1e-3)
