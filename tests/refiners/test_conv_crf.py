"""ConvCRF against its published code: outputs of its configs, and the gradients of its weights."""

import numpy as np
import pytest
import torch

from segkit.refiners.conv_crf import ConvCRF
from tests.refiners.references import image, iou, logits, outputs, stored, two_colors

CONFIGS = {
    "default": {},
    "default_filter7": dict(window=7),
    "default_blur1": dict(blur=1),
    "final_softmax": {},
    "probs_in": dict(starts_from_logs=False),
    "test": dict(
        window=5,
        blur=1,
        is_normalized=True,
        update_weight=0.5,
        position_sigma=1.5,
        position_weight=3.0,
        color_sigma=2.0,
        color_weight=3.0,
        color_position_sigma=2.0,
    ),
}
CASES = [key.split("/") for key in outputs("conv_crf") if not key.startswith("trainable")]
NAMES = {
    "inverse_position_sigma": "pos_sdims",
    "inverse_color_sigma": "col_schan",
    "position_weight": "pos_compat",
    "color_weight": "col_compat",
    "update_weight": "CRF.weight",
    "compatibility.weight": "CRF.comp.weight",
}


@pytest.mark.parametrize("name, size, steps", CASES)
def test_scores_equal_the_published_code(name, size, steps):
    crf = ConvCRF(int(steps), **{"starts_from_logs": True, **CONFIGS[name]})
    scores = crf.scores(image(int(size)), logits(int(size)).log_softmax(1))
    found = stored(scores.softmax(1) if name == "final_softmax" else scores)
    expected = torch.from_numpy(outputs("conv_crf")[f"{name}/{size}/{steps}"])
    assert (found - expected).abs().max() < 3e-5 * expected.std()


def test_refine_gives_the_softmax_of_the_scores():
    expected = torch.from_numpy(outputs("conv_crf")["probs_in/64/5"]).softmax(0)
    found = ConvCRF(5).refine(image(64), logits(64).softmax(1))
    assert torch.allclose(stored(found), expected, rtol=0, atol=1e-4)
    assert torch.allclose(found.sum(1), torch.ones(1, 64, 64), atol=1e-5)


def test_a_window_around_the_image_is_the_dense_crf():
    expected = torch.from_numpy(outputs("dense_crf")["cocostuff_voc/16/exact_10"])
    crf = ConvCRF(
        10,
        31,
        blur=1,
        is_normalized=True,
        update_weight=None,
        position_sigma=1.0,
        color_weight=4.0,
        color_sigma=3.0,
        color_position_sigma=67.0,
    )
    assert torch.allclose(crf.refine(image(16), logits(16).softmax(1))[0], expected, rtol=0, atol=2e-6)


def test_gradients_equal_the_published_code():
    references = outputs("conv_crf")
    crf = ConvCRF(3, 5, blur=1, num_classes=4, is_trainable=True, mixes_classes=True, starts_from_logs=True)
    leaf = logits(16).clone().requires_grad_()
    scores = crf.scores(image(16), leaf.log_softmax(1))
    assert np.abs(scores[0].detach().numpy() - references["trainable/out"]).max() < 5e-5
    weights = np.random.RandomState(70).standard_normal(scores.shape)
    (scores * torch.from_numpy(weights.astype(np.float32))).sum().backward()
    gradients = {NAMES[name]: parameter.grad for name, parameter in crf.named_parameters()}
    assert set(gradients) == set(NAMES.values())
    for name, gradient in {**gradients, "logits": leaf.grad[0]}.items():
        expected = references[f"trainable/grad/{name}"]
        assert np.abs(gradient.numpy() - expected).max() <= 1e-5 * np.abs(expected).max(), name


def test_as_a_layer_it_learns_to_trust_the_image():
    """Noisy scores of a red disc: a few steps of training lower the loss and leave no weight where it was."""
    pixels, truth = two_colors()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    noisy = (truth * 2 - 1) * 0.3 + noise
    crf = ConvCRF(3, 5, blur=2, num_classes=2, is_trainable=True)
    before = {name: parameter.detach().clone() for name, parameter in crf.named_parameters()}
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(crf.scores(pixels, noisy.log_softmax(1)), truth.argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert not any(torch.equal(parameter, before[name]) for name, parameter in crf.named_parameters())


def test_only_a_trainable_one_has_weights():
    assert not ConvCRF().state_dict()
    trained = ConvCRF(num_classes=3, is_trainable=True, mixes_classes=True)
    assert set(trained.state_dict()) == set(NAMES)
    ConvCRF(num_classes=3, is_trainable=True, mixes_classes=True).load_state_dict(trained.state_dict())


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (13, 30)])
@pytest.mark.parametrize("blur", [1, 2, 4])
def test_any_size(size, blur):
    coarse = torch.rand(1, 3, *size).softmax(1)
    found = ConvCRF(2, 11, blur=blur).refine(torch.rand(1, 3, *size) * 255, coarse)
    assert found.shape == coarse.shape and torch.allclose(found.sum(1), torch.ones(1, *size), atol=1e-5)


def test_a_sure_mask_stays():
    pixels, truth = two_colors(noise=2.0)
    found = ConvCRF().refine(pixels, truth)
    assert iou(found[0].argmax(0) == 1, truth[0, 1] > 0.5) > 0.99


def test_one_channel_is_two_classes():
    coarse = logits(16)[:, :2].softmax(1)
    two = ConvCRF(blur=1, num_classes=2).refine(image(16), coarse)
    one = ConvCRF(blur=1, num_classes=1).refine(image(16), coarse[:, 1:])
    assert torch.allclose(one, two[:, 1:], atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(window=4), "window = 4: must be odd"),
        (dict(blur=3), "blur = 3: must be 1 or an even number"),
        (dict(is_trainable=True), "num_classes: needed where classes have weights of their own"),
        (dict(mixes_classes=True), "num_classes: needed"),
    ],
)
def test_what_cannot_be_built(options, message):
    with pytest.raises(ValueError, match=message):
        ConvCRF(**options)
