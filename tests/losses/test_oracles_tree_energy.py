"""TreeEnergy against numbers of the authors' code, with features, without, and without unlabelled pixels."""

import pytest
import torch

from segkit.losses.tree_energy import TreeEnergy, filtered
from segkit.ops.resizing import resize
from tests.instances.boxes_oracle import load, unpacked


@pytest.mark.parametrize("topic", ["tree_energy", "tree_energy_low", "tree_energy_none"])
def test_loss_and_gradients_are_the_published_ones(topic):
    known = load(topic)
    logits = known["logits"].clone().requires_grad_()
    features = [known["high"].clone().requires_grad_()] if "high" in known else []
    image = known["image"] * 255
    unlabelled = unpacked(known["unlabelled"], image.shape[3]).to(torch.uint8)
    loss = TreeEnergy(sigma=known["sigma"].item())(logits, *features, image, unlabelled)
    weighted = known["weight"].item() * loss
    assert weighted.item() == pytest.approx(known["loss"].item(), rel=1e-6, abs=1e-9)
    gradients = torch.autograd.grad(weighted, [logits, *features])
    for gradient, name in zip(gradients, ("logits", "high")):
        torch.testing.assert_close(gradient, known[f"grad_{name}"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("topic", ["tree_energy", "tree_energy_low", "tree_energy_none"])
def test_filtered_probabilities_are_the_published_ones(topic):
    known = load(topic)
    probabilities = known["logits"].softmax(1)
    image = resize(known["image"], size=probabilities.shape[2:])
    low, high = filtered(probabilities, image, known.get("high"), sigma=known["sigma"].item())
    torch.testing.assert_close(low, known["low"], rtol=0, atol=2e-6)
    torch.testing.assert_close(low if high is None else high, known["soft"], rtol=0, atol=2e-6)
