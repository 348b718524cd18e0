"""ESPNet under the authors' names gives the authors' outputs."""

import pytest
import torch

from segkit.models.layers import resize
from tests.oracles import TOLERANCE, error, fixture, image, reference_model

MODELS = {
    "espnet": ("espnet", "espnet"),
    "espnet_c": ("espnet_c", "espnet_c"),
    "espnet_p2_q3": ("espnet_p2_q3", "espnet"),
}
"""Fixture -> config, key map. The last is of the code that belongs to the released weights."""


@torch.inference_mode()
@pytest.mark.parametrize("model", MODELS)
def test_outputs_are_the_authors(model):
    content, stored = fixture("espnet", model)
    net = reference_model(*MODELS[model], content["names"], ("num_classes=20",))
    x = image(0, (128, 160))
    logits = net(x.flip(1))["logits"]  # the encoder reads blue first, the model takes red first
    if model != "espnet_c":
        logits = resize(logits, like=x)
    difference = error(logits, stored["A/final"], content["outputs"]["A/final"])
    assert difference < TOLERANCE, f"{difference:.1e}"
